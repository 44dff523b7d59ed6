"""Where things lie: currents in a buffer with a margin, and what one site of the input reaches in it.

Currents are kept channel last, so that the outputs of one event are contiguous: those of neighbouring
columns, too, where the stride is one. Around the population there is a margin into which events at a
border may add, so that nothing needs to be clipped.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.ir.ops import Conv2d, SumPool, Weighted
from snnc.ir.types import Shape

Array = npt.NDArray[Any]

SLACK = 512
"""Elements after the last current into which a padded row of weights may add zeros."""


def image(shape: Shape) -> tuple[int, int, int]:
    """(H, W, C) of a population [C, H, W], or of a vector [C] as a single site."""
    return (1, 1, shape[0]) if len(shape) == 1 else (shape[1], shape[2], shape[0])


def channel_last(x: Array, shape: Shape) -> Array:
    """[…, *shape] as contiguous […, H, W, C]; a copy only if it does not lie so already."""
    return np.ascontiguousarray(x[..., None, None, :] if len(shape) == 1 else np.moveaxis(x, -3, -1))


def channel_first(x: Array, shape: Shape, lead: int = 1) -> Array:
    """An array that lies channel last after its ``lead`` first axes, as a view […, *shape]."""
    height, width, channels = image(shape)
    y = x.reshape(*x.shape[:lead], height, width, channels)
    return y.reshape(*x.shape[:lead], channels) if len(shape) == 1 else np.moveaxis(y, -1, -3)


@dataclasses.dataclass(frozen=True)
class Window:
    """What a weighted op sees: kernel, strides, pads before, dilations, each for rows and columns."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    dilations: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, op: Weighted) -> Window:
        """The window of a convolution; one site for anything else."""
        if not isinstance(op, Conv2d):
            return cls()
        height, width = op.weight.shape[2:]
        return cls((height, width), op.strides, op.pads[:2], op.dilations)

    def taps(self, axis: int, residue: int) -> list[tuple[int, int]]:
        """(kernel index, displacement) of what a site ≡ ``residue`` mod stride reaches, ascending.

        An input at y = Y·s + r adds through kernel index k to output Y + (r + p − k·d)/s.
        """
        found = []
        for k in reversed(range(self.kernel[axis])):
            offset = residue + self.pads[axis] - k * self.dilations[axis]
            if offset % self.strides[axis] == 0:
                found.append((k, offset // self.strides[axis]))
        return found

    def reach(self, axis: int, size: int) -> tuple[int, int]:
        """The first and the last output position that an input of ``size`` sites adds to."""
        stride = self.strides[axis]
        first, last = 0, 0
        for residue in range(min(stride, size)):
            for _, displacement in self.taps(axis, residue):
                first = min(first, displacement)
                last = max(last, (size - 1 - residue) // stride + displacement)
        return first, last


@dataclasses.dataclass(frozen=True)
class Grid:
    """A population's currents with a margin: ``height`` rows of ``width`` sites of ``channels``."""

    height: int
    width: int
    channels: int
    top: int = 0
    bottom: int = 0
    side: int = 0

    @classmethod
    def around(cls, shape: Shape, reaching: Iterable[tuple[Window, Shape]]) -> Grid:
        """Wide enough for the windows on operands of these shapes."""
        height, width, channels = image(shape)
        top = bottom = side = 0
        for window, operand in reaching:
            rows, columns, _ = image(operand)
            first, last = window.reach(0, rows)
            top, bottom = max(top, -first), max(bottom, last - height + 1)
            first, last = window.reach(1, columns)
            # what leaves a row on the right may run into the margin on the left of the next
            side = max(side, -first, last - width + 1)
        return cls(height, width, channels, top, bottom, side)

    @property
    def pitch(self) -> int:
        """Elements from one row to the next."""
        return (self.width + self.side) * self.channels

    @property
    def origin(self) -> int:
        """The element of the first neuron."""
        return self.top * self.pitch + self.side * self.channels

    @property
    def step(self) -> int:
        """Elements from one entry of the time axis to the next."""
        return (self.top + self.height + self.bottom) * self.pitch

    @property
    def frame(self) -> tuple[int, int, int]:
        """What kernels need to find the neurons."""
        return self.origin, self.step, self.pitch

    def size(self, entries: int) -> int:
        """Elements of a buffer."""
        return entries * self.step + self.origin + SLACK

    def interior(self, buffer: Array, entries: int) -> Array:
        """The neurons of a buffer, a view [B, H, W, C]."""
        strides = (self.step, self.pitch, self.channels, 1)
        return np.lib.stride_tricks.as_strided(
            buffer[self.origin :],
            (entries, self.height, self.width, self.channels),
            tuple(buffer.itemsize * s for s in strides),
        )

    def at(self, buffer: Array, entries: int, positions: Array) -> Array:
        """The neurons of a buffer at flat ``positions`` [P] of each channel, [B, P, C]."""
        y, x = np.divmod(positions, self.width)
        sites = (self.origin + y * self.pitch) // self.channels + x
        return buffer[: entries * self.step].reshape(entries, -1, self.channels).take(sites, axis=1)


@dataclasses.dataclass(frozen=True)
class Target:
    """A row of the kernel, or a run of it: taps (u, v) for v in ``columns`` add at consecutive sites."""

    row: int
    columns: tuple[int, ...]
    offset: int


@dataclasses.dataclass(frozen=True)
class Reach:
    """What events at the sites of an operand reach in a grid.

    Site s adds at ``where[s]`` + ``targets[k].offset`` for k from ``bounds[kinds[s]]`` to the next.
    """

    where: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    targets: tuple[Target, ...]
    bounds: npt.NDArray[np.int64]

    @classmethod
    def of(cls, window: Window, operand: Shape, grid: Grid, *, joined: bool) -> Reach:
        """``joined`` makes one target of neighbouring columns."""
        height, width, _ = image(operand)
        (sy, sx), targets, bounds = window.strides, list[Target](), [0]
        for a, b in itertools.product(range(sy), range(sx)):
            runs = _runs(window.taps(1, b), joined)
            for u, down in window.taps(0, a):
                for columns, right in runs:
                    targets.append(Target(u, columns, down * grid.pitch + right * grid.channels))
            bounds.append(len(targets))
        y, x = np.divmod(np.arange(height * width), width)
        where = grid.origin + (y // sy) * grid.pitch + (x // sx) * grid.channels
        return cls(where, (y % sy) * sx + x % sx, tuple(targets), np.array(bounds))

    def through(self, pool: SumPool, operand: Shape) -> Reach:
        """For the sites in front of a pool whose windows do not overlap; those in no window reach nothing."""
        height, width, _ = image(operand)
        rows, columns = pool.extent(operand)
        y, x = np.divmod(np.arange(height * width), width)
        y, x = y // pool.kernel[0], x // pool.kernel[1]
        inside = (y < rows) & (x < columns)
        site = np.where(inside, y * columns + x, 0)
        nothing = len(self.bounds) - 1
        kinds = np.where(inside, self.kinds[site], nothing)
        return Reach(self.where[site], kinds, self.targets, np.append(self.bounds, self.bounds[-1]))

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Of the targets."""
        return np.array([t.offset for t in self.targets], np.int64)


def _runs(taps: list[tuple[int, int]], joined: bool) -> list[tuple[tuple[int, ...], int]]:
    """Taps in runs of consecutive displacements: (kernel indices, first displacement)."""
    runs: list[tuple[tuple[int, ...], int]] = []
    for k, displacement in taps:
        if runs and joined and displacement == runs[-1][1] + len(runs[-1][0]):
            runs[-1] = (*runs[-1][0], k), runs[-1][1]
        else:
            runs.append(((k,), displacement))
    return runs
