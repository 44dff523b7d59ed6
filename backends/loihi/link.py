"""One projection as synapses of a core: how many axons and how much memory a tile of its target needs.

Everything is counted at the operand, behind the address map: neurons that a pool joins send to one axon
of a core, as an axon is only a number in a spike. Behind an axon is a list of synapses, relative to a
base neuron; positions of a convolution with the same list relative to their base share it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from snnc.backends.costs.fanout import adjoint
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
from snnc.targets import Chip

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Span = tuple[int, int]


class Tile(NamedTuple):
    """A block of a population: spans of channels, rows and columns; a vector is a column of channels."""

    channels: Span
    rows: Span
    columns: Span

    @property
    def size(self) -> int:
        """Neurons."""
        return (self.channels[1] - self.channels[0]) * self.area

    @property
    def area(self) -> int:
        """Positions."""
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """One spatial axis of a convolution, and which positions of its operand can spike at all."""

    alive: tuple[bool, ...]
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - axes are few and short-lived values
    def read(self, span: Span) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The operand's positions that the outputs in ``span`` read, and the lengths of distinct lists.

        A list names outputs relative to its first, and the tap by which each is reached.
        """
        lists: dict[int, list[tuple[int, int]]] = {}
        for output in range(*span):
            for tap in range(self.kernel):
                position = output * self.stride + tap * self.dilation - self.pad
                if 0 <= position < len(self.alive) and self.alive[position]:
                    lists.setdefault(position, []).append((output, tap))
        relative = {tuple((y - found[0][0], k) for y, k in found) for found in lists.values()}
        return tuple(sorted(lists)), tuple(sorted(map(len, relative)))


