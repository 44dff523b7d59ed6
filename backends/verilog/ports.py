"""One projection as a port: which weights and membranes an event reaches, and the rows of its weights."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.backends.netlist.model import InputPort, Population, Projection, Shape, Window
from snnc.backends.verilog import axes
from snnc.backends.verilog.axes import Hit, HitList, Trace
from snnc.backends.verilog.geometry import Geometry, Link, address_bits

if TYPE_CHECKING:
    from snnc.backends.verilog.plan import Design

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Port:
    """A projection's walk and weights; see rtl/snn_walk.v and rtl/snn_weigh.v.

    ``axes`` are the lists of channel, row and column, None where an axis adds nothing; with ``whole`` the
    first one is indexed by the whole place. ``single``: targets are neurons and rows hold one weight; else
    targets are words and ``weights`` is [rows, lanes]. ``weights`` is empty for a max gate.
    """

    name: str
    projection: Projection
    link: Link
    axes: tuple[HitList | None, ...]
    whole: bool
    words: int
    single: bool
    weights: Ints
    target_bits: int
    weight_address: int
    held: bool
    valued: bool
    scale: int
    phases: int

    @property
    def weight_bits(self) -> int:
        """The width of a weight."""
        return fixedpoint.signed_bits(int(self.weights.min()), int(self.weights.max()))

    @functools.cached_property
    def gain_bits(self) -> int:
        """The width of an axis' multiplicity; 1 if all are 1."""
        gains = [hit.gain for lists in self.axes if lists for hits in lists for hit in hits]
        return max(gains, default=1).bit_length()

    @functools.cached_property
    def updates(self) -> Ints:
        """The membrane words that an event of each neuron reaches, of the source's shape."""
        counts = [None if lists is None else np.array([len(hits) for hits in lists]) for lists in self.axes]
        if self.whole:
            assert counts[0] is not None
            return np.asarray(counts[0][self.link.places()] * self.words, np.int64)
        total = np.full(self.link.shape, self.words, np.int64)
        for axis, count in enumerate(counts[: len(self.link.shape)]):
            if count is not None:
                total = total * count.reshape([-1 if k == axis else 1 for k in range(total.ndim)])
        return total


def plan_port(design: Design, population: Population, projection: Projection, position: int) -> Port:
    """The port of one projection into ``population``."""
    source = design.netlist.nodes[projection.source]
    link = design.links[projection.source]
    geometry = Geometry(population.shape, design.lanes)
    trace = axes.follow(axes.start(source.shape), projection.address)
    walk = _walk(trace, projection, population, geometry) if trace is not None else None
    whole = walk is None
    if walk is None:
        trace = axes.follow(axes.start_whole(source.shape, link.places()), projection.address)
        assert trace is not None
        walk = _walk(trace, projection, population, geometry)
        assert walk is not None
    valued = isinstance(source, InputPort) and source.coding == "current"
    return Port(
        name=f"{population.name}_in{position}",
        projection=projection,
        link=link,
        axes=tuple(_present(lists) for lists in (*walk.axes, None, None)[:3]),
        whole=whole,
        words=walk.words,
        single=walk.single,
        weights=walk.weights,
        target_bits=geometry.neuron_bits if walk.single else geometry.word_bits,
        weight_address=walk.weight_address,
        held=valued and design.rate,
        valued=valued,
        scale=1 if design.rate else sum(design.spike_values),
        phases=0 if valued else design.phases,
    )


def _present(lists: HitList | None) -> HitList | None:
    return None if lists is None or lists == ((Hit(0, 0),),) else lists


@dataclasses.dataclass(frozen=True)
class _Walk:
    axes: tuple[HitList, ...]
    words: int
    single: bool
    weights: Ints
    weight_address: int


def _walk(trace: Trace, projection: Projection, population: Population, geometry: Geometry) -> _Walk | None:
    """None if the trace has to be that of the whole place."""
    match projection.kind:
        case "dense":
            return _dense(trace, projection, geometry)
        case "scale":
            return _scale(trace, projection, geometry)
        case "conv":
            return _conv(trace, projection, geometry)
        case "none":
            assert population.window is not None
            return _gate(trace, population.window, geometry)


def _dense(trace: Trace, projection: Projection, geometry: Geometry) -> _Walk:
    """A row of words for each operand."""
    assert projection.weights is not None
    groups, lanes = geometry.groups, geometry.lanes
    matrix = projection.weights.values.astype(np.int64)
    low, high = _bounds(trace, 0)
    padded = np.pad(matrix.T[low:high], ((0, 0), (0, groups * lanes - len(matrix))))
    lists = axes.linear(trace, lambda v: Hit(v[0] * groups, 0))
    # the first axis takes what the rows below the first operand would have taken
    first = tuple(tuple(h._replace(weight=h.weight - low * groups) for h in hits) for hits in lists[0])
    rows = padded.reshape(-1, lanes)
    return _Walk((first, *lists[1:]), groups, False, rows, address_bits(len(rows)))


