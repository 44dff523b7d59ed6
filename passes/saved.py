"""Thresholds that an earlier compilation stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats
from snnc.ir.network import Network


def saved_scales(
    network: Network, nodes: Sequence[int], saved: Any, options: dict[str, object]
) -> dict[int, Floats]:
    """λ by node as ``calibration.json`` has them. Raises CompileError if they do not fit."""
    values = saved.get("values") if isinstance(saved, dict) else None
    if not isinstance(values, dict):
        values, saved = {}, {}
    found = {n: _fitting(values.get(network.op(n).source), network.type(n).shape[0]) for n in nodes}
    missing = [network.op(n).source for n, scale in found.items() if scale is None]
    if missing or saved.get("options") != options:
        made = saved.get("options")
        what = f"lack {missing[0]!r}" if missing else f"were made with {made}, not {options}"
        raise CompileError.of(
            "SNNC0124",
            f"the saved statistics {what}",
            remedy="calibrate again with --calib, or give the options they were made with",
        )
    return {n: scale for n, scale in found.items() if scale is not None}


def _fitting(value: object, channels: int) -> Floats | None:
    """A saved λ if it is one number, or one for each channel, none of them negative."""
    try:
        scale = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    fits = scale.shape in ((), (channels,)) and bool((np.isfinite(scale) & (scale >= 0)).all())
    return scale if fits else None
