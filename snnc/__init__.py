"""snnc compiles trained CNNs (ONNX) into spiking neural networks for neuromorphic hardware.

import snnc

network = snnc.compile("model.onnx", bits=8, T=128, calibration="data.npz")
network.evaluate("data.npz")["snn_top1"]
network.save("model.snnc")
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from snnc.version import __version__

if TYPE_CHECKING:
    from snnc.compiled import CompiledNetwork, load
    from snnc.driver import Calibration, Model
    from snnc.pipeline import Pipeline

__all__ = ["CompiledNetwork", "Pipeline", "__version__", "compile", "load"]

_HOMES = {
    "CompiledNetwork": "snnc.compiled",
    "Pipeline": "snnc.pipeline",
    "load": "snnc.compiled",
}


def compile(
    model: Model,
    *,
    calibration: Calibration | None = None,
    statistics: str | os.PathLike[str] | None = None,
    **request: Any,
) -> CompiledNetwork:
    """Compile an ONNX model: a path, bytes or a ModelProto.

    ``calibration`` is ``FILE[:KEY]``, an array [N, …] or one array per input; ``statistics`` the
    calibration.json of an earlier compilation. The other keywords are the fields of
    :class:`snnc.driver.Request`, such as ``bits``, ``T``, ``schedule``, ``preset`` and ``pipeline``.
    Raises :class:`snnc.diagnostics.SnncError`.
    """
    from snnc.driver import Request, compile_model

    return compile_model(model, Request(**request), calibration=calibration, statistics=statistics)


def __getattr__(name: str) -> Any:
    """Import the rest of the library only when it is used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'snnc' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
