"""Proves what passes promise, on a few probe samples (docs/semantics.md §8)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Ran, Trace, last_answers
from snnc.backends.fast.engine import FastEngine
from snnc.backends.reference.batches import peak_bytes
from snnc.backends.reference.engine import ReferenceEngine
from snnc.backends.reference.evaluate import evaluate
from snnc.backends.reference.fire import fire, integrate_then_fire
from snnc.fixedpoint import Floats, align
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    Clip,
    FakeQuant,
    IfNeuron,
    Input,
    MaxGate,
    Output,
    Readout,
    Relu,
    Scale,
    Weighted,
    has_time,
)
from snnc.passes.base import Promise
from snnc.passes.host import activations_to_host, quantize_inputs
from snnc.refire import Judged, judged

Array = npt.NDArray[Any]

FUNCTION_TOLERANCE = 1e-5
EXCUSED_SHARE = 1e-4
EXCUSED_LEAST = 16
"""So many ties are excused of a network whose share would be less: of 4,000 spikes, not even one."""

PROBE_STEPS = 32
FEWEST_STEPS = 16
PROBE_MACS = 1 << 32
"""A run takes no more multiply-accumulates, or else FEWEST_STEPS."""
TRACE_BYTES = 24
"""What the trace of one neuron takes per step: spike, membrane, and what is computed with them."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """Whether a promise held, what was measured, and, if it did not hold, where it broke.

    ``ties`` tells that no spike is wrong and only too many cannot be judged.
    """

    held: bool
    measured: dict[str, Any]
    fault: str = ""
    where: tuple[str, ...] = ()
    ties: bool = False


class Prover:
    """Holds the probe samples, and what the last two networks answered on them."""

    def __init__(
        self, inputs: Mapping[str, Array], max_memory: int = 2 << 30, engine: FastEngine | None = None
    ) -> None:
        """``inputs`` are in the user's layout with a batch axis; ``max_memory`` is in bytes.

        ``engine`` runs integers; the reference, which runs real numbers, has as many threads.
        """
        self.inputs, self._memory = inputs, max_memory
        self._engine = engine or FastEngine(max_memory=max_memory)
        self._answered: dict[tuple[int, int], tuple[Network, dict[str, Floats]]] = {}
        self._outputs: tuple[Network, dict[str, Array]] | None = None

    def learn(self, network: Network, ran: Ran) -> None:
        """Take what the network answers from a run of it, if that began with the probe."""
        first = ran.first(len(next(iter(self.inputs.values()))))
        if all(np.array_equal(first.inputs[name], x) for name, x in self.inputs.items()):
            self._keep(network, network.steps or 0, last_answers(network, first.trace))

    def prepare(self, old: Network) -> None:
        """Run an integer network whole, as the proof of a pass that calibrates it will want it."""
        assert old.steps is not None
        self._answers(old, old.steps)

    def prove(self, promise: Promise, old: Network, new: Network) -> Proof:
        """Check ``promise`` of a pass that made ``new`` from ``old``."""
        if output_names(old) != output_names(new):
            return Proof(False, {}, f"the outputs are {output_names(new)} and no longer {output_names(old)}")
        if promise is Promise.SAME_FUNCTION:
            return self._same_function(old, new)
        if promise is Promise.CLIPPED_RATES:
            return self._clipped_rates(old, new)
        if promise is Promise.SAME_SPIKES:
            return self._same_spikes(old, new)
        return self._approximate(old, new)

    def _same_function(self, old: Network, new: Network) -> Proof:
        """Outputs agree within 1e-5 of their range, as real functions in float64."""
        error = self._difference(self._function(old), self._function(new))
        held = error <= FUNCTION_TOLERANCE
        fault = "" if held else f"outputs differ by {error:.2g} of their range"
        return Proof(held, {"relative_error": error}, fault)

    def _function(self, network: Network) -> dict[str, Array]:
        """The outputs as real functions. The last are kept: the next pass begins with that network."""
        if self._outputs is None or self._outputs[0] is not network:
            self._outputs = network, outputs(network, self.inputs)
        return self._outputs[1]

    def _difference(self, a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
        if a.keys() != b.keys() or any(a[k].shape != b[k].shape for k in a):
            return float("inf")
        worst = [float(np.abs(a[k] - b[k]).max()) / max(float(np.abs(a[k]).max()), 1e-30) for k in a]
        return max(worst) if all(np.isfinite(worst)) else float("inf")

    def _clipped_rates(self, old: Network, new: Network) -> Proof:
        """The transfer function is the ANN with ReLUs clipped at λ; constant currents give its counts."""
        error = self._difference(outputs(clipped(old, new), self.inputs), self._function(new))
        deviation = self._count_deviation(new)
        held = error <= FUNCTION_TOLERANCE and deviation <= 1 + 1e-6
        fault = ""
        if not held:
            fault = (
                f"the transfer function differs from the clipped ANN by {error:.2g}"
                if error > FUNCTION_TOLERANCE
                else f"a constant current gives counts off by {deviation:.3g} spikes"
            )
        return Proof(held, {"relative_error": error, "count_deviation": deviation}, fault)

    def _given(self, network: Network) -> dict[str, Array]:
        """The probe as a network takes it: before events are its input, their mean is its current."""
        given = dict(self.inputs)
        for op in map(network.op, network.of(Input)):
            assert isinstance(op, Input)
            if op.coding == "current" and given[op.name].ndim > len(op.shape) + 1:
                given[op.name] = given[op.name].mean(axis=1)
        return given

    def _count_deviation(self, network: Network) -> float:
        """The largest |n − N·clip(z/θ)| of populations that constant currents drive, in spikes."""
        short = shortened(network, self._steps(network))
        constant, full, worst = _constant(short), short.full_count, 0.0
        nodes = {n: short.operands(n)[0] for n in short.of(IfNeuron) if short.operands(n)[0] in constant}
        currents = evaluate(short, self.inputs, list(nodes.values()))
        for node, tap in nodes.items():
            op, z = short.op(node), currents[tap]
            assert isinstance(op, IfNeuron)
            if short.schedule == "rate":
                counts = fire(op, np.repeat(z[:, None], full, axis=1))[0].sum(axis=1, dtype=np.int64)
            else:
                counts = integrate_then_fire(op, z * full, full)[0]
            rate = z / align(op.threshold.array, z[0])
            expected = full * np.clip(rate, -1.0 if op.negative else 0.0, 1.0)
            worst = max(worst, float(np.abs(counts - expected).max()))
        return worst

    def _same_spikes(self, old: Network, new: Network) -> Proof:
        if old.level == "int":
            return self._equal_spikes(old, new)
        return self._open_loop(old, new)

    def _equal_spikes(self, old: Network, new: Network) -> Proof:
        """All counts and answers are equal: of integers."""
        steps = self._steps(old)
        a, b = (self._trace(network, steps) for network in (old, new))
        if len(a.counts) != len(b.counts):
            return Proof(False, {}, "the number of populations changed")
        for (node, x), y in zip(a.counts.items(), b.counts.values(), strict=True):
            differing = int(np.count_nonzero(x != y)) if x.shape == y.shape else x.size
            if differing:
                message = f"{differing} of {x.size} neurons differ in their counts"
                return Proof(False, {"differing": differing}, message, old.op(node).origin)
        answers, others = self._answers(old, steps), self._answers(new, steps)
        if any(not np.array_equal(answers[name], others[name]) for name in answers):
            return Proof(False, {}, "the spikes are the same and the outputs are not")
        return Proof(True, {"populations": len(a.counts)})

    def _open_loop(self, old: Network, new: Network) -> Proof:
        """Each population of ``new``, fed the spikes of ``old``, fires as in ``old`` at every step."""
        steps = self._steps(old)
        if len(list(old.of(IfNeuron, MaxGate))) != len(list(new.of(IfNeuron, MaxGate))):
            return Proof(False, {}, "the number of populations changed")
        given, pair = self._given(old), (shortened(old, steps), shortened(new, steps))
        samples = len(next(iter(self.inputs.values())))
        share = -(-samples // self._engine.threads)

        def part(start: int) -> Judged:
            rows = slice(start, start + share)
            return judged(*pair, *({name: x[rows] for name, x in of.items()} for of in (given, self.inputs)))

        with ThreadPoolExecutor(self._engine.threads) as pool:
            parts = list(pool.map(part, range(0, samples, share)))
        excused = total = 0
        for node in parts[0].decisions:
            size, wrong, at_ties = (sum(x) for x in zip(*(p.decisions[node] for p in parts), strict=True))
            if wrong:
                message = f"{wrong} of {size} spikes differ"
                return Proof(False, {"differing": wrong}, message, new.op(node).origin)
            total += size
            excused += at_ties
        before, answers = (_joined([p.before for p in parts]), _joined([p.answers for p in parts]))
        self._keep(old, steps, before)
        error = self._difference(before, answers)
        if error > FUNCTION_TOLERANCE:
            fault = f"from the same spikes, outputs differ by {error:.2g} of their range"
            return Proof(False, {"relative_error": error}, fault)
        if not excused and not any(new.of(MaxGate)):
            # every population fires as it did, on what it was fed then: the closed loop is the same run
            self._keep(new, steps, answers)
        measured = {"excused_share": excused / max(total, 1), "closed_loop": self.closed_loop(old, new)}
        if excused > max(EXCUSED_LEAST, EXCUSED_SHARE * total):
            return Proof(False, measured, f"{excused} of {total} spikes are excused as ties", ties=True)
        return Proof(True, measured)

    def _approximate(self, old: Network, new: Network) -> Proof:
        """Nothing is judged but that the result is finite; the loss is measured."""
        measured = self.closed_loop(old, new)
        finite = bool(np.isfinite(measured["relative_rms"]))
        return Proof(finite, measured, "" if finite else "outputs are not finite")

    def closed_loop(self, old: Network, new: Network) -> dict[str, Any]:
        """How far the answers of two networks differ (rms), and how often their classes agree."""
        # of integers whole runs: membranes saturate late, and delays hold answers back
        whole = old.level == new.level == "int"
        a, b = (self._answers(n, (whole and n.steps) or self._steps(n)) for n in (old, new))
        power = sum(float((x**2).sum()) for x in a.values())
        error = sum(float(((a[k] - b[k]) ** 2).sum()) for k in a)
        same = [
            float(np.mean(x.reshape(len(x), -1).argmax(1) == b[k].reshape(len(x), -1).argmax(1)))
            for k, x in a.items()
        ]
        return {"relative_rms": (error / max(power, 1e-30)) ** 0.5, "agreement": min(same)}

    def _answers(self, network: Network, steps: int) -> dict[str, Floats]:
        """What a network says after so many steps; an ANN takes none."""
        if network.level == "ann":
            return self._function(network)
        if (id(network), steps) not in self._answered:
            self._trace(network, steps)
        return self._answered[id(network), steps][1]

    def _trace(self, network: Network, steps: int) -> Trace:
        """A run of so many steps."""
        short = shortened(network, steps)
        reference = ReferenceEngine(self._memory, self._engine.threads)
        engine = self._engine if network.level == "int" else reference
        trace = engine.simulate(short, self._given(network))
        self._keep(network, steps, last_answers(short, trace))
        return trace

    def _keep(self, network: Network, steps: int, answers: dict[str, Floats]) -> None:
        """Only the last two are ever compared."""
        self._answered = dict(list(self._answered.items())[-1:])
        self._answered[id(network), steps] = (network, answers)

    def _steps(self, network: Network) -> int:
        """Under ``rate`` as many as an open loop may take memory for; codes cost no more for more steps."""
        if network.steps is None or network.schedule != "rate":
            return network.steps or 0
        samples = len(next(iter(self.inputs.values())))
        fit = self._memory // 2 // (samples * step_bytes(network))
        quick = PROBE_MACS // (samples * max(_multiplications(network), 1))
        return max(1, min(network.steps, PROBE_STEPS, fit, max(quick, FEWEST_STEPS)))


def step_bytes(network: Network) -> int:
    """What an open loop takes per step of a sample: two networks' live activations, and of each one trace."""
    live = peak_bytes(network, lambda node: 8 * network.type(node).size)
    populations = network.of(Relu, Clip, IfNeuron, MaxGate)
    return 2 * (live + TRACE_BYTES * max((network.type(n).size for n in populations), default=0))


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Answers on consecutive samples as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def output_names(network: Network) -> list[str]:
    """The names of the outputs, sorted."""
    return sorted(op.name for n in network.of(Output) if isinstance(op := network.op(n), Output))


