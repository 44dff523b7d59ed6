"""Every projection as what NIR can say: at most one pool, and one full convolution.

Importers agree on Conv2d with groups = 1 and symmetric padding and on little else, so an address map
is folded into the weights: a dense map becomes a kernel over the whole operand, a skip with strides
and new channels a 1×1 convolution, and uneven padding a kernel with zeros at one edge. All of it is
exact in integers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.model import (
    AddressStep,
    Netlist,
    Pad,
    Projection,
    Reshape,
    Shape,
    Slice,
    SumPool,
    Transpose,
    volume,
)

Ints = npt.NDArray[np.int64]
Pair = tuple[int, int]

_ROWS = 1024
"""How many unit vectors at a time are sent through an address map."""


class InexpressibleError(Exception):
    """A projection that no pool and convolution of NIR can express, and why."""


@dataclasses.dataclass(frozen=True)
class Convolution:
    """y[m, i, j] = Σ W[m, c, u, v]·x[c, i·s₀ + u·d₀ − p₀, …] with ``weight`` [M, C, k, k] of integers."""

    weight: Ints
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)


@dataclasses.dataclass(frozen=True)
class Linear:
    """A projection: ``pool``, a SumPool without pads or a convolution, if any; then ``weights``."""

    pool: SumPool | Convolution | None
    weights: Convolution


@dataclasses.dataclass(frozen=True)
class _Map:
    """An address map as channel i of the result ← channel ``channels[i]``, or zero where that is −1.

    Spatially it takes every ``steps``-th element and pads the result with zeros: top, left, bottom, right.
    """

    channels: tuple[int, ...]
    steps: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


def linear(netlist: Netlist, projection: Projection) -> Linear:
    """The projection in NIR's terms. Raises :class:`InexpressibleError`."""
    shape = netlist.nodes[projection.source].shape
    steps = list(projection.address)
    weight = _weight(netlist, projection)
    pool: SumPool | Convolution | None = None
    first = steps[0] if steps else None
    if isinstance(first, SumPool) and first.multiplicity is None and (_portable(first) or weight.ndim == 4):
        pool = first if _portable(first) else _as_convolution(first, shape)
        shape = steps.pop(0).result(shape)
    if weight.ndim == 2:
        return Linear(pool, _whole_operand(weight, steps, shape))
    mapped = _mapped(steps, shape)
    return Linear(pool, _windowed(projection, weight, mapped, volume(shape)))


def _portable(pool: SumPool) -> bool:
    """Whether importers run a pool exactly: they ignore pads, and compute Σ as mean times size."""
    area = math.prod(pool.kernel)
    return not any(pool.pads) and area & (area - 1) == 0


def _as_convolution(pool: SumPool, shape: Shape) -> Convolution:
    channels = shape[0]
    eye = np.eye(channels, dtype=np.int64)[:, :, None, None]
    ones = np.array(np.broadcast_to(eye, (channels, channels, *pool.kernel)))
    return _square(ones, pool.strides, pool.pads, volume(shape)[1:])