@dataclasses.dataclass(frozen=True, eq=False)
class Link:
    """A projection from a population, seen by the cores of its target."""

    projection: Projection
    source: Shape
    operand: Shape
    alive: tuple[bool, ...]
    rows: Axis
    columns: Axis
    groups: int
    outputs: int

    @classmethod
    def of(cls, netlist: Netlist, projection: Projection) -> Link:
        """The connectivity of a projection of any kind but those into max gates."""
        assert projection.weights is not None
        source = netlist.nodes[projection.source].shape
        live = np.ones(source, bool)
        for step in projection.address:
            live = forward(step, live)
        operand = volume(live.shape)
        live = live.reshape(operand)
        outputs = netlist.nodes[projection.target].shape[0]
        kernel = projection.weights.shape[2:] if projection.kind == "conv" else (1, 1)
        rows, columns = (
            Axis(
                tuple(bool(n) for n in np.count_nonzero(live, axis=(0, 2 - axis))),
                kernel[axis],
                projection.strides[axis],
                projection.pads[axis],
                projection.dilations[axis],
            )
            for axis in (0, 1)
        )
        groups = outputs if projection.kind == "scale" else projection.groups
        channels = tuple(bool(n) for n in np.count_nonzero(live, axis=(1, 2)))
        return cls(projection, source, operand, channels, rows, columns, groups, outputs)

    def axons(self, tile: Tile) -> int:
        """The operand's elements that reach a tile."""
        channels = sum(count * alive for (_, alive), count in self._channels(tile.channels).items())
        return channels * len(self.rows.read(tile.rows)[0]) * len(self.columns.read(tile.columns)[0])

    def synapse_bits(self, tile: Tile, chip: Chip) -> int:
        """The memory for the lists of a tile, each stored once."""
        lengths = [
            down * across
            for down in self.rows.read(tile.rows)[1]
            for across in self.columns.read(tile.columns)[1]
        ]
        width = sum(self.format(tile, chip)[:3])
        if self.projection.is_identity:
            return list_bits(chip, 1, width) if lengths else 0
        return sum(
            count * alive * list_bits(chip, length * outputs, width)
            for (outputs, alive), count in self._channels(tile.channels).items()
            for length in lengths
        )

    def format(self, tile: Tile, chip: Chip) -> tuple[int, int, int, int, bool]:
        """What the synapses of a tile share: bits of weight, delay and index; exponent; mixed signs."""
        weights = self.projection.weights
        assert weights is not None
        # the synapses of a dense layer go to all neurons in turn, those of a skip to the base
        index = index_bits(chip, tile.size) if self.projection.kind == "conv" else 0
        mixed = bool(weights.values.min() < 0 < weights.values.max())
        late = (self.projection.delay - 1).bit_length()
        return chip.weight_bits, late, index, self.projection.shift, mixed

    def messages(self, tiling: Tiling) -> Ints:
        """How many cores one spike of each source neuron is sent to, int64 of the source's shape.

        A neuron that reaches an operand by several windows, or with a multiplicity, sends as often.
        """
        per_channel = np.zeros(self.operand[0], np.int64)
        inputs, outputs = self.operand[0] // self.groups, self.outputs // self.groups
        for first, last in tiling.channels:
            group = slice(first // outputs * inputs, ((last - 1) // outputs + 1) * inputs)
            per_channel[group] += 1
        per_row, per_column = (
            _marks([axis.read(span)[0] for span in spans], len(axis.alive))
            for axis, spans in ((self.rows, tiling.rows), (self.columns, tiling.columns))
        )
        reached = per_channel[:, None, None] * per_row[:, None] * per_column
        return self._back(reached)

    def _back(self, values: Ints) -> Ints:
        """From the operand to the source."""
        shapes = [self.source]
        for step in self.projection.address:
            shapes.append(step.result(shapes[-1]))
        values = values.reshape(shapes[-1])
        for step, shape in zip(reversed(self.projection.address), reversed(shapes[:-1]), strict=True):
            if isinstance(step, SumPool) and step.multiplicity is not None:
                values = values * step.multiplicity.values
            values = adjoint(step, values, shape)
        return values

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - links are few and live as long as one placement
    def _channels(self, span: Span) -> Counter[tuple[int, int]]:
        """How many groups have so many outputs in ``span`` and so many operand channels that spike."""
        inputs, outputs = self.operand[0] // self.groups, self.outputs // self.groups
        found: Counter[tuple[int, int]] = Counter()
        for group in range(span[0] // outputs, (span[1] - 1) // outputs + 1):
            inside = min(span[1], (group + 1) * outputs) - max(span[0], group * outputs)
            found[inside, sum(self.alive[group * inputs : (group + 1) * inputs])] += 1
        return found


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A population cut along its axes; its tiles are all combinations of spans."""

    channels: tuple[Span, ...]
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @classmethod
    def of(cls, shape: Shape, sizes: tuple[int, int, int]) -> Tiling:
        """Tiles of ``sizes``, smaller ones at the end."""
        spans = (
            tuple((start, min(start + size, extent)) for start in range(0, extent, size))
            for extent, size in zip(volume(shape), sizes, strict=True)
        )
        return cls(*spans)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, channels first."""
        return tuple(Tile(c, y, x) for c in self.channels for y in self.rows for x in self.columns)

    def sums(self, values: Ints) -> Ints:
        """The sums of an array [C, H, W] over every tile, [channel, row, column]."""
        for axis, spans in enumerate((self.channels, self.rows, self.columns)):
            values = np.add.reduceat(values, [start for start, _ in spans], axis=axis)
        return values


def index_bits(chip: Chip, neurons: int) -> int:
    """The width of an index that reaches so many neurons."""
    needed = (neurons - 1).bit_length()
    return next((bits for bits in chip.index_bits if bits >= needed), needed)


@functools.lru_cache(maxsize=65536)
def list_bits(chip: Chip, synapses: int, width: int) -> int:
    """The memory of one list: blocks of a head and synapses of ``width`` bits, in whole words."""
    full, rest = divmod(synapses, chip.block_synapses)
    sizes = [chip.block_synapses] * bool(full) + [rest] * bool(rest)
    words = [-(-(n * width + chip.block_head_bits) // chip.word_bits) for n in sizes]
    return chip.word_bits * (words[0] * full + sum(words[1:]) if full else sum(words))


def forward(step: AddressStep, live: Bools) -> Bools:
    """Which elements behind an address step can spike."""
    match step:
        case Reshape():
            return live.reshape(step.shape)
        case Transpose():
            return live.transpose(step.perm)
        case Slice():
            return live[tuple(slice(*b) for b in zip(step.starts, step.stops, step.steps, strict=True))]
        case Pad():
            return np.pad(live, tuple(zip(step.before, step.after, strict=True)))
        case SumPool():
            top, left, bottom, right = step.pads
            padded = np.pad(live, ((0, 0), (top, bottom), (left, right)))
            view = np.lib.stride_tricks.sliding_window_view(padded, step.kernel, axis=(1, 2))
            view = view[:, :: step.strides[0], :: step.strides[1]]
            return np.asarray(view.any(axis=(3, 4)))


def _marks(positions: Sequence[Sequence[int]], size: int) -> Ints:
    """How many of the sequences name each of ``size`` positions."""
    marks = np.zeros(size, np.int64)
    for named in positions:
        marks[list(named)] += 1
    return marks
