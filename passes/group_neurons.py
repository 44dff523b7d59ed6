"""Gives every activation several neurons instead of one: group neurons (Lv et al. 2024).

r neurons get the current of one, and where it was taken, each counts 1/r. As ReLUs they are the same
function (Net2Wider, Chen et al. 2016). As IF neurons that begin at different shares of θ, which
``inject-tre`` sees to, they say r·T + 1 different things in T steps. By Hermite's identity, with V the charge
of the run and i = 0, …, r − 1,

    Σ_i ⌊V/θ + (i + η)/r⌋ = ⌊r·V/θ + η⌋

so that under ``layerwise`` T steps say exactly what r·T steps of single neurons say. It takes r times the
neurons, and where groups follow groups r times the operations of those r·T steps. The members of the paper's
groups share a membrane and inhibit one another; these know nothing of each other, and need no neurons of
another kind.

An activation keeps its one neuron where what takes it would have to tell members apart (a reshape that is no
flattening, a sum or grouped convolution behind a concatenation, an output), and where the model quantizes it.
Signed populations of linear edges are no groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import (
    ONE,
    Add,
    Clip,
    Concat,
    Conv2d,
    Dense,
    FakeQuant,
    Level,
    Op,
    Pad,
    Pool,
    Relu,
    Reshape,
    Scale,
    Slice,
    Weighted,
    merge_origins,
)
from snnc.passes.base import Pass, Promise
from snnc.passes.form_projections import MOST_PROJECTIONS

MOST_MEMBERS = 16
"""Where groups follow groups, there are members² weights for one."""

MOST_WEIGHTS = 1 << 27
"""As many as a model may have."""

MOST_TENSORS = 1 << 10
"""An activation that passes through more of them before weights take it keeps one neuron."""


@dataclasses.dataclass(frozen=True)
class GroupNeurons(Pass):
    """Let ``members`` neurons stand for every activation of the first ``layers`` layers (Lv 2024).

    All layers where ``layers`` is 0. Used twice, members multiply.
    """

    name: ClassVar[str] = "group-neurons"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    members: int = 2
    layers: int = 0

    def check_options(self) -> None:
        """2 to 16 members; a number of layers, or 0 for all."""
        if not 2 <= self.members <= MOST_MEMBERS or self.layers < 0:
            raise CompileError.of(
                "SNNC0154",
                f"group-neurons needs 2 ≤ members ≤ {MOST_MEMBERS} and layers ≥ 0, "
                f"not {self.members}, {self.layers}",
            )

    def apply(self, network: Network, context: Context) -> Network:
        """The wider network, with a note about activations that keep one neuron each."""
        self.require_level(network)
        result = network.copy()
        room = _Room.in_(result, self.members)
        alone: list[Op] = []
        for node, layer in _layers(network).items():
            if self.layers and layer > self.layers:
                continue
            takers = _takers(result, node)
            if takers and _has_rows(result, node):
                room.take(result, [*_summands(result, *result.operands(node)), *(t.node for t in takers)])
                _widen(result, node, takers, self.members)
            else:
                alone.append(result.op(node))
        result.prune()
        if alone:
            context.diagnostics.note(
                "SNNC0117",
                "each of these activations keeps one neuron: what takes it or makes it cannot have groups",
                where=merge_origins(*alone),
            )
        return result


def _layers(network: Network) -> dict[int, int]:
    """ReLUs and clips, and how many activations lead from the input to each, itself included."""
    depth: dict[int, int] = {}
    for node in network.nodes:
        before = max((depth[source] for source in network.operands(node)), default=0)
        depth[node] = before + isinstance(network.op(node), Relu | Clip | FakeQuant)
    return {node: depth[node] for node in network.of(Relu, Clip)}


@dataclasses.dataclass
class _Room:
    """How many ``weights`` and ``copies`` of ops there are, and may still be."""

    members: int
    weights: int
    copies: int = 0

    @classmethod
    def in_(cls, network: Network, members: int) -> _Room:
        """That of a network none of whose activations is a group yet."""
        return cls(members, sum(_weights(network.op(n)) for n in network.of(Weighted)))

    def take(self, network: Network, around: Sequence[int]) -> None:
        """Raise CompileError if there is none for what a group makes of the ops ``around`` it."""
        self.copies += len(around)
        self.weights += (self.members - 1) * sum(_weights(network.op(n)) for n in around)
        if self.weights > MOST_WEIGHTS or self.copies > MOST_PROJECTIONS:
            raise CompileError.of(
                "SNNC0104",
                f"groups of {self.members} neurons take more than {MOST_WEIGHTS} weights "
                f"or {MOST_PROJECTIONS} projections",
                where=merge_origins(*map(network.op, around)),
                remedy="use fewer members, or give them to the first layers alone",
            )


def _weights(op: Op) -> int:
    return op.weight.size if isinstance(op, Weighted) else 0


Span = tuple[int, int]
"""The first of an activation's channels in a tensor, and their number."""


