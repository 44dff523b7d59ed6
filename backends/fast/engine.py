"""The fast simulator of integer networks.

Spikes are kept as small integers; a weighted op is not computed where it stands but pulled, block by
block, by the population that it feeds, so that the currents of a layer never lie in memory as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.backends.fast.drive import (
    Drives,
    Part,
    constant_current,
    largest_current,
)
from snnc.backends.fast.fire import Rule, pass_busiest
from snnc.backends.fast.narrow import narrow, narrow_address
from snnc.backends.reference.batches import in_batches, peak_bytes
from snnc.backends.reference.drive import Clock, Signal, encode_inputs, peak, transmit
from snnc.backends.reference.engine import ReferenceEngine
from snnc.backends.reference.fire import integrate_then_fire, read_out, unroll
from snnc.ir.address import windows
from snnc.ir.network import Network
from snnc.ir.ops import Add, Delay, IfNeuron, Input, MaxGate, Output, Readout, Weighted

Array = npt.NDArray[Any]

BLOCK_BYTES = 1 << 21
"""Float32 operands and currents of one block together: about what a core's cache holds."""


class FastEngine:
    """Equal to the reference bit for bit; networks in float64 are left to it.

    ``threads`` work on different samples. ``max_memory`` bounds, roughly, the bytes of one batch of
    samples; results depend on neither.
    """

    name = "fast"

    def __init__(self, threads: int = 1, max_memory: int = 1 << 30) -> None:
        """Sessions of onnxruntime are kept between runs of one network."""
        self.threads = max(1, threads)
        self.max_memory = max_memory
        self._fingerprint = ""
        self._drives = Drives()

    def simulate(self, network: Network, inputs: Mapping[str, Array], *, record: bool = False) -> Trace:
        """Run all T steps; see :class:`snnc.backends.base.Engine`."""
        if not _pullable(network):
            return ReferenceEngine(self.max_memory).simulate(network, inputs, record=record)
        if network.fingerprint() != self._fingerprint:
            self._fingerprint, self._drives = network.fingerprint(), Drives()
        clock = Clock.of(network)
        need = peak_bytes(network, lambda node: _bytes(network, node, clock))
        room = self.max_memory - 4 * self.threads * BLOCK_BYTES
        with ThreadPoolExecutor(self.threads) as pool:
            return in_batches(
                encode_inputs(network, inputs),
                room // need,
                lambda x: _Run(network, clock, record, self._drives, pool, self.threads).run(x),
            )


def _pullable(network: Network) -> bool:
    """Whether it is an integer network of single projections, as ``form-projections`` leaves it."""
    if network.level != "int":
        return False
    for node in network.nodes:
        op = network.op(node)
        if isinstance(op, IfNeuron | MaxGate) and not (op.amplitude.array == 1).all():
            return False
        weighted = [isinstance(network.op(s), Weighted | Add) for s in network.operands(node)]
        pulls = isinstance(op, IfNeuron | Readout | Add)
        if not isinstance(op, Output) and not all(w == pulls for w in weighted):
            return False
    return True


def _bytes(network: Network, node: int, clock: Clock) -> int:
    """Of a node's array for one sample; currents are never kept."""
    op, kind = network.op(node), network.type(node)
    if isinstance(op, Weighted | Add):
        return 0
    if isinstance(op, Readout | Input):
        return 8 * clock.length * kind.size
    # an integrate-then-fire population holds its total and its membrane for a moment
    state = 16 if isinstance(op, IfNeuron) and not clock.delays else 0
    return kind.size * (clock.length * narrow(peak(kind) * clock.gain).itemsize + state + 8)


