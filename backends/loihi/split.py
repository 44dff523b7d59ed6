"""A placement as a netlist: every piece a population of its own, with exactly the spikes it had.

A projection becomes one for every pair of pieces that exchange spikes: the sender's piece is put in its
place among zeros, the address map follows as it was, and a window of the operand and a part of the weights
feed the receiver's piece.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt

from snnc.backends.loihi.link import Span, Tile
from snnc.backends.loihi.place import Placement
from snnc.backends.netlist.model import (
    Memory,
    Netlist,
    OutputPort,
    Pad,
    Population,
    Projection,
    Shape,
    Slice,
    volume,
)


def split(netlist: Netlist, placement: Placement) -> Netlist:
    """The netlist of the pieces, in the order of ``placement.pieces``, inputs first.

    An output whose readout is cut becomes one output for each piece, named ``y[k]``.
    """
    names = {port.name: f"p{k}" for k, port in enumerate(netlist.inputs)}
    pieces = [
        _Part(f"p{len(names) + k}", netlist.nodes[piece.population], piece.tile)
        for k, piece in enumerate(placement.pieces)
    ]
    of = {p.name: [part for part in pieces if part.whole is p] for p in netlist.populations}
    return Netlist(
        name=netlist.name,
        steps=netlist.steps,
        schedule=netlist.schedule,
        inputs=tuple(dataclasses.replace(port, name=names[port.name]) for port in netlist.inputs),
        populations=tuple(part.population() for part in pieces),
        projections=tuple(
            projection
            for receiver in pieces
            for incoming in netlist.incoming(receiver.whole.name)
            for projection in _projections(netlist, incoming, receiver, of.get(incoming.source), names)
        ),
        outputs=tuple(_outputs(netlist, of)),
    )


@dataclasses.dataclass(frozen=True)
class _Part:
    """A tile of ``whole`` under its new name."""

    name: str
    whole: Any
    tile: Tile

    @property
    def spans(self) -> tuple[Span, ...]:
        """One span per axis of the population."""
        return tuple(self.tile)[: len(self.whole.shape)]

    @property
    def shape(self) -> Shape:
        """The piece's shape."""
        return tuple(stop - start for start, stop in self.spans)

    def population(self) -> Population:
        """The piece with its share of the parameters."""
        whole = self.whole
        cut = {f: self._cut(getattr(whole, f)) for f in ("threshold", "bias", "v_init")}
        share = slice(*self.tile.channels)
        real = {f: v[share] if len(v) > 1 else v for f in ("unit", "scale") if (v := getattr(whole, f))}
        piece: Population = dataclasses.replace(whole, name=self.name, shape=self.shape, **cut, **real)
        return piece

    def _cut(self, memory: Memory | None) -> Memory | None:
        """The part of a parameter, [], [C] or whole, with a leading time axis if its rank is 2 or 4."""
        if memory is None:
            return None
        values = memory.values
        time = values.ndim in (2, 4)
        index: list[slice] = [slice(None)] * time
        own = values.ndim - time
        spans = self.spans[:own]
        index += [slice(*s) if values.shape[time + k] > 1 else slice(None) for k, s in enumerate(spans)]
        field = memory.name.split("_", 1)[1]
        return Memory(f"{self.name}_{field}", values[tuple(index)])


def _projections(
    netlist: Netlist,
    projection: Projection,
    receiver: _Part,
    senders: Sequence[_Part] | None,
    names: dict[str, str],
) -> Iterator[Projection]:
    """One projection for each sender; an input is not cut."""
    window, changes = _reading(netlist, projection, receiver)
    group = f"{receiver.name}_{projection.weights.name.split('_', 1)[1]}" if projection.weights else ""
    weights = Memory(group, _share(projection, receiver))
    changes |= {"target": receiver.name, "weights": weights}
    rest = (*projection.address, window)
    if senders is None:
        yield dataclasses.replace(projection, source=names[projection.source], address=rest, **changes)
        return
    for sender in senders:
        yield dataclasses.replace(projection, source=sender.name, address=(_placed(sender), *rest), **changes)


def _placed(sender: _Part) -> Pad:
    """A piece among zeros, in the shape of its population."""
    before = tuple(start for start, _ in sender.spans)
    after = tuple(n - stop for n, (_, stop) in zip(sender.whole.shape, sender.spans, strict=True))
    return Pad(before, after)


def _share(projection: Projection, receiver: _Part) -> npt.NDArray[Any]:
    """The weights of the receiver's channels; of a skip's one number, that number."""
    assert projection.weights is not None
    values = projection.weights.values
    return values[slice(*receiver.tile.channels)] if values.ndim else values


def _reading(netlist: Netlist, projection: Projection, receiver: _Part) -> tuple[Slice, dict[str, Any]]:
    """The window of the operand that a piece reads, and the pads and groups that are left of it."""
    operand = netlist.operand_shape(projection)
    if projection.kind == "dense":
        return _slice([(0, n) for n in operand]), {}
    if projection.kind == "scale":
        return _slice(receiver.spans), {}
    assert projection.weights is not None
    inputs, *kernel = projection.weights.shape[1:]
    outputs = receiver.whole.shape[0] // projection.groups
    first, last = receiver.tile.channels
    groups = range(first // outputs, (last - 1) // outputs + 1)
    spans, pads = [(groups[0] * inputs, (groups[-1] + 1) * inputs)], []
    for axis, (start, stop) in enumerate(receiver.tile[1:]):
        low = start * projection.strides[axis] - projection.pads[axis]
        reach = (kernel[axis] - 1) * projection.dilations[axis] + 1
        high = (stop - 1) * projection.strides[axis] - projection.pads[axis] + reach
        size = volume(operand)[1 + axis]
        spans.append((min(max(low, 0), size - 1), max(min(high, size), 1)))
        pads.append((spans[-1][0] - low, high - spans[-1][1]))
    (top, bottom), (left, right) = pads
    return _slice(spans), {"pads": (top, left, bottom, right), "groups": len(groups)}


def _slice(spans: Sequence[Span]) -> Slice:
    starts, stops = zip(*spans, strict=True)
    return Slice(tuple(starts), tuple(stops), (1,) * len(spans))


def _outputs(netlist: Netlist, parts: dict[str, list[_Part]]) -> Iterator[OutputPort]:
    for port in netlist.outputs:
        pieces = parts[port.population]
        for k, piece in enumerate(pieces):
            name = port.name if len(pieces) == 1 else f"{port.name}[{k}]"
            yield dataclasses.replace(port, name=name, population=piece.name)
