"""Cuts populations into tiles and puts the tiles on cores: few cores first, then few spikes between them.

Consumers are cut before what feeds them, so that the number of cores a spike must be sent to is known. Of
the tilings with the fewest tiles that fit, the one that receives the fewest spikes is taken. Tiles are then
packed, the largest first, each onto the core that holds most of its partners among those with room.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from snnc.backends.loihi.link import Ints, Link, Tile, Tiling, list_bits
from snnc.backends.loihi.traffic import Traffic
from snnc.backends.netlist.model import Netlist, Population, volume
from snnc.diagnostics import Diagnostics
from snnc.targets import Chip

Counts = Mapping[str, npt.NDArray[Any]]


class Use(NamedTuple):
    """What a tile or a core takes of a core's resources."""

    neurons: int
    in_axons: int
    out_axons: int
    synapse_bits: int
    thresholds: int
    synapse_formats: int
    profiles: int


LABELS = (
    "compartments",
    "in-axons",
    "out-axons",
    "bits of synapses",
    "different thresholds",
    "formats of synapses",
    "profiles of compartments",
)


def total(uses: Iterable[Use]) -> Use:
    """The sum over at least one tile."""
    return Use(*map(sum, zip(*uses, strict=True)))


def limits(chip: Chip) -> tuple[float, ...]:
    """The limits of one core, in the order of :class:`Use`."""
    known = (
        chip.neurons,
        chip.in_axons,
        chip.out_axons,
        chip.synapse_bits,
        chip.thresholds,
        chip.synapse_formats,
        chip.profiles,
    )
    return tuple(float("inf") if limit is None else limit for limit in known)


@dataclasses.dataclass(frozen=True)
class Piece:
    """One tile of a population, the core it is on, and what it uses there."""

    population: str
    tile: Tile
    core: int
    use: Use


