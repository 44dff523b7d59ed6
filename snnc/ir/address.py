"""Address maps on batches of arrays: pure indexing, and sum pooling.

Arrays have any number of leading batch axes (samples, or samples × steps) before the tensor's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.ir.ops import Concat, Op, Pad, Pool, Reshape, Slice, SumPool, Transpose

Array = npt.NDArray[Any]

_MOST_OFFSETS = 256

ADDRESS_OPS = (Reshape, Transpose, Slice, Pad, Concat, SumPool)


def apply_address(op: Op, operands: Sequence[Array], rank: int) -> Array:
    """The result of an address op.

    ``rank`` is the number of axes of its first operand's tensor type; the axes before are batch axes.
    """
    x = operands[0]
    lead = x.ndim - rank
    batch = x.shape[:lead]
    match op:
        case Reshape():
            return x.reshape(*batch, *op.shape)
        case Transpose():
            return x.transpose(*range(lead), *(lead + a for a in op.perm))
        case Slice():
            bounds = zip(op.starts, op.stops, op.steps, strict=True)
            return x[(slice(None),) * lead + tuple(slice(*b) for b in bounds)]
        case Pad():
            pairs = zip(op.before, op.after, strict=True)
            return np.pad(x, [(0, 0)] * lead + list(pairs))
        case Concat():
            return np.concatenate(operands, axis=lead + op.axis)
        case SumPool():
            return sum_pool(op, x)
    raise AssertionError(f"{op.mnemonic} is not an address op")


def windows(op: Pool, x: Array, fill: float = 0) -> Array:
    """The windows of a pool over the last two axes: [..., H', W', kh, kw], a view where possible."""
    top, left, bottom, right = op.pads
    if any(op.pads):
        pairs = [(0, 0)] * (x.ndim - 2) + [(top, bottom), (left, right)]
        x = np.pad(x, pairs, constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, op.kernel, axis=(-2, -1))
    return view[..., :: op.strides[0], :: op.strides[1], :, :]


def sum_pool(op: SumPool, x: Array) -> Array:
    """m[p]·Σ over each window, in the operand's dtype, integers widened to int64."""
    wide = x.dtype if x.dtype.kind == "f" else np.dtype(np.int64)
    view = windows(op, x)
    if math.prod(op.kernel) > _MOST_OFFSETS:
        return _multiplied(op, np.asarray(view.sum(axis=(-2, -1), dtype=wide)))
    # summing kernel offsets one by one keeps the inner loops long
    total = np.zeros(view.shape[:-2], wide)
    for u in range(op.kernel[0]):
        for v in range(op.kernel[1]):
            total += view[..., u, v]
    return _multiplied(op, total)


def _multiplied(op: SumPool, total: Array) -> Array:
    return total if op.multiplicity is None else total * op.multiplicity.array.astype(total.dtype)
