"""A run layer by layer, every layer for all its steps.

A sample at a time and in blocks of steps, so that a layer's weights, its membranes and the currents of a
block stay in cache. Spikes are kept as single bytes, channel last; a weighted op is not computed where it
stands but by the population that it feeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.backends.fast import kernels
from snnc.backends.fast.currents import Currents, block_bytes
from snnc.backends.fast.drive import Workspace
from snnc.backends.fast.fire import Rule
from snnc.backends.fast.layout import channel_first, channel_last, image
from snnc.backends.fast.part import parts_of, timed_nodes
from snnc.backends.fast.pool import max_pool, narrow, sum_pool
from snnc.backends.fast.real import RealCurrents, in_integers
from snnc.backends.reference.batches import last_uses, peak_bytes
from snnc.backends.reference.drive import Clock, Signal, event_counts, input_signal, peak, transmit
from snnc.backends.reference.engine import has_events
from snnc.backends.reference.fire import discharge, events, read_out, refuse_variants, unroll
from snnc.backends.reference.kernels import operands_at
from snnc.ir.network import Network
from snnc.ir.ops import Add, IfNeuron, Input, MaxGate, Op, Output, Readout, SumPool, Weighted
from snnc.ir.projections import incoming

Array = npt.NDArray[Any]

CACHE_BYTES = 1 << 22
"""The spikes of a batch of samples: a core's share of a processor's last cache."""

KEPT_BYTES = 1 << 28
"""Currents that were seen are kept until the population runs, but no more than these."""

Block = tuple[int | slice, int | slice]
"""Positions in [N, S] that are computed together: steps of a sample, or samples."""


class Plan:
    """What is prepared for a network, whatever its inputs."""

    def __init__(self, network: Network, other: Plan | None = None, threads: int = 1) -> None:
        """Arranges weights and parameters; raises CompileError for what the schedule does not have.

        What is the same in the plan of another network, often one before a pass, is shared with it. So many
        ``threads`` will run it.
        """
        self.block_bytes = block_bytes(threads)
        self.clock = Clock.of(network)
        self.timed = timed_nodes(network)
        real = network.level == "snn"
        self.network, self._places = in_integers(network) if real else (network, {})
        self.currents: dict[int, Currents] = {}
        self.rules: dict[int, Rule] = {}
        for node in network.of(IfNeuron, Readout):
            flow = self.currents[node] = self._flow(node)
            if other is not None and node in other.currents:
                flow.adopt(other.currents[node])
            op = self.network.op(node)
            if isinstance(op, IfNeuron):
                if not self.clock.delays:
                    refuse_variants(op)
                self.rules[node] = self._rule(node, op)
        self.last = last_uses(network, self.reads)
        self.sample_bytes = peak_bytes(self.network, self._bytes, self.reads)
        self.batch = CACHE_BYTES // self.sample_bytes

    def run(self, inputs: Mapping[int, Array], record: bool) -> Trace:
        """One batch, of codes by input node."""
        return Run(self, record, inputs).run()

    def replace(self, node: int, ops: Mapping[int, Op]) -> None:
        """Put other ops in the place of a population or readout ``node`` and of the weighted ops into it."""
        for place, op in ops.items():
            self.network.set(place, op)
        if ops.keys() - {node}:
            self.currents[node] = self._flow(node)
        population = self.network.op(node)
        if isinstance(population, IfNeuron):
            self.rules[node] = self._rule(node, population)

    def _flow(self, node: int) -> Currents:
        origin = (self.network, node, self.clock, self.timed)
        return RealCurrents(*origin, self._places[node]) if self._places else Currents.of(*origin)

    def _rule(self, node: int, op: IfNeuron) -> Rule:
        flow = self.currents[node]
        return Rule.of(self.network, op, flow.shape, flow.largest, flow.unit)

    def reads(self, node: int) -> Collection[int]:
        """The nodes whose values are needed at this one: populations pull through weighted ops."""
        if node in self.currents:
            return self.currents[node].sources
        return () if isinstance(self.network.op(node), Weighted | Add) else set(self.network.operands(node))

    def _bytes(self, node: int) -> int:
        """Of a node's array for one sample; currents are never kept."""
        op, kind, length = self.network.op(node), self.network.type(node), self.clock.length
        if isinstance(op, Weighted | Add):
            return 0
        if isinstance(op, Readout | Input):
            return 8 * length * kind.size
        return kind.size * (length * narrow(peak(kind) * self.clock.gain).itemsize + 8)


