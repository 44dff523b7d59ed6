"""Ways to add a projection's currents to a population's, all of them exact.

``EventDrive`` adds rows of weights for every spike, ``DiagonalDrive`` multiplies channel by channel, and
the two products compute many entries of the time axis as one matrix product in onnxruntime: in 8-bit
integers, or in float32 where every partial sum is proved below 2^24.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.backends.fast import sessions
from snnc.backends.fast.kernels import (
    KIND_BITS,
    LANES,
    add_diagonal,
    find_events,
    scatter,
    take_columns,
)
from snnc.backends.fast.layout import Grid, Reach, Window, channel_first, channel_last
from snnc.backends.fast.part import Part, largest
from snnc.backends.fast.pool import narrow, sum_pool
from snnc.backends.reference.kernels import sum_bound, weigh
from snnc.ir.ops import Conv2d, Dense

Array = npt.NDArray[Any]

_LANES = (192, 128, 96, 64, 48, 32, 16)
# sums that more registers than there are would have to hold
_MOST_LANE_BYTES = 512
_MOST_REGISTER_BYTES = 576
_MOST_PLANES = 4
_COLUMN_BYTES = 1 << 18


class Workspace:
    """Buffers of one thread, kept from layer to layer."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._buffers: dict[str, Array] = {}
        self._taken: dict[str, tuple[int, npt.DTypeLike, Array]] = {}

    def take(self, name: str, size: int, dtype: npt.DTypeLike) -> Array:
        """A buffer of ``size`` elements with any contents, valid until the name is taken again."""
        last = self._taken.get(name)
        if last is not None and last[0] == size and last[1] is dtype:
            # block after block takes the same
            return last[2]
        need = size * np.dtype(dtype).itemsize
        if name not in self._buffers or self._buffers[name].nbytes < need:
            self._buffers[name] = np.empty(need, np.uint8)
        taken = self._buffers[name][:need].view(dtype)
        self._taken[name] = size, dtype, taken
        return taken


class Drive(Protocol):
    """One projection into a population whose currents lie in a :class:`Grid`."""

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """Add to z the currents of operands ``x`` [B, H, W, C], contiguous, one entry after the other."""


def candidates(part: Part, grid: Grid, dtype: np.dtype[Any], unit: int) -> Iterator[Drive]:
    """The ways that are right for this part, with z in ``dtype`` and units of 2^``unit``."""
    seen = part.pooled()
    if part.depthwise:
        yield _behind(part, DiagonalDrive(seen, grid, dtype, unit))
        return
    if part.dense and dtype.itemsize < 8 and len(_planes(part)) <= _MOST_PLANES and _rows(part) < 1 << 16:
        yield EventDrive(part, grid, dtype, unit)
    product = ProductDrive(seen, grid, unit) if seen.fits_bytes else FloatDrive(seen, grid, unit)
    yield _behind(part, product)


