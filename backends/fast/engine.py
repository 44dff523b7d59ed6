"""The fast simulator."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.backends.fast.part import timed_nodes
from snnc.backends.reference.batches import in_batches, joined
from snnc.backends.reference.drive import encode_inputs
from snnc.backends.reference.engine import ReferenceEngine
from snnc.ir.network import Network
from snnc.ir.ops import Add, IfNeuron, Input, MaxGate, Op, Readout, Weighted
from snnc.ir.types import Shape

if TYPE_CHECKING:
    from snnc.backends.fast.onepass import OnePass
    from snnc.backends.fast.run import Plan

Array = npt.NDArray[Any]


class Arriving(Protocol):
    """What reaches a population or readout about to run, at flat positions [P] of each channel."""

    def currents(self, positions: Array) -> Array:
        """Z, integers [N, S, C, P]."""

    def totals(self, positions: Array) -> dict[int, Array]:
        """What each weighted op multiplies, summed over the run: [N, P, groups, K] by node."""


Adjust = Callable[[int, Arriving], Mapping[int, Op]]
"""The ops to run with in the place of a population or readout, and of the weighted ops into it."""


class FastEngine:
    """Equal to the reference bit for bit on integer networks, and within rounding on those of real numbers.

    Under ``rate`` :mod:`snnc.backends.fast.real` says what these are rounded to; under integrate-then-fire
    they are computed in float32. Networks that are not in projection form, with amplitudes of 1, are left to
    the reference.

    ``threads`` work on different samples. ``max_memory`` bounds, roughly, the bytes of the samples that are
    worked on; results depend on neither. Several threads may share an engine.
    """

    name = "fast"

    def __init__(self, threads: int = 1, max_memory: int = 1 << 30) -> None:
        """What is prepared for a network is kept for its next run."""
        self.threads = max(1, threads)
        self.max_memory = max_memory
        self._prepared: _Prepared | None = None
        self._preparing = threading.Lock()

    def simulate(self, network: Network, inputs: Mapping[str, Array], *, record: bool = False) -> Trace:
        """Run all T steps; see :class:`snnc.backends.base.Engine`."""
        with self._preparing:
            way = self._prepare(network).way(record)
        if way is None:
            return ReferenceEngine(self.max_memory, self.threads).simulate(network, inputs, record=record)
        encoded = encode_inputs(network, inputs)
        size = min(self.max_memory // self.threads // way.sample_bytes, way.batch)
        return in_batches(encoded, size, lambda x: way.run(x, record), self.threads)

    def adjusted(
        self, network: Network, inputs: Mapping[str, Array], adjust: Adjust
    ) -> tuple[Network, Trace]:
        """The network with the ops that ``adjust`` chooses, each asked for when those before it have run.

        What it then does on ``inputs`` comes with it. All samples run at once, layer by layer: memory grows
        with them (:func:`sample_bytes`).
        """
        assert _pullable(network), "only integer networks in projection form are adjusted"
        from snnc.backends.fast.arrived import Arrived
        from snnc.backends.fast.run import Plan, Run

        with self._preparing:
            # as it is now, for others: what they and this run choose for its weights is shared
            before = self._prepare(network).layers
        plan, encoded = Plan(network.copy(), before, self.threads), encode_inputs(network, inputs)
        samples = len(next(iter(encoded.values())))
        fair = -(-samples // self.threads)
        starts = range(0, samples, fair)
        runs = [Run(plan, False, {n: x[i : i + fair] for n, x in encoded.items()}) for i in starts]
        with ThreadPoolExecutor(self.threads) as pool:
            for node in network.nodes:
                if node in plan.currents:
                    plan.replace(node, adjust(node, Arrived(node, runs, pool)))
                list(pool.map(lambda run, node=node: run.advance(node), runs))
        with self._preparing:
            self._prepared = _Prepared(plan.network, plan, self.threads)
        return plan.network.copy(), joined((run.trace for run in runs), samples)

    def _prepare(self, network: Network) -> _Prepared:
        if self._prepared is None or self._prepared.fingerprint != network.fingerprint():
            before = self._prepared
            self._prepared = _Prepared(network, before.plan if before else None, self.threads)
        return self._prepared


class _Prepared:
    """What is prepared for a network, each part when it is first needed: numba takes its time to load."""

    def __init__(self, network: Network, plan: Plan | None, threads: int) -> None:
        """``plan`` is of this network, or of another whose layers it may share."""
        self.network, self.fingerprint = network.copy(), network.fingerprint()
        self.plan, self._threads = plan, threads
        self._pullable = _pullable(network)

    def way(self, record: bool) -> OnePass | Plan | None:
        """How to run the network; None leaves it to the reference."""
        rate = self.network.schedule == "rate"
        # there are no integers behind the codes of real numbers
        if not self._pullable or (record and not rate and self.network.level == "snn"):
            return None
        if record or rate:
            return self.layers
        return self._one_pass or self.layers

    @functools.cached_property
    def layers(self) -> Plan:
        """For a run layer by layer."""
        from snnc.backends.fast.run import Plan

        if self.plan is None or self.plan.network.fingerprint() != self.fingerprint:
            self.plan = Plan(self.network, self.plan, self._threads)
        return self.plan

    @functools.cached_property
    def _one_pass(self) -> OnePass | None:
        from snnc.backends.fast.onepass import OnePass
        from snnc.backends.fast.terms import UnprovedError

        try:
            return OnePass(self.network)
        except UnprovedError:
            return None


def spike_counter(network: Network, op: IfNeuron, shape: Shape, largest: int) -> Callable[[Array], Array]:
    """As :func:`snnc.backends.fast.fire.spike_counter`, which takes its time to load."""
    from snnc.backends.fast.fire import spike_counter

    return spike_counter(network, op, shape, largest)


def sample_bytes(network: Network) -> int:
    """What the values that are alive together take of one sample."""
    from snnc.backends.fast.run import Plan

    return Plan(network).sample_bytes


def _pullable(network: Network) -> bool:
    """Whether it is a network of single projections of spikes that count 1, as passes leave it."""
    timed = timed_nodes(network)
    for node in network.nodes:
        op = network.op(node)
        if isinstance(op, Weighted) and (op.bias is not None or (op.register_limit and node in timed)):
            return False
        # real numbers get the units of the one population that they flow into
        if isinstance(op, Weighted | Add) and network.level == "snn" and network.use_count(node) > 1:
            return False
        if isinstance(op, IfNeuron | MaxGate) and not (op.amplitude.array == 1).all():
            return False
        if isinstance(op, Input) and op.amplitude != 1:
            return False
        operands = [network.op(source) for source in network.operands(node)]
        if isinstance(op, IfNeuron | Readout | Add):
            pulled = Weighted if isinstance(op, Add) else Weighted | Add
            if not all(isinstance(operand, pulled) for operand in operands):
                return False
        elif any(isinstance(operand, Weighted | Add) for operand in operands):
            return False
    return True