def _weight(netlist: Netlist, projection: Projection) -> Ints:
    """Weights with the shift applied: [M, C, kh, kw], or [M, K] where the operand is a vector."""
    assert projection.weights is not None
    values = projection.weights.values.astype(np.int64) << projection.shift
    operand = netlist.operand_shape(projection)
    if projection.kind == "scale":
        diagonal = np.diag(np.broadcast_to(values, operand[:1]))
        return diagonal if len(operand) == 1 else diagonal[:, :, None, None]
    if projection.kind == "dense" or projection.groups == 1:
        return values
    outputs, inputs = len(values) // projection.groups, values.shape[1]
    full = np.zeros((len(values), operand[0], *values.shape[2:]), np.int64)
    for group in range(projection.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        full[rows, group * inputs : (group + 1) * inputs] = values[rows]
    return full


def _whole_operand(weight: Ints, steps: Sequence[AddressStep], shape: Shape) -> Convolution:
    """A dense map as a kernel over the whole of its operand, with one output position."""
    size = math.prod(shape)
    if not all(isinstance(step, Reshape) for step in steps):
        columns = np.empty((len(weight), size), np.int64)
        for start in range(0, size, _ROWS):
            units = np.eye(min(_ROWS, size - start), size, start, dtype=np.int64)
            image = _apply(steps, units.reshape(-1, *shape))
            columns[:, start : start + _ROWS] = weight @ image.reshape(len(units), -1).T
        weight = columns
    kernel = weight.reshape(len(weight), *volume(shape))
    side = max(kernel.shape[2:])
    # with as large a stride there is one output position, however the kernel is made square
    return _square(kernel, (side, side), (0, 0, 0, 0), volume(shape)[1:])


def _apply(steps: Sequence[AddressStep], x: Ints) -> Ints:
    """The address map on a batch."""
    for step in steps:
        match step:
            case Reshape():
                x = x.reshape(-1, *step.shape)
            case Transpose():
                x = x.transpose(0, *(1 + a for a in step.perm))
            case Slice():
                bounds = zip(step.starts, step.stops, step.steps, strict=True)
                x = x[(slice(None), *(slice(*b) for b in bounds))]
            case Pad():
                x = np.pad(x, [(0, 0), *zip(step.before, step.after, strict=True)])
            case SumPool():
                x = _summed(step, x)
    return x


def _summed(pool: SumPool, x: Ints) -> Ints:
    top, left, bottom, right = pool.pads
    padded = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
    view = np.lib.stride_tricks.sliding_window_view(padded, pool.kernel, axis=(-2, -1))
    total = view[..., :: pool.strides[0], :: pool.strides[1], :, :].sum(axis=(-2, -1))
    return np.asarray(total if pool.multiplicity is None else total * pool.multiplicity.values)


def _mapped(steps: Sequence[AddressStep], shape: Shape) -> _Map:
    """The address map before a window. Raises :class:`InexpressibleError` if none fits into it."""
    found = _Map(tuple(range(shape[0])))
    for step in steps:
        if isinstance(step, Slice) and len(shape) == 3:
            found = _sliced(found, step, shape)
        elif isinstance(step, Pad) and len(shape) == 3:
            found = _padded(found, step)
        else:
            uneven = isinstance(step, SumPool) and step.multiplicity is not None
            what = "pool with windows of unequal size" if uneven else type(step).__name__.lower()
            raise InexpressibleError(f"NIR has no {what} before a convolution")
        shape = step.result(shape)
    return found


def _sliced(found: _Map, step: Slice, shape: Shape) -> _Map:
    channels = found.channels[step.starts[0] : step.stops[0] : step.steps[0]]
    whole = all(
        step.starts[a] == 0 and len(range(0, step.stops[a], step.steps[a])) == -(-shape[a] // step.steps[a])
        for a in (1, 2)
    )
    if not whole or (any(found.pads) and max(step.steps[1:]) > 1):
        raise InexpressibleError("NIR cannot crop a map before a convolution")
    strides = (found.steps[0] * step.steps[1], found.steps[1] * step.steps[2])
    return _Map(channels, strides, found.pads)


def _padded(found: _Map, step: Pad) -> _Map:
    channels = (-1,) * step.before[0] + found.channels + (-1,) * step.after[0]
    extra = (*step.before[1:], *step.after[1:])
    top, left, bottom, right = (a + b for a, b in zip(found.pads, extra, strict=True))
    return _Map(channels, found.steps, (top, left, bottom, right))


def _windowed(
    projection: Projection, weight: Ints, mapped: _Map, operand: tuple[int, int, int]
) -> Convolution:
    """A convolution with the map before it: on every s-th element, kernel, pads and strides widen by s."""
    full = np.zeros((len(weight), operand[0], *weight.shape[2:]), np.int64)
    for column, channel in enumerate(mapped.channels):
        if channel >= 0:
            full[:, channel] += weight[:, column]
    pads = [a + b for a, b in zip(projection.pads, mapped.pads, strict=True)]
    (down, across), (up, left) = mapped.steps, projection.dilations
    top, start, bottom, end = (pads[0] * down, pads[1] * across, pads[2] * down, pads[3] * across)
    stride = (projection.strides[0] * down, projection.strides[1] * across)
    kernel = full.shape[2:]
    if (top, start) == (bottom, end) and kernel[0] == kernel[1]:
        return Convolution(full, stride, (top, start), (up * down, left * across))
    spread = [(k - 1) * d + 1 for k, d in zip(kernel, (up * down, left * across), strict=True)]
    dilated = np.zeros((*full.shape[:2], *spread), np.int64)
    dilated[:, :, :: up * down, :: left * across] = full
    return _square(dilated, stride, (top, start, bottom, end), operand[1:])


def _square(kernel: Ints, stride: Pair, pads: tuple[int, int, int, int], operand: Pair) -> Convolution:
    """A kernel of equal sides and the same padding at both ends of an axis, made so with zeros.

    ``before`` zeros lead the kernel where the padding grows by as many; zeros at its end keep the number
    of windows. NIR infers shapes from one side of the kernel alone.
    """
    sides = [kernel.shape[2 + a] + abs(pads[a] - pads[a + 2]) for a in (0, 1)]
    side = max(sides)
    padding, fill = [], []
    for a in (0, 1):
        size = kernel.shape[2 + a]
        pad = max(pads[a], pads[a + 2]) + (side - sides[a] + 1) // 2
        before = pad - pads[a]
        windows = (operand[a] + pads[a] + pads[a + 2] - size) // stride[a]
        if (operand[a] + 2 * pad - side) // stride[a] != windows:
            raise InexpressibleError(
                f"its kernel of {kernel.shape[2]}×{kernel.shape[3]} cannot be made square"
            )
        padding.append(pad)
        fill.append((before, side - size - before))
    filled = np.pad(kernel, [(0, 0), (0, 0), *fill])
    return Convolution(filled, stride, (padding[0], padding[1]))