class Run:
    """One batch of samples, layer by layer."""

    def __init__(self, plan: Plan, record: bool, inputs: Mapping[int, Array]) -> None:
        """``inputs`` are codes by node; spikes and membranes are kept only to ``record`` them."""
        self.plan, self.network, self.clock, self.record = plan, plan.network, plan.clock, record
        self.inputs = inputs
        self.samples = len(next(iter(inputs.values())))
        self.trace = Trace(counts=event_counts(self.network, inputs))
        self.signals: dict[int, Signal] = {}
        self.workspace = Workspace()
        self._rooms: list[Array] = []
        self._kept: tuple[Currents | None, list[Array]] = None, []

    def run(self) -> Trace:
        """All layers."""
        for node in self.network.nodes:
            self.advance(node)
        return self.trace

    def advance(self, node: int) -> None:
        """The next node, in order."""
        op = self.network.op(node)
        if isinstance(op, Input):
            self.signals[node] = input_signal(op, self.inputs[node], self.clock)
        elif node in self.plan.last or not isinstance(op, SumPool):
            # a pool that spikes pass by address is not computed
            self._step(node)
        for source in self.plan.reads(node):
            if self.plan.last[source] == node:
                self.signals.pop(source, None)

    def _step(self, node: int) -> None:
        op = self.network.op(node)
        match op:
            case Weighted() | Add():
                pass
            case IfNeuron() if self.clock.delays:
                self._fire(node)
            case MaxGate() if self.clock.delays:
                self._gate(node, op)
            case IfNeuron():
                self._encode(node, op)
            case MaxGate():
                self._emit_codes(node, op, max_pool(op, self._operand(node).over(self.clock)[:, 0]))
            case Readout():
                self.signals[node] = Signal(read_out(op, self._whole_current(node), self.network), True)
            case Output():
                self.trace.outputs[op.name] = self._operand(node).array
            case SumPool() if self._operand(node).timed:
                dtype = narrow(peak(self.network.type(node)) * self.clock.gain)
                self.signals[node] = Signal(sum_pool(op, self._operand(node).array, dtype), True)
            case _:
                operands = [self.signals[s] for s in self.network.operands(node)]
                self.signals[node] = transmit(self.network, node, operands, self.clock)

    def _operand(self, node: int) -> Signal:
        return self.signals[self.network.operands(node)[0]]

    def _prepared(self, node: int) -> tuple[Currents, list[Array], Array]:
        """What flows into a population, the operands of its timed parts and the constant current."""
        flow = self.plan.currents[node]
        arrays = {source: self.signals[source].array for source in flow.sources}
        operands = flow.operands(arrays)
        flow.settle(operands, self.workspace)
        return flow, operands, flow.constant(arrays, self.samples)

    def _blocks(self, flow: Currents) -> Iterator[Block]:
        size = flow.entries(self.plan.block_bytes)
        if self.clock.delays:
            for n in range(self.samples):
                yield from ((n, slice(t, t + size)) for t in range(0, self.clock.length, size))
        else:
            yield from ((slice(n, n + size), 0) for n in range(0, self.samples, size))

    def _flowing(self, flow: Currents, operands: list[Array]) -> Iterator[tuple[Block, Array]]:
        """The currents of block after block, in a buffer laid out as the ``frame`` of the flow."""
        kept_of, kept = self._kept
        for k, block in enumerate(self._blocks(flow)):
            z = kept[k] if kept_of is flow else flow.fill([x[block] for x in operands], self.workspace)
            yield block, z

    def _fire(self, node: int) -> None:
        flow, operands, still = self._prepared(node)
        rule, steps, shape = self.plan.rules[node], self.clock.length, self.network.type(node).shape
        lead, row = (self.samples, steps), (flow.grid.height, flow.row)
        spikes = self._room((*lead, *row))
        kept = np.empty((*lead, *row) if self.record else (self.samples, 0, *row), rule.start.dtype)
        counts = np.zeros((self.samples, *row), np.int32)
        v, drift = rule.start, rule.bias
        for (n, window), z in self._flowing(flow, operands):
            assert isinstance(window, slice)
            if window.start == 0:
                v, drift = rule.rest(flow.grid.height), rule.drift(still[n if len(still) > 1 else 0])
            out = spikes[n, window], kept[n, window]
            rule.advance(z, flow.frame, drift, window.start, (v, counts[n]), out)
        self._emit_spikes(node, channel_first(spikes, shape, 2), channel_first(counts, shape))
        if self.record:
            self.trace.membranes[node] = channel_first(flow.membranes(kept), shape, 2)

    def _room(self, shape: tuple[int, ...]) -> Array:
        """Bytes for spikes, where some lay that no signal holds any more, if that is enough."""
        size = math.prod(shape)
        if self.record:
            return np.empty(shape, np.int8)
        live = [signal.array for signal in self.signals.values()]
        held = [any(np.may_share_memory(room, x) for x in live) for room in self._rooms]
        free = [room for room, is_held in zip(self._rooms, held, strict=True) if not is_held]
        room = next((room for room in free if room.size >= size), None)
        if room is None:
            room = np.empty(size, np.int8)
            self._rooms = [*itertools.compress(self._rooms, held), room]
        return room[:size].reshape(shape)

    def _gate(self, node: int, op: MaxGate) -> None:
        kinds = self.network.operand_types(node)[0], self.network.type(node)
        x = channel_last(self._operand(node).over(self.clock), kinds[0].shape)
        extent = image(kinds[1].shape)
        passed = np.empty((*x.shape[:2], *extent), np.int8)
        counts = np.zeros((self.samples, *extent), np.int32)
        select = kernels.pass_leading if op.gate == "leading" else kernels.pass_busiest
        for n in range(self.samples):
            select(x[n], passed[n], counts[n], op.kernel, op.strides, op.pads[:2])
        self._emit_spikes(
            node, channel_first(passed, kinds[1].shape, 2), channel_first(counts, kinds[1].shape)
        )

    def _emit_spikes(self, node: int, spikes: Array, counts: Array) -> None:
        op = self.network.op(node)
        assert isinstance(op, IfNeuron | MaxGate)
        negative = isinstance(op, IfNeuron) and op.negative
        self.trace.counts[node] = counts.astype(narrow(self.clock.length, negative=negative))
        if self.record:
            self.trace.spikes[node] = spikes
        if has_events(self.network, node):
            self.trace.events[node] = np.abs(spikes).sum(axis=1, dtype=np.int32)
        self.signals[node] = Signal(spikes, True)

    def _encode(self, node: int, op: IfNeuron) -> None:
        flow, operands, still = self._prepared(node)
        rule, shape = self.plan.rules[node], self.network.type(node).shape
        still = still.astype(rule.total.dtype)
        lead = (self.samples, flow.grid.height, flow.row)
        codes = np.empty(lead, narrow(self.clock.gain, negative=op.negative))
        v = np.empty(lead if self.record else (0, *lead[1:]), still.dtype)
        for (window, _), z in self._flowing(flow, operands):
            steady = still[window] if len(still) > 1 else still
            rule.encode(z, flow.frame, steady, codes[window], v[window], self.clock.gain)
        self._emit_codes(node, op, channel_first(codes, shape))
        if self.record:
            v, spikes = channel_first(v, shape).astype(np.int64), self.trace.spikes[node]
            self.trace.membranes[node] = discharge(op, v, spikes, self.network.spike_values)

    def _emit_codes(self, node: int, op: IfNeuron | MaxGate, codes: Array) -> None:
        self.trace.counts[node] = codes
        values = self.network.spike_values
        if self.record:
            self.trace.spikes[node] = unroll(codes, values)
        if has_events(self.network, node):
            self.trace.events[node] = events(codes, values)
        self.signals[node] = Signal(codes[:, None], True)

    def _whole_current(self, node: int) -> Array:
        """Z of all samples and entries of the time axis, [N, S, …]."""
        shape = self.network.type(node).shape
        everywhere = np.arange(math.prod(shape[1:]))
        return channel_first(self.seen(node, everywhere), shape, 2)

    def totals(self, node: int, positions: Array) -> dict[int, Array]:
        """What weights multiply in a population about to run, summed over the run; see ``Arriving``."""
        found = {}
        parts = parts_of(self.network, node, self.clock, self.plan.timed)
        for weighted, (source, part) in zip(incoming(self.network, node), parts, strict=True):
            most = part.pooled().peak * self.network.full_count
            kind = np.int32 if most < 1 << 31 else np.int64
            total = self.signals[source].over(self.clock).sum(axis=1, dtype=kind)
            if part.pool is not None:
                total = sum_pool(part.pool, total, total.dtype)
            found[weighted] = operands_at(part.op, total, positions)
        return found

    def seen(self, node: int, positions: Array, *, keep: bool = False) -> Array:
        """Z of a population about to run, at flat ``positions`` [P] of each channel, [N, S, P, C].

        It may ``keep`` all of Z, if that fits, for when the population runs.
        """
        flow, operands, still = self._prepared(node)
        steady = np.broadcast_to(still, (len(still), flow.grid.height, flow.row))
        steady = steady.reshape(len(still), 1, -1, flow.grid.channels)[:, :, positions]
        seen = np.empty((self.samples, self.clock.length, *steady.shape[2:]), flow.kind)
        seen[:] = steady
        keep = keep and self.samples * self.clock.length * flow.entry_bytes <= KEPT_BYTES
        kept = []
        for k, block in enumerate(self._blocks(flow) if operands else ()):
            entries = [x[block] for x in operands]
            kept.append(flow.fill(entries, self.workspace, f"z {k}" if keep else "z"))
            seen[block] += flow.whole(flow.grid.at(kept[-1], len(entries[0]), positions))
        self._kept = (flow, kept) if keep and operands else (None, [])
        return seen
