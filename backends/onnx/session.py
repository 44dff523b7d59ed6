"""Sessions of onnxruntime for whole models; it is imported only when one is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import CompileError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Array = npt.NDArray[Any]


def open_session(
    model: onnx.ModelProto, threads: int = 1, without: Sequence[str] = ()
) -> onnxruntime.InferenceSession:
    """A CPU session ``without`` some optimizations. Raises CompileError if onnxruntime refuses the model."""
    # its Linux wheel reports usage and writes into the home directory unless told not to
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(without),
        )
    except Exception as error:
        raise _foreseen(error, "load") from None


def run_session(
    session: onnxruntime.InferenceSession, outputs: Sequence[str] | None, feeds: Mapping[str, Array]
) -> list[Array]:
    """The named outputs, or all. Raises CompileError if onnxruntime fails."""
    try:
        return [np.asarray(y) for y in session.run(outputs, dict(feeds))]
    except Exception as error:
        raise _foreseen(error, "run") from None


def _foreseen(error: Exception, task: str) -> Exception:
    """The error as a diagnostic if it is onnxruntime's own; those share no public base class."""
    if not type(error).__module__.startswith("onnxruntime"):
        return error
    return CompileError.of("SNNC0102", f"onnxruntime cannot {task} the model: {error}")
