"""Ridge regression of what is missing of charges on the counts that weights multiply.

Counts are integers and what is missing is rounded, so that the sums of products below are exact in float64:
they do not depend on their order, nor on BLAS or threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from snnc import fixedpoint
from snnc.fixedpoint import Floats, Ints

MOST_UNKNOWNS = 1 << 13
"""Of larger kernels no more windows than this are fitted to: a matrix of that size is solved."""

_TOGETHER = 1 << 11


def ridge_solutions(windows: Ints, missing: Floats, ridges: Sequence[float]) -> Iterator[Floats]:
    """δW [groups, M/groups, K] for every ridge, in units of the mean square of an input.

    ``windows`` are counts [N, P, groups, K], ``missing`` is [N, P, M]; both are centred.
    """
    groups, size = windows.shape[2:]
    x = windows.reshape(-1, groups, size).swapaxes(0, 1)
    y = missing.reshape(x.shape[1], groups, -1).swapaxes(0, 1)
    if size > MOST_UNKNOWNS:
        x, y = x[:, :MOST_UNKNOWNS], y[:, :MOST_UNKNOWNS]
    y, unit = _integers(x, y)
    solve = _by_windows if x.shape[1] < size else _by_weights
    for solution in solve(x, y, ridges):
        yield solution.swapaxes(1, 2) * unit


def _integers(x: Ints, y: Floats) -> tuple[Floats, float]:
    """Integers that stand for y, small enough for exact sums of products with x, and their unit."""
    room = fixedpoint.FLOAT64_EXACT / (max(1, int(np.abs(x).max(initial=0))) * max(1, x.shape[1]))
    unit = 2.0 ** np.ceil(np.log2(max(1e-300, float(np.abs(y).max(initial=0))) / room))
    return np.rint(y / unit), float(unit)


def _by_weights(x: Ints, y: Floats, ridges: Sequence[float]) -> Iterator[Floats]:
    """(XᵀX + μ)⁻¹Xᵀy, [groups, K, M/groups]."""
    groups, count, size = x.shape
    squares, products = np.zeros((groups, size, size)), np.zeros((groups, size, y.shape[2]))
    for start in range(0, count, _TOGETHER):
        part = x[:, start : start + _TOGETHER].astype(np.float64)
        squares += part.swapaxes(1, 2) @ part
        products += part.swapaxes(1, 2) @ y[:, start : start + _TOGETHER]
    mean = x.sum(axis=1, dtype=np.int64) / count
    squares -= mean[:, :, None] * mean[:, None] * count
    products -= mean[:, :, None] * y.sum(axis=1)[:, None]
    yield from _solved(squares, products, size, ridges)


def _by_windows(x: Ints, y: Floats, ridges: Sequence[float]) -> Iterator[Floats]:
    """The same as Xᵀ(XXᵀ + μ)⁻¹y, where there are fewer windows than weights."""
    real = x.astype(np.float64)
    inner = real @ real.swapaxes(1, 2)
    rows = inner.mean(axis=2, keepdims=True)
    inner += rows.mean(axis=1, keepdims=True) - rows - rows.swapaxes(1, 2)
    mean = real.mean(axis=1)[:, :, None]
    for found in _solved(inner, y - y.mean(axis=1, keepdims=True), x.shape[2], ridges):
        yield real.swapaxes(1, 2) @ found - mean * found.sum(axis=1)[:, None]


def _solved(matrix: Floats, right: Floats, size: int, ridges: Sequence[float]) -> Iterator[Floats]:
    """(A + μ·tr(A)/K)⁻¹B for every group and ridge; zeros come out where nothing ever arrives."""
    scale = np.trace(matrix, axis1=1, axis2=2)[:, None, None] / size
    unit = np.where(scale > 0, scale, 1.0) * np.eye(matrix.shape[1])
    for ridge in ridges:
        yield np.asarray(np.linalg.solve(matrix + ridge * unit, right), np.float64)
