"""Sessions of onnxruntime: the one place where it is imported for whole models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snnc.diagnostics import CompileError

if TYPE_CHECKING:
    import onnx
    import onnxruntime


def open_session(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """A CPU session. Raises CompileError if onnxruntime refuses the model."""
    # its Linux wheel reports usage and writes into the home directory unless told not to
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        if not is_runtime_error(error):
            raise
        raise CompileError.of("SNNC0102", f"onnxruntime cannot load the model: {error}") from None


def is_runtime_error(error: Exception) -> bool:
    """Whether onnxruntime raised it: its exceptions share no public base class."""
    return type(error).__module__.startswith("onnxruntime")
