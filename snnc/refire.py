"""Whether a population fires as its twin in another network, decision by decision.

Between real numbers that passes scaled, u and θ may fall together but for their rounding: such a tie decides
either way, and is excused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace, last_answers
from snnc.backends.reference.engine import open_loop, recorded
from snnc.backends.reference.fire import decide, lower_threshold, total_bias
from snnc.fixedpoint import Floats, align
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, MaxGate, Output, Readout, Weighted, has_time
from snnc.ir.projections import incoming

Array = npt.NDArray[Any]

ROUNDING = 64 * np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True)
class Judged:
    """Of every population how many decisions there are, how many no tie excuses, and how many one does.

    ``before`` are the answers of the old network at the end, ``answers`` those of the new one, by output name
    in the ANN's units.
    """

    decisions: Mapping[int, tuple[int, int, int]]
    before: Mapping[str, Array]
    answers: Mapping[str, Array]


def judged(old: Network, new: Network, given: Mapping[str, Array], inputs: Mapping[str, Array]) -> Judged:
    """Run ``old`` on ``given``, and feed ``new`` its ``inputs`` and what the populations of ``old`` emit.

    Both run side by side, so that of one population at a time all spikes and membranes are kept. The
    populations of the two correspond in their order.
    """
    assert new.steps is not None
    twins = _Twins(old, new, given)
    compare = refire if new.schedule == "rate" else recode
    decisions: dict[int, tuple[int, int, int]] = {}
    answers: dict[str, Array] = {}
    for node, current in open_loop(new, inputs, twins):
        if isinstance(new.op(node), IfNeuron):
            # a code is as many decisions as there are steps
            size = twins[node][:, 0].size * new.steps
            decisions[node] = (size, *compare(new, node, current, twins.trace, twins.node, old))
        else:
            answers |= _answer(new, node, current)
    return Judged(decisions, twins.answers(), answers)


class _Twins:
    """What each population's twin in another network emits, in their order."""

    def __init__(self, old: Network, new: Network, inputs: Mapping[str, Array]) -> None:
        pairs = zip(old.of(IfNeuron, MaxGate), new.of(IfNeuron, MaxGate), strict=True)
        self._twins = {b: a for a, b in pairs}
        self._network, self._run = old, recorded(old, inputs)
        self.node, self.trace = -1, Trace()

    def __getitem__(self, node: int) -> Array:
        """Spikes [N, T, …] under ``rate``, else codes [N, 1, …]; ``trace`` then has all of that twin."""
        while self.node != self._twins[node]:
            for kept in (self.trace.spikes, self.trace.membranes):
                kept.pop(self.node, None)
            self.node, self.trace = next(self._run)
        if self._network.schedule == "rate":
            return self.trace.spikes[self.node]
        return self.trace.counts[self.node][:, None]

    def answers(self) -> dict[str, Array]:
        """What the other network says at the end of its run."""
        for _, trace in self._run:
            self.trace = trace
        return last_answers(self._network, self.trace)


def refire(
    network: Network, node: int, current: Array, trace: Trace, twin: int, old: Network
) -> tuple[int, int]:
    """How many spikes of ``node``, fed ``current`` [N, T, …], differ from its ``twin``'s in ``trace``.

    Returns those that no tie excuses, and those that one does. After an excused one the membrane is set to
    the old network's, in the new units.
    """
    op, before = network.op(node), old.op(twin)
    assert isinstance(op, IfNeuron)
    assert isinstance(before, IfNeuron)
    steps = current.shape[1]
    shape = current.shape[2:]
    threshold = _over_steps(op.threshold.array, steps, shape)
    ratio = threshold / _over_steps(before.threshold.array, steps, shape)
    bias = _over_steps(op.bias.array, steps, shape)
    slack = ROUNDING * (np.abs(threshold) + _reach(network, node, shape) + np.abs(bias))
    v = np.broadcast_to(align(op.v_init.array, np.empty(shape)), (len(current), *shape)).copy()
    sent = np.zeros(v.shape, np.int64)
    wrong = excused = 0
    for t in range(steps):
        u = v + current[:, t] + bias[t]
        spike = decide(op, u, threshold[t], sent)
        distance = np.abs(u - threshold[t])
        if op.signed:
            distance = np.minimum(distance, np.abs(u - lower_threshold(op, threshold[t])))
        v = np.where(spike == 0, u, u - threshold[t] * spike)
        differs = spike != trace.spikes[twin][:, t]
        if differs.any():
            tie = differs & (distance <= slack[t] * (t + 1))
            wrong += int(np.count_nonzero(differs & ~tie))
            excused += int(np.count_nonzero(tie))
            v = np.where(tie, trace.membranes[twin][:, t] * ratio[t], v)
        sent += trace.spikes[twin][:, t]
    return wrong, excused


def recode(
    network: Network, node: int, current: Array, trace: Trace, twin: int, old: Network
) -> tuple[int, int]:
    """As :func:`refire` for integrate-then-fire: how many codes differ without and with a tie."""
    del old
    op = network.op(node)
    assert isinstance(op, IfNeuron)
    full, shape = network.full_count, current.shape[2:]
    bias = total_bias(op.bias, shape, full) / full
    threshold = _over_steps(op.threshold.array, 1, shape)[0]
    v = align(op.v_init.array, np.empty(shape)) + current[:, 0] + full * bias
    level = v / threshold
    code = np.clip(np.floor(level), -full if op.negative else 0, full)
    differs = code != trace.counts[twin]
    slack = ROUNDING * full * (1 + (_reach(network, node, shape) + np.abs(bias)) / threshold)
    tie = differs & (np.abs(level - np.rint(level)) <= slack)
    return int(np.count_nonzero(differs & ~tie)), int(np.count_nonzero(tie))


def _reach(network: Network, node: int, shape: tuple[int, ...]) -> Floats:
    """Σ|W| into each channel of a population."""
    total = np.zeros(shape[0])
    for projection in incoming(network, node):
        op = network.op(projection)
        assert isinstance(op, Weighted)
        weight = op.weight.array
        total = total + np.abs(weight).reshape(weight.shape[0] if weight.ndim else 1, -1).sum(axis=1)
    return align(total, np.empty(shape))


def _over_steps(value: Floats, steps: int, shape: tuple[int, ...]) -> Floats:
    """A parameter as [steps, C or 1, …], broadcasting over the population."""
    timed = value if has_time(value) else np.broadcast_to(value, (steps, *value.shape))
    return timed[:steps].reshape(steps, *timed.shape[1:], *(1,) * (len(shape) - (timed.ndim - 1)))


def _answer(network: Network, node: int, current: Array) -> dict[str, Array]:
    """What a readout says at the end of a run, by output name."""
    op = network.op(node)
    assert isinstance(op, Readout)
    total = current.sum(axis=1) + total_bias(op.bias, current.shape[2:], network.full_count)
    mean = total / network.full_count * op.unit
    return {o.name: mean for u in network.users(node) if isinstance(o := network.op(u), Output)}
