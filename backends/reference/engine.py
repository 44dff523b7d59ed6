"""The reference simulator: layer by layer, all steps of a layer at once, `drive` and then `fire`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.backends.reference.batches import in_batches, peak_bytes
from snnc.backends.reference.drive import Clock, Signal, encode_inputs, linear, transmit
from snnc.backends.reference.fire import fire, gate, integrate_then_fire, read_out, unroll
from snnc.ir.address import windows
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, MaxGate, Output, Readout

Array = npt.NDArray[Any]


class ReferenceEngine:
    """Simulates in float64 at the snn level and in exact int64 arithmetic at the int level.

    ``max_memory`` bounds, roughly, the bytes of one batch of samples; results do not depend on it.
    """

    name = "reference"

    def __init__(self, max_memory: int = 1 << 30) -> None:
        """An engine keeps no state between runs."""
        self.max_memory = max_memory

    def simulate(self, network: Network, inputs: Mapping[str, Array], *, record: bool = False) -> Trace:
        """Run all T steps; see :class:`snnc.backends.base.Engine`."""
        clock = Clock.of(network)
        # a layer's operand, its sum and its temporaries are alive together
        need = 3 * peak_bytes(network, lambda node: 8 * clock.length * network.type(node).size)
        encoded = encode_inputs(network, inputs)
        return in_batches(encoded, self.max_memory // need, lambda x: _Run(network, clock, record).run(x))


class _Run:
    def __init__(self, network: Network, clock: Clock, record: bool) -> None:
        assert network.steps is not None
        self.network, self.clock, self.record = network, clock, record
        self.steps = network.steps
        self.trace = Trace()

    def run(self, inputs: Mapping[int, Array]) -> Trace:
        network = self.network
        values: dict[int, Signal] = {}
        last = {source: node for node in network.nodes for source in network.operands(node)}
        for node in network.nodes:
            op, sources = network.op(node), network.operands(node)
            operands = [values[s] for s in sources]
            match op:
                case Input():
                    values[node] = Signal(inputs[node], False)
                case Output():
                    self.trace.outputs[op.name] = operands[0].array
                case IfNeuron():
                    values[node] = self._neuron(node, op, operands[0].over(self.clock))
                case MaxGate():
                    values[node] = self._gate(node, op, operands[0].over(self.clock))
                case Readout():
                    membrane = read_out(op, operands[0].over(self.clock), self.steps)
                    values[node] = Signal(membrane, True)
                case _:
                    values[node] = transmit(network, node, operands, self.clock)
            for source in set(sources):
                if last[source] == node:
                    del values[source]
        return self.trace

    def _neuron(self, node: int, op: IfNeuron, current: Array) -> Signal:
        if not self.clock.delays:
            codes, v = integrate_then_fire(op, current[:, 0], self.steps)
            if self.record:
                self.trace.spikes[node], self.trace.membranes[node] = unroll(op, codes, v, self.steps)
            return self._emit(node, op, codes[:, None])
        spikes, membranes = fire(op, current, record=self.record)
        if membranes is not None:
            self.trace.spikes[node], self.trace.membranes[node] = spikes, membranes
        return self._emit(node, op, spikes)

    def _gate(self, node: int, op: MaxGate, x: Array) -> Signal:
        spikes = np.rint(x / amplitude_of(op, x)).astype(np.int64)
        if not self.clock.delays:
            codes = windows(op, spikes).max(axis=(-2, -1))
            if self.record:
                k = np.arange(1, self.steps + 1).reshape(1, -1, 1, 1, 1)
                self.trace.spikes[node] = (k <= codes).astype(np.int8)
            return self._emit(node, op, codes)
        passed = gate(op, spikes)
        if self.record:
            self.trace.spikes[node] = passed
        return self._emit(node, op, passed)

    def _emit(self, node: int, op: IfNeuron | MaxGate, spikes: Array) -> Signal:
        self.trace.counts[node] = spikes.sum(axis=1, dtype=np.int64)
        if isinstance(op, IfNeuron) and op.signed:
            self.trace.events[node] = np.abs(spikes).sum(axis=1, dtype=np.int64)
        return Signal(injected(op, spikes), True)


def amplitude_of(op: IfNeuron | MaxGate, x: Array) -> Array:
    """The amplitude so shaped that it broadcasts over [N, T, C, …]."""
    value = op.amplitude.array
    return value.reshape(value.shape + (1,) * (x.ndim - 3)) if value.ndim else value


def injected(op: IfNeuron | MaxGate, spikes: Array) -> Array:
    """What ``spikes`` [N, T, …] carry downstream: amplitude times their number."""
    if (op.amplitude.array == 1).all():
        return spikes
    return spikes * amplitude_of(op, spikes)


def open_loop(
    network: Network, inputs: Mapping[str, Array], spikes: Mapping[int, Array]
) -> Iterator[tuple[int, Array]]:
    """Each neuron population and readout with its current Z(t) [N, T, …], its own bias left out.

    The output of every population is forced to ``spikes[node]`` [N, T, …], so that a difference
    between two networks shows where it arises and goes no further.
    """
    assert network.steps is not None
    clock = Clock(network.steps, 1, delays=network.schedule == "rate")
    values = {node: Signal(x, False) for node, x in encode_inputs(network, inputs).items()}
    for node in network.nodes:
        op = network.op(node)
        if isinstance(op, IfNeuron | Readout):
            yield node, values[network.operands(node)[0]].over(clock)
        if isinstance(op, IfNeuron | MaxGate):
            values[node] = Signal(injected(op, spikes[node]), True)
        elif linear(op):
            values[node] = transmit(network, node, [values[s] for s in network.operands(node)], clock)
