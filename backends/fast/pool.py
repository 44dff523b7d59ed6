"""Pools of spike counts, in the narrowest integers that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.ir.address import windows
from snnc.ir.ops import MaxGate, Pool, SumPool

Array = npt.NDArray[Any]


def narrow(most: int, *, negative: bool = True) -> np.dtype[Any]:
    """The narrowest dtype that holds ±``most``, or where nothing is ``negative`` 0 … ``most``."""
    kinds = (np.int8, np.int16, np.int32, np.int64) if negative else (np.int8, np.uint8, np.int16, np.int32)
    return next(np.dtype(t) for t in kinds if most <= np.iinfo(t).max)


def sum_pool(op: SumPool, x: Array, dtype: np.dtype[Any]) -> Array:
    """m[p]·Σ over each window of [..., C, H, W], in ``dtype``."""
    total = _pooled(op, x, dtype, np.add)
    if op.multiplicity is not None:
        total *= op.multiplicity.array.astype(dtype)
    return total


def max_pool(op: MaxGate, x: Array) -> Array:
    """The largest code of each window of [..., C, H, W], or 0."""
    return _pooled(op, x, x.dtype, np.maximum)


def _pooled(op: Pool, x: Array, dtype: np.dtype[Any], combine: np.ufunc) -> Array:
    view = windows(op, x)
    *lead, channels, height, width = view.shape[:-2]
    # channel last, as it is read and as it will be used
    total = np.moveaxis(np.zeros((*lead, height, width, channels), dtype), -1, -3)
    for u in range(op.kernel[0]):
        for v in range(op.kernel[1]):
            combine(total, view[..., u, v], out=total)
    return total