def _bounds(trace: Trace, component: int) -> tuple[int, int]:
    """The range of a component of the places."""
    shares = [[place.vector[component] for places in lists for place in places] for lists in trace.axes]
    if not all(shares):
        return 0, 1
    return sum(map(min, shares)), sum(map(max, shares)) + 1


def _neuron(shape: Shape, lanes: int) -> tuple[int, ...]:
    """What a unit of each component adds to a neuron's address {word, lane}."""
    pixel = -(-shape[0] // lanes) * lanes
    return (1, shape[2] * pixel, pixel) if len(shape) == 3 else (1,)


def _scale(trace: Trace, projection: Projection, geometry: Geometry) -> _Walk:
    """One weight, or one for each channel; the target has the place of the operand."""
    assert projection.weights is not None
    weights = projection.weights.values.astype(np.int64).reshape(-1, 1)
    strides = _neuron(geometry.shape, geometry.lanes)
    by_channel = int(len(weights) > 1)
    lists = axes.linear(
        trace, lambda v: Hit(v[0] * by_channel, sum(a * b for a, b in zip(v, strides, strict=True)))
    )
    return _Walk(lists, 1, True, weights, address_bits(len(weights)))


def _gate(trace: Trace, window: Window, geometry: Geometry) -> _Walk | None:
    """The weight address is that of the input's count."""
    inputs = _neuron(trace.shape, geometry.lanes)
    outputs = _neuron(geometry.shape, geometry.lanes)
    rows, columns = (
        axes.window_hits(k, s, p, 1, n, tap=0, output=unit)
        for k, s, p, n, unit in zip(
            window.kernel, window.strides, window.pads[:2], geometry.sizes, outputs[1:], strict=True
        )
    )
    components = (
        lambda c: [Hit(c, c)],
        lambda r: [h._replace(weight=r * inputs[1]) for h in rows(r)],
        lambda q: [h._replace(weight=q * inputs[2]) for h in columns(q)],
    )
    lists = axes.combine(trace, components)
    if lists is None:
        return None
    address = Geometry(trace.shape, geometry.lanes).neuron_bits
    return _Walk(lists, 1, True, np.zeros((0, 1), np.int64), address)


def _conv(trace: Trace, projection: Projection, geometry: Geometry) -> _Walk | None:
    """Taps as entries of rows and columns, output channels as words, or one channel if groups have one."""
    assert projection.weights is not None
    kernel = projection.weights.values.astype(np.int64)
    single = len(kernel) == projection.groups and kernel.shape[1] == 1
    low, high = _bounds(trace, 0)
    first, words, weights = (
        _depthwise_rows(kernel, low, high)
        if single
        else _conv_rows(kernel, projection.groups, geometry, low, high)
    )
    taps = kernel.shape[2] * kernel.shape[3]
    unit = _neuron(geometry.shape, geometry.lanes)
    outputs = unit if single else tuple(u // geometry.lanes for u in unit)
    rows, columns = (
        axes.window_hits(
            kernel.shape[2 + k],
            projection.strides[k],
            projection.pads[k],
            projection.dilations[k],
            geometry.sizes[k],
            tap=tap,
            output=outputs[1 + k],
        )
        for k, tap in enumerate((kernel.shape[3] * words, words))
    )
    lists = axes.combine(trace, (lambda c: [Hit((c - low) * taps * words, first[c - low])], rows, columns))
    if lists is None:
        return None
    return _Walk(lists, words, single, weights, address_bits(len(weights)))


def _depthwise_rows(kernel: Ints, low: int, high: int) -> tuple[list[int], int, Ints]:
    return list(range(low, high)), 1, kernel[low:high].reshape(-1, 1)


def _conv_rows(
    kernel: Ints, groups: int, geometry: Geometry, low: int, high: int
) -> tuple[list[int], int, Ints]:
    """The first word that each operand channel reaches, the number of words, and [rows, lanes] weights.

    Channels of one group may begin and end within a word: its other lanes get zeros.
    """
    lanes, width = geometry.lanes, len(kernel) // groups
    spans = [(g * width // lanes, ((g + 1) * width - 1) // lanes) for g in range(groups)]
    words = max(last - first + 1 for first, last in spans)
    starts = [min(first, geometry.groups - words) for first, _ in spans]
    fan = kernel.shape[1]
    table = np.zeros((high - low, *kernel.shape[2:], words * lanes), np.int64)
    for channel in range(low, high):
        group, within = divmod(channel, fan)
        at = group * width - starts[group] * lanes
        block = kernel[group * width : (group + 1) * width, within]
        table[channel - low, :, :, at : at + width] = block.transpose(1, 2, 0)
    first_words = [starts[channel // fan] for channel in range(low, high)]
    return first_words, words, table.reshape(-1, lanes)