@dataclasses.dataclass(frozen=True)
class _Taker:
    """An op that mixes the ``channels`` of a tensor, flattened or not, or adds them to others.

    The activation's are those of ``span``; without it, all.
    """

    node: int
    tensor: int
    channels: int
    span: Span | None


def _takers(network: Network, activation: int) -> list[_Taker]:
    """What takes an activation, through ops that keep channels apart.

    Nothing if some of it cannot take groups.
    """
    found: list[_Taker] = []
    joined: set[int] = set()
    pending: list[tuple[int, Span | None]] = [(activation, None)]
    for tensor, span in pending:
        channels, *space = network.type(tensor).shape
        for user in network.users(tensor):
            op, behind = network.op(user), network.users(user)
            once = user not in joined and network.operands(user).count(tensor) == 1
            if isinstance(op, Concat) and op.axis == 0 and once:
                joined.add(user)
                pending.append((user, _span_in(network, user, tensor, span)))
            elif _keeps_channels(op, span):
                pending.append((user, span))
            elif isinstance(op, Reshape) and all(isinstance(network.op(u), Dense) for u in behind):
                found += [_Taker(dense, user, channels, span) for dense in behind]
            elif _takes(op, span, flat=not space):
                found.append(_Taker(user, tensor, channels, span))
            else:
                return []
        if len(pending) > MOST_TENSORS or not network.users(tensor):
            return []
    return found


def _takes(op: Op, span: Span | None, *, flat: bool) -> bool:
    """Whether an op can take the means of the groups of a span of channels, or of all."""
    if isinstance(op, Conv2d):
        return span is None or op.groups == 1
    return isinstance(op, Dense) or (isinstance(op, Add | Scale) and span is None and not flat)


def _span_in(network: Network, concat: int, tensor: int, span: Span | None) -> Span:
    """Where in a concatenation the channels of one of its operands lie, or the ``span`` of them."""
    operands = network.operands(concat)
    before = sum(network.type(n).shape[0] for n in operands[: operands.index(tensor)])
    start, channels = span or (0, network.type(tensor).shape[0])
    return before + start, channels


def _keeps_channels(op: Op, span: Span | None) -> bool:
    """Whether the groups of a span of channels, or of all, come out of an op as they went in."""
    if isinstance(op, Slice):
        return span is None and (op.starts[0], op.steps[0]) == (0, 1)
    return isinstance(op, Pool) or (
        isinstance(op, Pad) and (span is None or op.before[0] == op.after[0] == 0)
    )


def _summands(network: Network, node: int) -> tuple[int, ...]:
    """Sums of sums, operands first, and what they add up."""
    return network.upstream(node, lambda n: not isinstance(network.op(n), Add))


def _has_rows(network: Network, node: int) -> bool:
    """Whether the current of an activation can be had several times."""
    (source,) = network.operands(node)
    return len(network.type(source).shape) == 3 or isinstance(network.op(source), Dense)


