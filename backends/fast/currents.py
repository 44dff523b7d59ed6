"""What flows into a population, prepared once for a network."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.fast.choice import Quickest
from snnc.backends.fast.drive import Drive, Workspace, candidates
from snnc.backends.fast.layout import Grid, Window, channel_last
from snnc.backends.fast.part import Part, joined_range, parts_of
from snnc.backends.reference.drive import Clock
from snnc.backends.reference.kernels import weigh
from snnc.ir.network import Network
from snnc.ir.types import Shape

Array = npt.NDArray[Any]

BLOCK_BYTES = 1 << 19
"""The currents of one block of steps: about half of a core's second-level cache."""

SHARED_BLOCK_BYTES = 1 << 22
"""The same where several threads run: after every kernel one may wait for the interpreter."""


def block_bytes(threads: int) -> int:
    """The currents of one block of steps in each of so many threads."""
    return BLOCK_BYTES if threads == 1 else SHARED_BLOCK_BYTES


class Currents:
    """What flows into a population: a drive for each part that has a time axis, and constant parts."""

    def __init__(self, clock: Clock, shape: Shape, parts: Sequence[tuple[int, Part]]) -> None:
        """``parts``, each with the node that it weighs, flow into a population of that shape.

        Raises CompileError (SNNC0130) at the first run if a sum needs more than 63 bits.
        """
        self.clock, self.shape = clock, shape
        self.timed = [(source, part) for source, part in parts if part.timed]
        self._still = [(source, part) for source, part in parts if not part.timed]
        reaching = [(Window.of(part.op), part.pooled().shape) for _, part in self.timed]
        self.grid = Grid.around(self.shape, reaching)
        self.unit = min((part.op.shift for _, part in self.timed), default=0)
        low, high = joined_range([part for _, part in self.timed], self.unit)
        self.dtype = np.dtype(_narrowest(low, high))
        self.drives = [Quickest(functools.partial(self._candidates, part)) for _, part in self.timed]
        self.sources = tuple(dict.fromkeys(source for source, _ in parts))
        self.largest = (max(-low, high) << self.unit) + clock.gain * self._largest_still()

    def _largest_still(self) -> int:
        low, high = joined_range([part for _, part in self._still], 0)
        # a register may round up by half its unit
        rounding = sum(part.op.register_limit and 1 << part.op.register_exponent for _, part in self._still)
        return max(-low, high) + rounding

    @classmethod
    def of(cls, network: Network, node: int, clock: Clock, timed: set[int]) -> Currents:
        """What flows into a population or readout; ``timed`` are the nodes not constant in time."""
        return cls(clock, network.type(node).shape, parts_of(network, node, clock, timed))

    def adopt(self, other: Currents) -> None:
        """Take over the drives of another network's layer where they are the same."""
        alike = (self.grid, self.dtype, self.unit) == (other.grid, other.dtype, other.unit)
        if alike and self.timed == other.timed:
            self.drives = other.drives

    def _candidates(self, part: Part) -> Iterator[Drive]:
        return candidates(part, self.grid, self.dtype, self.unit)

    def entries(self, size: int) -> int:
        """How many entries have currents of so many bytes; at least one."""
        return max(1, size // self.entry_bytes)

    @property
    def entry_bytes(self) -> int:
        """What the currents of one entry take."""
        return self.grid.step * self.dtype.itemsize

    def constant(self, signals: Mapping[int, Array], samples: int) -> npt.NDArray[np.int64]:
        """What the constant parts add at every entry, [N, H, W·C], or [1, 1, W·C] of zeros."""
        if not self._still:
            return np.zeros((1, 1, self.row), np.int64)
        total: Array = np.zeros((samples, *self.shape), np.int64)
        for source, part in self._still:
            total += weigh(part.op, signals[source], len(part.shape), part.peak) * self.clock.gain
        return channel_last(total, self.shape).reshape(samples, self.grid.height, self.row)

    @property
    def kind(self) -> npt.DTypeLike:
        """What holds currents as they are meant."""
        return np.int32 if self.largest <= np.iinfo(np.int32).max else np.int64

    def whole(self, z: Array) -> Array:
        """Timed currents [..., C] as they are meant."""
        return np.asarray(np.left_shift(z.astype(self.kind), self.unit))

    def membranes(self, rows: Array) -> Array:
        """Membranes [..., H, W·C] as they are meant: int64."""
        return rows.astype(np.int64)

    def operands(self, signals: Mapping[int, Array]) -> list[Array]:
        """The timed operands, contiguous [N, S, H, W, C], in single bytes where these hold them."""
        found = []
        for source, part in self.timed:
            x = signals[source]
            narrow = part.peak <= np.iinfo(np.int8).max
            found.append(channel_last(x.astype(np.int8, copy=False) if narrow else x, part.shape))
        return found

    def settle(self, operands: list[Array], workspace: Workspace) -> None:
        """Let every part choose its drive by a block of the first sample."""
        for drive, x in zip(self.drives, operands, strict=True):
            if drive.chosen is None and len(x):
                entries = x[0] if self.clock.delays else x[:, 0]
                # the first steps are quieter than all others
                few = self.entries(BLOCK_BYTES)
                middle = max(0, (len(entries) - few) // 2)
                block = entries[middle : middle + few]
                drive.settle(block, np.zeros(self.grid.size(len(block)), self.dtype), workspace)

    def fill(self, operands: list[Array], workspace: Workspace, buffer: str = "z") -> Array:
        """The currents of entries [B, H, W, C] of every timed part, in a buffer laid out as ``frame``.

        Without timed parts it is one row of zeros that stands for all.
        """
        size = self.grid.size(len(operands[0])) if operands else self.row
        z = workspace.take(buffer, size, self.dtype)
        z[:] = 0
        for drive, x in zip(self.drives, operands, strict=True):
            drive.add(x, z, workspace)
        return z

    @property
    def row(self) -> int:
        """Neurons in a row."""
        return self.grid.width * self.grid.channels

    @property
    def frame(self) -> tuple[int, int, int]:
        """Where the buffer of :meth:`fill` has its neurons: origin, step and pitch."""
        return self.grid.frame if self.drives else (0, 0, 0)


def _narrowest(low: int, high: int) -> type[np.signedinteger[Any]]:
    """int16, int32 or int64, whichever first holds the range."""
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.int64