class _Run:
    def __init__(
        self,
        network: Network,
        clock: Clock,
        record: bool,
        drives: Drives,
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        assert network.steps is not None
        self.network, self.clock, self.record = network, clock, record
        self.steps = network.steps
        self.drives, self.pool, self.threads = drives, pool, threads
        self.samples = 0
        self.trace = Trace()
        self.signals: dict[int, Signal] = {}
        self.parts: dict[int, tuple[Part, ...]] = {}

    def run(self, inputs: Mapping[int, Array]) -> Trace:
        network = self.network
        self.samples = len(next(iter(inputs.values())))
        last = {source: node for node in network.nodes for source in network.operands(node)}
        for node in network.nodes:
            if isinstance(network.op(node), Input):
                self.signals[node] = Signal(inputs[node], False)
            else:
                self._step(node)
            for source in set(network.operands(node)):
                if last[source] == node:
                    self.signals.pop(source, None)
                    self.parts.pop(source, None)
        return self.trace

    def _step(self, node: int) -> None:
        op, sources = self.network.op(node), self.network.operands(node)
        match op:
            case Weighted():
                self.parts[node] = (self._part(op, sources[0]),)
            case Add():
                self.parts[node] = tuple(p for s in sources for p in self.parts[s])
            case IfNeuron():
                self._emit(node, self._neuron(node, op, self.parts[sources[0]]))
            case MaxGate():
                self._emit(node, self._gate(node, op, self.signals[sources[0]].over(self.clock)))
            case Readout():
                current = self._whole_current(node, self.parts[sources[0]])
                self.signals[node] = Signal(read_out(op, current, self.steps), True)
            case Output():
                self.trace.outputs[op.name] = self.signals[sources[0]].array
            case Delay():
                self.signals[node] = transmit(
                    self.network, node, [self.signals[s] for s in sources], self.clock
                )
            case _:
                operands = [self.signals[s] for s in sources]
                self.signals[node] = narrow_address(self.network, node, operands, self.clock)

    def _part(self, op: Weighted, source: int) -> Part:
        signal, kind = self.signals[source], self.network.type(source)
        gain = self.clock.gain if signal.timed else 1
        return Part(op, signal, len(kind.shape), peak(kind) * gain)

    def _emit(self, node: int, spikes: Array) -> None:
        if node not in self.trace.counts:
            self.trace.counts[node] = spikes.sum(axis=1, dtype=np.int64)
        op = self.network.op(node)
        if isinstance(op, IfNeuron) and op.signed:
            self.trace.events[node] = np.abs(spikes).sum(axis=1, dtype=np.int64)
        self.signals[node] = Signal(spikes, True)

    def _neuron(self, node: int, op: IfNeuron, parts: tuple[Part, ...]) -> Array:
        if self.clock.delays:
            return self._fire(node, op, parts)
        total = self._whole_current(node, parts)[:, 0]
        codes, v = integrate_then_fire(op, total, self.steps)
        if self.record:
            self.trace.spikes[node], self.trace.membranes[node] = unroll(op, codes, v, self.steps)
        return codes[:, None].astype(narrow(self.steps))

    def _fire(self, node: int, op: IfNeuron, parts: tuple[Part, ...]) -> Array:
        shape = self.network.type(node).shape
        timed = [p for p in parts if p.signal.timed]
        constant = self._constant(node, parts)
        rule = Rule.of(op, shape, self.steps, largest_current(parts))
        size = math.prod(shape)
        spikes = np.empty((self.samples, self.steps, size), np.int8)
        counts = np.zeros((self.samples, size), rule.v_init.dtype)
        kept = np.empty((self.samples, self.steps if self.record else 0, size), rule.v_init.dtype)

        def work(samples: slice, blocks: list[slice]) -> None:
            v = rule.rest(samples.stop - samples.start)
            for steps in blocks:
                z = self._current(timed, constant, samples, steps)
                flat = np.ascontiguousarray(z.reshape(*z.shape[:2], size))
                out, memory = spikes[samples, steps], kept[samples, steps]
                rule.advance(flat, steps.start, v, out, counts[samples], memory)

        self._in_blocks(timed, size, work)
        whole = (self.samples, self.steps, *shape)
        self.trace.counts[node] = counts.astype(np.int64).reshape(self.samples, *shape)
        if self.record:
            self.trace.spikes[node] = spikes.reshape(whole)
            self.trace.membranes[node] = kept.astype(np.int64).reshape(whole)
        return spikes.reshape(whole)

    def _constant(self, node: int, parts: tuple[Part, ...]) -> Array | None:
        """The constant current, int64 [N, …], if there is one."""
        still = [p for p in parts if not p.signal.timed]
        shape = (self.samples, *self.network.type(node).shape)
        return constant_current(still, self.clock, shape) if still else None

    def _current(self, timed: list[Part], constant: Array | None, samples: slice, steps: slice) -> Array:
        """Z [n, s, …], or [n, 1, …] where it is constant."""
        if not timed:
            assert constant is not None
            return constant[samples, None]
        z = self.drives.current(timed, samples, steps)
        return z if constant is None else z.astype(np.int64) + constant[samples, None]

    def _whole_current(self, node: int, parts: tuple[Part, ...]) -> Array:
        """Z of all samples and entries of the time axis, int64 [N, S, …]."""
        shape = self.network.type(node).shape
        timed = [p for p in parts if p.signal.timed]
        constant = self._constant(node, parts)
        whole = np.empty((self.samples, self.clock.length, *shape), np.int64)

        def work(samples: slice, blocks: list[slice]) -> None:
            for steps in blocks:
                whole[samples, steps] = self._current(timed, constant, samples, steps)

        self._in_blocks(timed, math.prod(shape), work)
        return whole

    def _gate(self, node: int, op: MaxGate, x: Array) -> Array:
        shape = self.network.type(node).shape
        if not self.clock.delays:
            codes: Array = windows(op, x).max(axis=(-2, -1))
            if self.record:
                k = np.arange(1, self.steps + 1).reshape(1, -1, 1, 1, 1)
                self.trace.spikes[node] = (k <= codes).astype(np.int8)
            return codes
        passed = np.empty((self.samples, self.steps, *shape), np.int8)

        def work(samples: slice) -> None:
            passed[samples] = pass_busiest(op, x[samples], shape)

        list(self.pool.map(work, [slice(n, n + 1) for n in range(self.samples)]))
        if self.record:
            self.trace.spikes[node] = passed
        return passed

    def _in_blocks(self, timed: list[Part], size: int, work: Callable[[slice, list[slice]], None]) -> None:
        """Call ``work`` for groups of samples, in threads, with the blocks of steps to go through.

        A group is one sample unless a block holds all its steps, so that blocks are contiguous.
        """
        self.drives.prepare(timed)
        length = self.clock.length
        elements = size * max(1, len(timed)) + sum(math.prod(p.signal.array.shape[2:]) for p in timed)
        steps = max(1, min(length, BLOCK_BYTES // (4 * elements)))
        fair = -(-self.samples // self.threads)
        group = 1 if steps < length else max(1, min(fair, BLOCK_BYTES // (4 * elements * length)))
        blocks = [slice(t, min(t + steps, length)) for t in range(0, length, steps)]
        groups = [slice(n, min(n + group, self.samples)) for n in range(0, self.samples, group)]
        list(self.pool.map(lambda samples: work(samples, blocks), groups))