@dataclasses.dataclass(frozen=True)
class Placement:
    """Every piece, in the netlist's order of populations, and the messages between pieces per sample."""

    chip: Chip
    pieces: tuple[Piece, ...]
    traffic: Traffic

    @property
    def cores(self) -> int:
        """How many cores are in use."""
        return 1 + max(piece.core for piece in self.pieces)

    @property
    def chips(self) -> int:
        """How many chips hold them."""
        return -(-self.cores // self.chip.cores)


def place(netlist: Netlist, chip: Chip, counts: Counts, diagnostics: Diagnostics) -> Placement | None:
    """A placement of a netlist in the chip's arithmetic; ``counts`` are spikes per sample and neuron.

    A population without counts is taken to spike once per neuron. Reports SNNC0131, and returns None,
    if not even one neuron of a population fits onto a core, or all cores onto the largest system.
    """
    links = {
        p.name: [Link.of(netlist, g) for g in netlist.incoming(p.name) if g.source in _populations(netlist)]
        for p in netlist.populations
    }
    spikes = {
        p.name: np.asarray(counts.get(p.name, np.ones(p.shape)), np.float64) for p in netlist.populations
    }
    tilings: dict[str, Tiling] = {}
    cutters: dict[str, _Cutter] = {}
    fans = {p.name: np.zeros(p.shape, np.int64) for p in netlist.populations}
    for population in reversed(netlist.populations):
        cutter = _Cutter(population, links[population.name], fans[population.name], chip)
        cutters[population.name] = cutter
        tiling = cutter.best(spikes)
        if tiling is None:
            cutter.explain(diagnostics)
            # the search goes on as if it fitted
            tiling = Tiling.of(population.shape, (1, 1, 1))
        tilings[population.name] = tiling
        for link in links[population.name]:
            fans[link.projection.source] += link.messages(tiling)
    if any(d.severity == "error" for d in diagnostics.items):
        return None
    tiles = [(p, tile) for p in netlist.populations for tile in tilings[p.name].tiles]
    uses = [cutters[p.name].use(tile) for p, tile in tiles]
    traffic = Traffic.of(tilings, links, spikes)
    cores = _pack(uses, traffic, chip)
    placement = Placement(
        chip,
        tuple(Piece(p.name, t, c, u) for (p, t), c, u in zip(tiles, cores, uses, strict=True)),
        traffic,
    )
    if placement.chips > chip.chips:
        diagnostics.error(
            "SNNC0131",
            f"{placement.cores} cores are {placement.chips} chips, {placement.chips - chip.chips} more than "
            f"the largest system has",
        )
        return None
    return placement


def _populations(netlist: Netlist) -> set[str]:
    return {p.name for p in netlist.populations}


class _Cutter:
    """The tiles that one population can be cut into; ``fan`` is how many messages a spike becomes."""

    def __init__(self, population: Population, links: list[Link], fan: Ints, chip: Chip) -> None:
        self.population, self.links, self.chip = population, links, chip
        self.shape = volume(population.shape)
        self.fan = fan.reshape(self.shape)
        self.resets = population.kind == "if" and chip.compartments_per_neuron > 1
        self.most = limits(chip)

    def use(self, tile: Tile, sent: int | None = None) -> Use:
        """What a tile takes of a core; ``sent`` are its messages if they are known already."""
        if sent is None:
            sent = int(self.fan[tuple(slice(*span) for span in tile)].sum())
        thresholds = self._thresholds(tile)
        use = Use(
            tile.size * (self.chip.compartments_per_neuron if self.resets else 1),
            sum(link.axons(tile) for link in self.links),
            sent,
            sum(link.synapse_bits(tile, self.chip) for link in self.links),
            len(thresholds),
            len({link.format(tile, self.chip) for link in self.links}),
            1,
        )
        if self.resets:
            # every neuron sends to itself; neurons of one threshold share the list; exponents are 0 and 7
            digits = [_digits(t) for t in thresholds]
            lists = sum(list_bits(self.chip, max(1, sum(pair)), self.chip.weight_bits) for pair in digits)
            formats = sum(any(column) for column in zip(*digits, strict=True))
            use = total((use, Use(0, tile.size, tile.size, lists, 0, formats, 1)))
        return use

    def _thresholds(self, tile: Tile) -> list[int]:
        memory = self.population.threshold
        if memory is None:
            return []
        values = memory.values
        return [int(t) for t in np.unique(values[slice(*tile.channels)] if values.ndim else values)]

    def best(self, spikes: Counts) -> Tiling | None:
        """The tiling of fewest tiles, of these the one that receives fewest messages."""
        found: list[Tiling] = []
        for count, group in itertools.groupby(sorted(self._candidates()), key=lambda c: c[0]):
            found = [t for _, sizes in group if self._fits(t := Tiling.of(self.shape, sizes))]
            if found:
                assert count == len(found[0].tiles)
                break
        return min(found, key=lambda t: self._received(t, spikes), default=None)

    def _candidates(self) -> Iterator[tuple[int, tuple[int, int, int]]]:
        """Tile counts and sizes that the neurons allow; each size is the least that gives its count."""
        per_axis = [sorted({-(-n // k) for k in range(1, n + 1)}) for n in self.shape]
        groups = {link.outputs // link.groups for link in self.links if 1 < link.groups < link.outputs}
        most = self.most[0] // (self.chip.compartments_per_neuron if self.resets else 1)
        for channels, rows, columns in itertools.product(*per_axis):
            sizes = (channels, rows, columns)
            whole = all(channels % outputs == 0 or outputs % channels == 0 for outputs in groups)
            if whole and channels * rows * columns <= most:
                count = 1
                for extent, size in zip(self.shape, sizes, strict=True):
                    count *= -(-extent // size)
                yield count, sizes

    def _fits(self, tiling: Tiling) -> bool:
        """Whether every tile fits; tiles of one form are looked at once."""
        sent = tiling.sums(self.fan)
        if sent.max() > self.most[2]:
            return False
        return all(
            all(used <= most for used, most in zip(self.use(tile, int(n)), self.most, strict=True))
            for tile, n in zip(tiling.tiles, sent.ravel(), strict=True)
        )

    def _received(self, tiling: Tiling, spikes: Counts) -> float:
        return sum(
            float((link.messages(tiling) * spikes[link.projection.source]).sum()) for link in self.links
        )

    def explain(self, diagnostics: Diagnostics) -> None:
        """Name the limits that a single neuron exceeds, the worst one of its population."""
        single = Tiling.of(self.shape, (1, 1, 1)).tiles
        worst = [max(column) for column in zip(*map(self.use, single), strict=True)]
        for label, used, most in zip(LABELS, worst, self.most, strict=True):
            if used > most:
                diagnostics.error(
                    "SNNC0131",
                    f"one neuron needs {used} {label}, {used - int(most)} more than a core's {int(most)}",
                    where=self.population.origin,
                    remedy="reduce the layer's inputs, for instance with a pool before it",
                )


def _digits(threshold: int) -> tuple[int, int]:
    """Inhibitory synapses for a threshold: its mantissa's lowest 7 bits, the rest with the exponent 7."""
    mantissa = threshold >> 6
    return int(bool(mantissa & 127)), -(-(mantissa >> 7) // 255)


def _pack(uses: list[Use], traffic: Traffic, chip: Chip) -> list[int]:
    """The core of every tile: best fit, in order of the resource that a tile needs most of."""
    most = np.array([min(limit, 2**62) for limit in limits(chip)])
    amounts = np.array(uses, np.float64)
    order = np.argsort(-(amounts / most).max(axis=1), kind="stable")
    core_of = np.full(len(uses), -1)
    loads = np.zeros((len(uses), len(most)))
    count = 0
    for tile in order:
        room = np.flatnonzero((loads[:count] + amounts[tile] <= most).all(axis=1))
        if len(room):
            shared = np.zeros(count)
            for partner, messages in traffic.partners(int(tile)):
                if core_of[partner] >= 0:
                    shared[core_of[partner]] += messages
            fill = (loads[room] / most).max(axis=1)
            core = int(room[np.lexsort((-fill, -shared[room]))[0]])
        else:
            core, count = count, count + 1
        core_of[tile] = core
        loads[core] += amounts[tile]
    # cores in the order of the tiles on them, so that neighbours in the network are neighbours on a chip
    first = {core: n for n, core in reversed(list(enumerate(core_of.tolist())))}
    rank = {core: position for position, core in enumerate(sorted(first, key=lambda c: first[c]))}
    return [rank[core] for core in core_of.tolist()]
