"""Weighted sums on batches of arrays, exact for integers.

An integer product goes through floating-point BLAS only where every partial sum is proved to be
representable, |Σ| ≤ Σ|W|·max|x| < 2^24 (float32) or 2^53 (float64); the result then depends neither
on the order of summation nor on BLAS, threads or CPU (docs/semantics.md §7).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.ir.ops import Conv2d, Dense, Scale, Weighted

Array = npt.NDArray[Any]

_COLUMN_BYTES = 1 << 20
"""Windows that are multiplied together: they stay in cache."""


def sum_bound(op: Weighted, peak: int) -> int:
    """The maximum over outputs of Σ|Wq|·peak: bounds every partial sum before the shift, |x| ≤ ``peak``."""
    weight = op.weight.array
    rows = np.abs(weight.astype(np.int64)).reshape(weight.shape[0] if weight.ndim else 1, -1)
    return int(rows.sum(axis=1).max(initial=0)) * peak


def product_dtype(op: Weighted, peak: int) -> npt.DTypeLike:
    """The fastest dtype in which W·x is right for |x| ≤ ``peak``: float64 for real weights.

    Raises CompileError beyond 63 bits.
    """
    if not op.weight.is_integer:
        return np.float64
    bound = sum_bound(op, peak)
    if bound << op.shift >= 1 << fixedpoint.WIDEST_BITS:
        raise CompileError.of("SNNC0130", "a weighted sum needs more than 63 bits", where=op.origin)
    if bound < fixedpoint.FLOAT32_EXACT:
        return np.float32
    return np.float64 if bound < fixedpoint.FLOAT64_EXACT else np.int64


def weigh(op: Weighted, x: Array, rank: int, peak: int) -> Array:
    """(W·x)·2^shift without bias, for ``x`` with any batch axes before its last ``rank`` ones.

    Returns int64 for integer weights, float64 for real ones. ``peak`` bounds |x| at the int level.
    """
    dtype = product_dtype(op, peak)
    lead = x.shape[: x.ndim - rank]
    rows = x.reshape(-1, *x.shape[x.ndim - rank :])
    y = _product(op, rows, op.weight.array.astype(dtype))
    if op.weight.is_integer:
        y = y.astype(np.int64) << op.shift
        y = fixedpoint.in_register(y, *op.register) if op.register_limit else y
    return y.reshape(*lead, *y.shape[1:])


def _product(op: Weighted, x: Array, weight: Array) -> Array:
    match op:
        case Conv2d():
            return _conv2d(op, x, weight)
        case Dense():
            return np.asarray(x.astype(weight.dtype) @ weight.T)
        case Scale():
            factor = weight.reshape(weight.shape + (1,) * (x.ndim - 2)) if weight.ndim else weight
            return x.astype(weight.dtype) * factor
    raise AssertionError(f"{op.mnemonic} is not a weighted op")


def _conv2d(op: Conv2d, x: Array, weight: Array) -> Array:
    """Cross-correlation of [B, C, H, W], by columns: one matrix product per chunk and group."""
    outputs, per_group, kh, kw = weight.shape
    matrix = weight.reshape(op.groups, outputs // op.groups, per_group * kh * kw)
    sample = weight.itemsize * kh * kw * max(1, int(np.prod(x.shape[1:])))
    chunk = max(1, _COLUMN_BYTES // sample)
    result = np.empty((0,), weight.dtype)
    for start in range(0, max(1, x.shape[0]), chunk):
        columns, (height, stretch, width) = _columns(op, x[start : start + chunk].astype(weight.dtype))
        product = (matrix @ columns).reshape(outputs, -1, height, stretch)[..., :width]
        if not start:
            result = np.empty((len(x), outputs, height, width), weight.dtype)
        result[start : start + chunk] = product.transpose(1, 0, 2, 3)
    return result


def _columns(op: Conv2d, x: Array) -> tuple[Array, tuple[int, int, int]]:
    """The windows under the kernel as [groups, C/groups·kh·kw, B·H'·S], and (H', S, W').

    A row of W' windows is S long; what is behind the first W' means nothing.
    """
    kw = op.weight.shape[3]
    if op.strides == (1, 1) and kw > 1:
        return _running_columns(op, x)
    view = _windows(op, x)
    height, width = view.shape[2:4]
    columns = view.transpose(1, 4, 5, 0, 2, 3).reshape(op.groups, -1, len(x) * height * width)
    return columns, (height, width, width)


def _running_columns(op: Conv2d, x: Array) -> tuple[Array, tuple[int, int, int]]:
    """As :func:`_columns`: rows run on through the padding, so that whole images are copied and not rows."""
    (top, left, bottom, right), (kh, kw), (down, across) = op.pads, op.weight.shape[2:], op.dilations
    batch, channels, height, width = x.shape
    rows, stretch = height + top + bottom, width + left + right
    # the last window runs beyond the image
    image = np.zeros((batch, channels, rows * stretch + (kw - 1) * across), x.dtype)
    inner = image[:, :, : rows * stretch].reshape(batch, channels, rows, stretch)
    inner[:, :, top : top + height, left : left + width] = x
    results = rows - (kh - 1) * down
    step, plane, size = image.strides[0], image.strides[1], image.itemsize
    shape = (channels, kh, kw, batch, results * stretch)
    strides = (plane, down * stretch * size, across * size, step, size)
    # as as_strided, which takes ten times as long, for every few images
    view: Array = np.ndarray(shape, image.dtype, image, 0, strides)
    columns = view.reshape(op.groups, -1, batch * results * stretch)
    return columns, (results, stretch, stretch - (kw - 1) * across)


def _windows(op: Conv2d, x: Array) -> Array:
    """What the kernel sees of [B, C, H, W]: [B, C, H', W', kh, kw], a view where nothing is padded."""
    (top, left, bottom, right), (kh, kw) = op.pads, op.weight.shape[2:]
    if any(op.pads):
        x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
    reach = ((kh - 1) * op.dilations[0] + 1, (kw - 1) * op.dilations[1] + 1)
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(-2, -1))
    return view[..., :: op.strides[0], :: op.strides[1], :: op.dilations[0], :: op.dilations[1]]


def operands_at(op: Weighted, x: Array, positions: npt.NDArray[np.int64]) -> Array:
    """What each of the weights at flat output ``positions`` [P] multiplies: [B, P, groups, K] of [B, C, …].

    With the weights as [groups, M/groups, K] the sum at a position is Σ_k W[g, m, k]·x[b, p, g, k].
    """
    match op:
        case Conv2d():
            view = _windows(op, x)
            row, column = np.divmod(positions, view.shape[3])
            return view[:, :, row, column].swapaxes(1, 2).reshape(len(x), len(positions), op.groups, -1)
        case Dense():
            return x[:, None, None]
        case Scale():
            return x.reshape(*x.shape[:2], -1)[..., positions].swapaxes(1, 2)[..., None]
    raise AssertionError(f"{op.mnemonic} is not a weighted op")
