"""The reference simulator: layer by layer, all steps of a layer at once, `drive` and then `fire`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.backends.reference.batches import in_batches, last_uses, peak_bytes
from snnc.backends.reference.drive import (
    Clock,
    Signal,
    encode_inputs,
    event_counts,
    input_signal,
    linear,
    transmit,
)
from snnc.backends.reference.fire import (
    discharge,
    events,
    fire,
    gate,
    integrate_then_fire,
    largest,
    read_out,
    unroll,
)
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, MaxGate, Output, Readout
from snnc.ir.types import Spike

Array = npt.NDArray[Any]


class ReferenceEngine:
    """Simulates in float64 at the snn level and in exact int64 arithmetic at the int level.

    ``max_memory`` bounds, roughly, the bytes of the samples that are worked on, by ``threads`` in parallel;
    results depend on neither.
    """

    name = "reference"

    def __init__(self, max_memory: int = 1 << 30, threads: int = 1) -> None:
        """An engine keeps no state between runs."""
        self.max_memory = max_memory
        self.threads = threads

    def simulate(self, network: Network, inputs: Mapping[str, Array], *, record: bool = False) -> Trace:
        """Run all T steps; see :class:`snnc.backends.base.Engine`."""
        clock = Clock.of(network)
        # a layer's operand, its sum and its temporaries are alive together
        need = 3 * peak_bytes(network, lambda node: 8 * clock.length * network.type(node).size)
        encoded = encode_inputs(network, inputs)
        size = self.max_memory // self.threads // need
        return in_batches(encoded, size, lambda x: _Run(network, clock, record).run(x), self.threads)


class _Run:
    def __init__(self, network: Network, clock: Clock, record: bool) -> None:
        self.network, self.clock, self.record = network, clock, record
        self.trace = Trace()

    def run(self, inputs: Mapping[int, Array]) -> Trace:
        for _ in self.populations(inputs):
            pass
        return self.trace

    def populations(self, inputs: Mapping[int, Array]) -> Iterator[int]:
        """Every population as soon as it has emitted."""
        network = self.network
        self.trace.counts |= event_counts(network, inputs)
        values: dict[int, Signal] = {}
        last = last_uses(network, network.operands)
        for node in network.nodes:
            op, sources = network.op(node), network.operands(node)
            operands = [values[s] for s in sources]
            match op:
                case Input():
                    values[node] = input_signal(op, inputs[node], self.clock)
                case Output():
                    self.trace.outputs[op.name] = operands[0].array
                case IfNeuron():
                    values[node] = self._neuron(node, op, operands[0].over(self.clock))
                case MaxGate():
                    values[node] = self._gate(node, op, operands[0].over(self.clock))
                case Readout():
                    membrane = read_out(op, operands[0].over(self.clock), network)
                    values[node] = Signal(membrane, True)
                case _:
                    values[node] = transmit(network, node, operands, self.clock)
            for source in set(sources):
                if last[source] == node:
                    del values[source]
            if isinstance(op, IfNeuron | MaxGate):
                yield node

    def _neuron(self, node: int, op: IfNeuron, current: Array) -> Signal:
        if not self.clock.delays:
            codes, v = integrate_then_fire(op, current[:, 0], self.network.full_count)
            if self.record:
                values = self.network.spike_values
                self.trace.spikes[node] = unroll(codes, values)
                self.trace.membranes[node] = discharge(op, v, self.trace.spikes[node], values)
            return self._emit_code(node, op, codes)
        spikes, membranes = fire(op, current, record=self.record)
        if membranes is not None:
            self.trace.spikes[node], self.trace.membranes[node] = spikes, membranes
        return self._emit(node, op, spikes)

    def _gate(self, node: int, op: MaxGate, x: Array) -> Signal:
        spikes = np.rint(x / amplitude_of(op, x)).astype(np.int64)
        if not self.clock.delays:
            codes = largest(op, spikes[:, 0])
            if self.record:
                self.trace.spikes[node] = unroll(codes, self.network.spike_values)
            return self._emit_code(node, op, codes)
        passed = gate(op, spikes)
        if self.record:
            self.trace.spikes[node] = passed
        return self._emit(node, op, passed)

    def _emit(self, node: int, op: IfNeuron | MaxGate, spikes: Array) -> Signal:
        self.trace.counts[node] = spikes.sum(axis=1, dtype=np.int64)
        if has_events(self.network, node):
            self.trace.events[node] = np.abs(spikes).sum(axis=1, dtype=np.int64)
        return Signal(injected(op, spikes), True)

    def _emit_code(self, node: int, op: IfNeuron | MaxGate, codes: Array) -> Signal:
        self.trace.counts[node] = codes
        if has_events(self.network, node):
            self.trace.events[node] = events(codes, self.network.spike_values)
        return Signal(injected(op, codes[:, None]), True)


def has_events(network: Network, node: int) -> bool:
    """Whether a population's counts do not tell how many spikes it emitted."""
    element = network.type(node).element
    assert isinstance(element, Spike)
    return network.schedule == "phase" or element.lo < 0


def amplitude_of(op: IfNeuron | MaxGate, x: Array) -> Array:
    """The amplitude so shaped that it broadcasts over [N, T, C, …]."""
    value = op.amplitude.array
    return value.reshape(value.shape + (1,) * (x.ndim - 3)) if value.ndim else value


def injected(op: IfNeuron | MaxGate, spikes: Array) -> Array:
    """What ``spikes`` [N, T, …] carry downstream: amplitude times their number."""
    if (op.amplitude.array == 1).all():
        return spikes
    return spikes * amplitude_of(op, spikes)


class Emitted(Protocol):
    """What populations emitted, by node: a mapping, or what finds it out when it is asked for."""

    def __getitem__(self, node: int, /) -> Array:
        """[N, A, …]."""


def recorded(network: Network, inputs: Mapping[str, Array]) -> Iterator[tuple[int, Trace]]:
    """A recorded run: every population as soon as it has emitted, and the trace until then.

    The caller may take from the trace what it has no more need of. Under integrate-then-fire there are only
    codes in it.
    """
    run = _Run(network, Clock.of(network), record=network.schedule == "rate")
    for node in run.populations(encode_inputs(network, inputs)):
        yield node, run.trace


def open_loop(network: Network, inputs: Mapping[str, Array], emitted: Emitted) -> Iterator[tuple[int, Array]]:
    """Each neuron population and readout with its current Z(t) [N, A, …], its own bias left out.

    The output of every population is forced to ``emitted[node]`` [N, A, …], so that a difference between
    two networks shows where it arises and goes no further: spikes at A = T steps under ``rate``, under
    integrate-then-fire codes, with A = 1, and Z is then its sum over the run.
    """
    clock = Clock.of(network)
    values: dict[int, Signal] = {}
    for node, x in encode_inputs(network, inputs).items():
        op = network.op(node)
        assert isinstance(op, Input)
        values[node] = input_signal(op, x, clock)
    last = last_uses(network, network.operands)
    for node in network.nodes:
        op = network.op(node)
        if isinstance(op, IfNeuron | Readout):
            yield node, values[network.operands(node)[0]].over(clock)
        if isinstance(op, IfNeuron | MaxGate):
            values[node] = Signal(injected(op, emitted[node]), True)
        elif linear(op):
            values[node] = transmit(network, node, [values[s] for s in network.operands(node)], clock)
        for source in set(network.operands(node)):
            if last[source] == node:
                values.pop(source, None)