def outputs(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a network as a real function, by name."""
    nodes = {getattr(network.op(n), "name", ""): network.operands(n)[0] for n in network.of(Output)}
    values = evaluate(network, inputs, list(nodes.values()))
    return {name: values[node] for name, node in nodes.items()}


def clipped(ann: Network, spiking: Network) -> Network:
    """The ANN whose activations end at the λ of the populations that stand for them."""
    units = {}
    for node in spiking.of(IfNeuron):
        op = spiking.op(node)
        assert isinstance(op, IfNeuron)
        units[op.source] = (op.unit.array, op.negative)
    result = ann.copy()
    activations_to_host(result)
    if any(getattr(spiking.op(n), "codes", ()) for n in spiking.of(Input)):
        quantize_inputs(result)
    for node in result.nodes:
        op = result.op(node)
        if op.source not in units or isinstance(op, Input | MaxGate):
            continue
        unit, signed = units[op.source]
        if signed and not isinstance(op, Weighted | FakeQuant | Add):
            continue
        end = _clip_after(result, node, unit, signed=signed)
        if isinstance(op, Relu | Clip | FakeQuant):
            # the clip below rectifies: what it takes is the activation's own operand
            for first in result.users(node):
                result.set(first, result.op(first), result.operands(node))
            result.redirect(node, end)
    result.prune()
    return result


def _clip_after(network: Network, node: int, unit: Floats, *, signed: bool) -> int:
    """λ·clip(x/λ, 0, 1) after ``node``, less λ·clip(−x/λ, 0, 1) for a signed population.

    An offset of λ in the place of the difference would cost the digits of values far below λ.
    """
    ends, inward = [], []
    for sign in (1.0, -1.0)[: 1 + signed]:
        inward.append(network.add(Scale(weight=Constant(sign / unit)), node))
        clip = network.add(Clip(maximum=1.0), inward[-1])
        ends.append(network.add(Scale(weight=Constant(sign * unit)), clip))
    end = network.add(Add(), *ends) if signed else ends[0]
    network.redirect(node, end, keep=inward)
    return end


def shortened(network: Network, steps: int) -> Network:
    """The same network run for fewer steps: parameters over time are cut."""
    if steps == network.steps:
        return network
    result = network.copy()
    result.steps = steps
    for node in network.of(IfNeuron, Readout):
        op = network.op(node)
        for name in ("threshold", "bias"):
            constant = getattr(op, name, None)
            if constant is not None and has_time(constant):
                op = op.replace(**{name: Constant(constant.array[:steps])})
        result.set(node, op)
    return result


def _multiplications(network: Network) -> int:
    """How many a step takes."""
    count = 0
    for node in network.of(Weighted):
        op = network.op(node)
        assert isinstance(op, Weighted)
        count += math.prod(op.weight.shape[1:]) * network.type(node).size
    return count


def _constant(network: Network) -> set[int]:
    """The nodes that only constant inputs, and no spikes, reach."""
    found: set[int] = set()
    for node in network.nodes:
        op = network.op(node)
        spikes = isinstance(op, IfNeuron | MaxGate) or (isinstance(op, Input) and op.coding == "events")
        if not spikes and all(source in found for source in network.operands(node)):
            found.add(node)
    return found