def _widen(network: Network, node: int, takers: list[_Taker], members: int) -> None:
    op = network.op(node)
    assert isinstance(op, Relu | Clip)
    (source,) = network.operands(node)
    network.set(node, op.replace(members=op.members * members), [_repeated(network, source, members)])
    _pass_on(network, node, members)
    for taker in takers:
        _take(network, taker, members)


def _repeated(network: Network, source: int, members: int) -> int:
    """A tensor in which every channel of ``source`` comes so many times in a row."""
    wide: dict[int, int] = {}
    for n in _summands(network, source):
        op, operands = network.op(n), network.operands(n)
        if isinstance(op, Add):
            wide[n] = network.add(op, *(wide[s] for s in operands))
        elif isinstance(op, Conv2d | Dense):
            bias = op.bias and Constant(np.repeat(op.bias.array, members, axis=0))
            rows = Constant(np.repeat(op.weight.array, members, axis=0))
            wide[n] = network.add(op.replace(weight=rows, bias=bias), *operands)
        else:
            channels = network.type(n).shape[0]
            scale = op if isinstance(op, Scale) else Scale(weight=ONE, origin=op.origin)
            operand = operands[0] if isinstance(op, Scale) else n
            wide[n] = network.add(_by_channel(scale, channels, members, 1), operand)
    return wide[source]


def _pass_on(network: Network, activation: int, members: int) -> None:
    """Let the ops that keep channels apart do so with more of them."""
    pending = [activation]
    for tensor in pending:
        for user in network.users(tensor):
            op = network.op(user)
            if isinstance(op, Reshape):
                network.set(user, op.replace(shape=(network.type(tensor).size,)))
            elif isinstance(op, Pad):
                before, after = ((ends[0] * members, *ends[1:]) for ends in (op.before, op.after))
                network.set(user, op.replace(before=before, after=after))
            elif isinstance(op, Slice):
                network.set(user, op.replace(stops=(op.stops[0] * members, *op.stops[1:])))
            if isinstance(op, Concat | Pool | Pad | Slice):
                pending.append(user)


def _take(network: Network, taker: _Taker, members: int) -> None:
    """Let an op take the mean of every group."""
    op = network.op(taker.node)
    if isinstance(op, Add):
        mean = _by_channel(Scale(weight=ONE, origin=op.origin), taker.channels, 1, members)
        merged = network.add(mean, taker.tensor)
        operands = [merged if n == taker.tensor else n for n in network.operands(taker.node)]
        network.set(taker.node, op, operands)
    elif isinstance(op, Scale):
        network.set(taker.node, _by_channel(op, taker.channels, 1, members))
    else:
        assert isinstance(op, Conv2d | Dense)
        weight = op.weight.array
        # the elements of a flattened channel stay together
        blocks = weight.reshape(len(weight), taker.channels, -1) if isinstance(op, Dense) else weight
        start, channels = taker.span or (0, taker.channels)
        sizes = np.ones(blocks.shape[1], np.int64)
        sizes[start : start + channels] = members
        wide = np.repeat(blocks / sizes.reshape(-1, *(1,) * (blocks.ndim - 2)), sizes, axis=1)
        network.set(taker.node, op.replace(weight=Constant(wide.reshape(len(weight), -1, *weight.shape[2:]))))


def _by_channel(scale: Scale, channels: int, results: int, members: int) -> Conv2d:
    """What a scale does, of the mean of every channel's ``members``, with so many ``results`` for each."""
    weight = np.broadcast_to(scale.weight.array, (channels,)).reshape(channels, 1, 1, 1) / members
    bias = scale.bias and Constant(
        np.repeat(np.broadcast_to(scale.bias.array, (channels, *scale.bias.shape[1:])), results, axis=0)
    )
    return Conv2d(
        weight=Constant(np.tile(np.repeat(weight, results, axis=0), (1, members, 1, 1))),
        bias=bias,
        groups=channels,
        origin=scale.origin,
        source=scale.source,
    )