class EventDrive:
    """Event by event: the weights of each spike are added where it arrives, many channels at a time.

    An operand of several bits is taken apart: the bit of value 2^p brings in 2^p·W, the sign −2^p·W.
    """

    def __init__(self, part: Part, grid: Grid, dtype: np.dtype[Any], unit: int) -> None:
        """Arranges the weights by target, chunk of lanes and input channel."""
        planes = _planes(part)
        self._bits = np.array([abs(value) for value in planes], np.uint8).view(np.int8)
        self._step = grid.step
        self._reach = Reach.of(Window.of(part.op), part.pooled().shape, grid, joined=True)
        self._offsets = self._reach.offsets
        weights = part.matrix()
        self._depth = weights.shape[2] * len(planes)
        longest = max((len(t.columns) for t in self._reach.targets), default=1) * weights.shape[3]
        widths = [lanes for lanes in _LANES if lanes * dtype.itemsize <= _MOST_LANE_BYTES]
        self._lanes = min(widths, key=lambda lanes: (-(-longest // lanes)) * (lanes + LANES))
        self._together = self._targets_together(dtype)
        self._scatter = scatter(self._lanes, self._together)
        values = [value << (part.op.shift - unit) for value in planes]
        self._weights = self._arranged(weights, values, -(-longest // self._lanes), dtype)
        if part.pool is not None:
            self._reach = self._reach.through(part.pool, part.shape)
        self._spots = self._reach.where << KIND_BITS | self._reach.kinds

    def _targets_together(self, dtype: np.dtype[Any]) -> int:
        """How many targets share the walk through a group's events: all, if registers hold their sums."""
        counts = set(np.diff(self._reach.bounds).tolist())
        (count,) = counts if len(counts) == 1 else (1,)
        return count if 0 < count * self._lanes * dtype.itemsize <= _MOST_REGISTER_BYTES else 1

    def _arranged(self, weights: Array, values: list[int], chunks: int, dtype: np.dtype[Any]) -> Array:
        width = chunks * self._lanes
        most = largest(weights) * max(map(abs, values), default=0)
        kept = np.int8 if most <= np.iinfo(np.int8).max else dtype
        # sums are exact modulo 2^16 or 2^32, and the whole sum is proved to fit
        rows = np.zeros((len(self._reach.targets), self._depth, width), kept)
        for k, target in enumerate(self._reach.targets):
            row = weights[target.row, list(target.columns)].transpose(1, 0, 2)
            flat = row.reshape(row.shape[0], -1)
            planes = rows[k].reshape(len(values), len(flat), width)[:, :, : flat.shape[1]]
            for plane, value in zip(planes, values, strict=True):
                np.multiply(flat, value, out=plane, dtype=np.int64, casting="unsafe")
        split = (-1, self._together, self._depth, chunks, self._lanes)
        ordered = rows.reshape(split).transpose(3, 0, 2, 1, 4)
        return np.ascontiguousarray(ordered).ravel()

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """See :class:`Drive`."""
        entries, sites = len(x), x.shape[1] * x.shape[2]
        most = entries * sites + 1
        rows = workspace.take("rows", x.size * len(self._bits) + LANES, np.uint16)
        first = workspace.take("first", most, np.int64)
        places = workspace.take("places", most, np.int64)
        # flat already: a kernel that reshapes takes a fifth of a second longer to come from the cache
        flat, shape = x.reshape(-1), (entries, sites, x.shape[3])
        groups = find_events(flat, shape, self._bits, self._spots, self._step, rows, first, places)
        bounds = self._reach.bounds
        self._scatter(groups, rows, first, places, z, self._weights, self._offsets, bounds, self._depth)


class DiagonalDrive:
    """Channel by channel: depthwise convolutions and skips."""

    def __init__(self, part: Part, grid: Grid, dtype: np.dtype[Any], unit: int) -> None:
        """Weights by target, in the dtype of the currents."""
        self._step = grid.step
        self._dtype = dtype
        self._reach = Reach.of(Window.of(part.op), part.shape, grid, joined=False)
        self._offsets = self._reach.offsets
        scaled = part.matrix().astype(np.int64) << (part.op.shift - unit)
        rows = [scaled[t.row, t.columns[0]] for t in self._reach.targets]
        self._weights = np.array(rows, dtype).reshape(-1)

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """See :class:`Drive`."""
        flat, shape = x.reshape(-1), (len(x), x.shape[1] * x.shape[2], x.shape[3])
        if flat.dtype != np.int8:
            flat = flat.astype(self._dtype)
        reach = self._reach
        add_diagonal(
            flat, shape, self._weights, reach.where, reach.kinds, self._step, z, self._offsets, reach.bounds
        )


class ProductDrive:
    """One product of unsigned and signed bytes, summed in 32 bits, for the windows of many entries."""

    def __init__(self, part: Part, grid: Grid, unit: int) -> None:
        """Opens a session of onnxruntime."""
        self._window, self._grid = Window.of(part.op), grid
        self._shift = part.op.shift - unit
        matrix = part.matrix()
        self._depth = matrix[..., 0].size
        kh, kw, channels = matrix.shape[:3]
        self._extent = (grid.height, grid.width, kh, kw * channels)
        self._session = sessions.integer_product(matrix.reshape(self._depth, -1).astype(np.int8, copy=False))

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """See :class:`Drive`."""
        interior = self._grid.interior(z, len(x))
        sites = self._grid.height * self._grid.width
        group = max(1, _COLUMN_BYTES // (sites * self._depth))
        for start in range(0, len(x), group):
            operand = x[start : start + group]
            rows = len(operand) * sites
            y = sessions.run(self._session, self._columns(operand, rows, workspace))
            _accumulate(interior[start : start + group], y, self._shift)

    def _columns(self, x: Array, rows: int, workspace: Workspace) -> Array:
        """The windows of entries, [rows, depth]."""
        w, (height, width) = self._window, x.shape[1:3]
        if x.itemsize == 1 and w == Window((1, width), (1, width)) and self._extent[:2] == (height, 1):
            # they are the rows of the image
            return x.reshape(rows, self._depth).view(np.uint8)
        columns = workspace.take("columns", rows * self._depth, np.uint8)
        whole = columns.reshape(len(x), *self._extent)
        image_rows = x.reshape(*x.shape[:2], -1)
        take_columns(image_rows, x.shape[3], w.kernel, w.strides, w.pads, w.dilations, whole)
        return columns.reshape(rows, self._depth)


class FloatDrive:
    """A float32 convolution of onnxruntime, or the reference's kernels where that is not proved exact."""

    def __init__(self, part: Part, grid: Grid, unit: int) -> None:
        """Opens a session of onnxruntime if there is one to use."""
        self._part, self._grid, self._unit = part, grid, unit
        op = part.op
        exact = sum_bound(op, part.peak) < fixedpoint.FLOAT32_EXACT
        self._session = sessions.float_product(op) if exact and isinstance(op, Conv2d | Dense) else None

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """See :class:`Drive`."""
        part = self._part
        operand = channel_first(x, part.shape)
        if self._session is None:
            y, shift = weigh(part.op, operand, len(part.shape), part.peak), -self._unit
        else:
            y = sessions.run(self._session, np.ascontiguousarray(operand, np.float32)).astype(np.int32)
            shift = part.op.shift - self._unit
        y = y[:, :, None, None] if y.ndim == 2 else y
        _accumulate(self._grid.interior(z, len(x)), y.transpose(0, 2, 3, 1), shift)


class PooledDrive:
    """A drive that sees the sums of windows."""

    def __init__(self, part: Part, drive: Drive) -> None:
        """``part`` has a pool."""
        assert part.pool is not None
        self._pool, self._shape, self._drive = part.pool, part.shape, drive
        self._dtype = narrow(part.pooled().peak)

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """See :class:`Drive`."""
        sums = sum_pool(self._pool, channel_first(x, self._shape), self._dtype)
        self._drive.add(channel_last(sums, self._shape), z, workspace)


def _behind(part: Part, drive: Drive) -> Drive:
    return drive if part.pool is None else PooledDrive(part, drive)


def _accumulate(interior: Array, y: Array, shift: int) -> None:
    """Add y·2^shift to ``interior``, exactly."""
    y = y.reshape(interior.shape)
    if shift:
        wide = y.astype(np.int64)
        y = wide << shift if shift > 0 else wide >> -shift
    np.add(interior, y, out=interior, casting="unsafe")


def _planes(part: Part) -> list[int]:
    """The values of the bits of an operand in two's complement."""
    if part.low >= 0:
        return [1 << p for p in range(part.high.bit_length())]
    bits = fixedpoint.signed_bits(part.low, part.high)
    return [*(1 << p for p in range(bits - 1)), -(1 << (bits - 1))]


def _rows(part: Part) -> int:
    return len(_planes(part)) * part.shape[0]
