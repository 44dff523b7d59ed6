"""Where neurons lie in memory, and how the place of a neuron is written in an event."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.model import Shape


def address_bits(size: int) -> int:
    """The width of an address below ``size``; at least one."""
    return max(1, (size - 1).bit_length())


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Membranes in words of ``lanes`` channels: word = (row · columns + column) · groups + group."""

    shape: Shape
    lanes: int

    @property
    def channels(self) -> int:
        """C."""
        return self.shape[0]

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows and columns, 1 and 1 for [C]."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 3 else (1, 1)

    @property
    def groups(self) -> int:
        """⌈C/lanes⌉."""
        return -(-self.channels // self.lanes)

    @property
    def words(self) -> int:
        """The words of a memory that holds one value per neuron."""
        return self.groups * math.prod(self.sizes)

    @property
    def word_bits(self) -> int:
        """The width of a word's address."""
        return address_bits(self.words)

    @property
    def neuron_bits(self) -> int:
        """The width of a neuron's address {word, lane}."""
        return self.word_bits + self.lanes.bit_length() - 1

    def by_word(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Values […, C] or […, C, H, W] as […, words, lanes]; lanes beyond the last channel hold 0."""
        lead = values.ndim - len(self.shape)
        spread = np.moveaxis(values, lead, -1)
        spare = self.groups * self.lanes - self.channels
        padded = np.pad(spread, [(0, 0)] * (spread.ndim - 1) + [(0, spare)])
        return padded.reshape(*values.shape[:lead], self.words, self.lanes)


@dataclasses.dataclass(frozen=True)
class Link:
    """Events {token, extra, channel, row, column} of a node: ``extra`` bits, then its place."""

    extra: int
    shape: Shape

    @property
    def fields(self) -> tuple[int, int, int]:
        """Bits of channel, row and column."""
        sizes = (*self.shape, 1, 1)[:3]
        return address_bits(sizes[0]), address_bits(sizes[1]), address_bits(sizes[2])

    @property
    def place(self) -> int:
        """Bits of the place."""
        return sum(self.fields)

    @property
    def width(self) -> int:
        """Bits of an event."""
        return 1 + self.extra + self.place

    @property
    def token(self) -> int:
        """The event that ends a step."""
        return 1 << (self.width - 1)

    def places(self) -> npt.NDArray[np.int64]:
        """The place of every neuron as written in its events, of the node's shape."""
        channel, row, column = np.indices((*self.shape, 1, 1)[:3])
        _, rows, columns = self.fields
        return np.asarray(((channel << rows | row) << columns | column).reshape(self.shape), np.int64)
