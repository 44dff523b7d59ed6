"""Turns an ANN into a spiking network whose rates are the activations.

A ReLU or clip becomes a population of IF neurons with threshold λ; over N steps, n spikes stand for
the activation a = λ·n/N (docs/semantics.md §1). λ is the largest activation the layer can still
express: its maximum on the calibration data (ECC Eq. 7), a percentile of it (Rueckauer 2017), the value
that minimises the squared error of N + 1 levels (Castagnetti 2023, Eq. 7 and 13, where η = 0), the same with
each sample's error over the sample's power, so that a few loud ones do not decide, of these the one with
which the outputs are least wrong, or what local threshold balancing finds (Bu 2024). Without data it is
estimated from the model's own statistics (docs/calibration.md).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.groups import group_size
from snnc.ir.network import Network
from snnc.ir.ops import (
    ZERO,
    Add,
    Clip,
    FakeQuant,
    IfNeuron,
    Input,
    Level,
    MaxGate,
    MaxPool,
    Op,
    Output,
    Readout,
    Relu,
    Weighted,
)
from snnc.ir.schedule import DEFAULT_STEPS, MOST_PHASES, Schedule, full_count
from snnc.ir.statistics import Histogram, round_up
from snnc.ir.types import Spike
from snnc.passes.base import Pass, Promise
from snnc.passes.fan_in import fan_ins
from snnc.passes.gains import operand_gain, per_channel
from snnc.passes.host import activations_to_host, quantize_inputs
from snnc.passes.quantize import input_range
from snnc.passes.refusals import refuse_mixed_concats, refuse_shapes, refuse_unbounded, refuse_unlowered
from snnc.passes.saved import saved_scales
from snnc.passes.sharing import bounds, share_where_mixed
from snnc.passes.trial import output_error

Lambda = Literal["max", "percentile", "mse", "nmse", "outputs", "local"]

MOST_EVENTS = 127
"""The most events that an input can count in one step."""

MOST_WEIGHT = 4.0
"""Rounding errors weigh at most so much more than what is cut off, or less."""

CHANNEL_FLOOR = 1 / 32
"""No channel's λ is less than this share of its layer's: one dead channel would ruin the scale."""


TRIED: tuple[Lambda, ...] = ("mse", "nmse", "percentile")
"""What ``lambda=outputs`` chooses from; the first where they are as good."""

DOUBT = 10**-0.05
"""Under ``rate`` the first unless another's error is less by such a factor, half a decibel.

There spikes come early or late as well, of which a trial that only rounds knows nothing.
"""


@dataclasses.dataclass(frozen=True)
class Spikify(Pass):
    """ReLU and clip to IF populations with thresholds from calibration; sets T and the schedule.

    T is 128 unless given, and 8 under ``phase``. ``alpha`` scales λ: with less than 1, thresholds are lower
    and neurons fire more (RMP-SNN, Han 2020: 0.8 or 0.9 of the maximum). ``eta`` is the share of a level at
    which ``lambda=mse`` and ``nmse``, the error relative to each sample's power in the layer, take the next
    spike to come, that of ``inject-tre``; ``iterations`` are those of ``lambda=local``. Where K activations
    are summed, what λ cuts off adds up, but rounding errors partly cancel: with ``fan_in``, ``lambda=mse``
    and ``nmse`` weigh their squares by fan_in/K within ¼ and 4, else by 1. ``lambda=outputs`` is that of
    ``mse``, ``nmse`` and ``percentile`` with which the ANN's outputs change least if its activations have
    so many levels; under ``rate`` ``mse`` unless another is better by half a decibel.
    """

    name: ClassVar[str] = "spikify"
    promise: ClassVar[Promise] = Promise.CLIPPED_RATES
    level: ClassVar[Level] = "ann"

    T: int | None = None
    schedule: Schedule = "rate"
    lambda_: Lambda = "percentile"
    percentile: float = 99.9
    iterations: int = 4000
    eta: float = 0.5
    fan_in: float = 0.0
    per: Literal["layer", "channel"] = "layer"
    alpha: float = 1.0
    input: Literal["current", "rate", "events"] = "current"
    max_count: int = 15

    def apply(self, network: Network, context: Context) -> Network:
        """The spiking network, in the ANN's units."""
        self.require_level(network)
        refuse_unlowered(network)
        refuse_unbounded(network)
        result = network.copy()
        activations_to_host(result)
        if self.input == "current":
            quantize_inputs(result)
        signed = linear_edges(result)
        refuse_shapes(result, [*result.of(Relu, Clip), *signed])
        scales = self._scales(result, [*result.of(Relu, Clip), *signed], context)
        result.steps, result.schedule = self.steps, self.schedule
        scales |= {n: quantized_by_model(result, n) for n in result.of(FakeQuant)}
        bounded = bounds(result)
        for node in list(result.of(Input)):
            self._encode(result, node, context)
        for node in list(result.of(Relu, Clip, FakeQuant)):
            op = result.op(node)
            signed_codes = isinstance(op, FakeQuant) and op.low < 0
            result.set(node, _population(op, scales[node], signed=signed_codes))
        for node in signed:
            carry_signed(result, node, scales[node], context)
        refuse_mixed_concats(result)
        share_where_mixed(result, lambda n: amplitude_of(result, n), bounded, context.diagnostics)
        for node in list(result.of(MaxPool)):
            gate_maximum(result, node)
        for node in list(result.of(Output)):
            read_out(result, node)
        return result

    @property
    def steps(self) -> int:
        """T, by default that of the schedule."""
        return DEFAULT_STEPS[self.schedule] if self.T is None else self.T

    @property
    def _levels(self) -> int:
        return full_count(self.schedule, self.steps)

    def check_options(self) -> None:
        """T ≥ 1, at most 16 and no events under ``phase``; numbers that λ and events can be made with."""
        if self.steps < 1 or not 0 < self.percentile <= 100:
            raise CompileError.of(
                "SNNC0154", f"spikify needs T ≥ 1 and 0 < percentile ≤ 100, not {self.T}, {self.percentile}"
            )
        if self.iterations < 1 or not 0 <= self.eta < 1:
            raise CompileError.of(
                "SNNC0154",
                f"spikify needs iterations ≥ 1 and 0 ≤ eta < 1, not {self.iterations}, {self.eta}",
            )
        if not 0 <= self.fan_in < math.inf:
            raise CompileError.of("SNNC0154", f"spikify needs fan_in ≥ 0, not {self.fan_in}")
        if not 0 < self.alpha < math.inf:
            raise CompileError.of("SNNC0154", f"spikify needs alpha > 0, not {self.alpha}")
        if self.schedule == "phase" and self.steps > MOST_PHASES:
            raise CompileError.of(
                "SNNC0154",
                f"phase takes at most {MOST_PHASES} steps, not {self.steps}: they count 2^T − 1 levels",
                remedy="--T 8 has as many levels as 255 steps of another schedule",
            )
        if self.schedule == "phase" and self.input == "events":
            raise CompileError.of(
                "SNNC0154",
                "events do not count 2^(T−k) at step k, as spikes do under phase",
                remedy="use the schedule rate or layerwise",
            )
        if not 1 <= self.max_count <= MOST_EVENTS:
            message = f"max_count must lie within 1 and {MOST_EVENTS}, not {self.max_count}"
            raise CompileError.of("SNNC0154", message)

    def _scales(self, network: Network, nodes: Sequence[int], context: Context) -> dict[int, Floats]:
        """λ of every population to be, rounded up to 12 bits so that all machines agree."""
        options = {k: v for k, v in self.options().items() if k in ("lambda", "percentile", "per")}
        if self.lambda_ in ("mse", "nmse", "outputs"):
            options |= {"levels": self._levels, "eta": self.eta, "fan_in": self.fan_in}
        if self.lambda_ == "local":
            options["iterations"] = self.iterations
        saved = context.saved("lambda")
        if not nodes:
            return {}
        if saved is not None:
            raw = saved_scales(network, nodes, saved, options)
        else:
            raw = self._measure(network, nodes, context)
        rounded = {n: _usable(network, n, round_up(value), context) for n, value in raw.items()}
        values = {network.op(n).source: rounded[n].tolist() for n in nodes}
        context.save("lambda", {"options": options, "values": values})
        return {n: _clipped(network.op(n), self.alpha * value) for n, value in rounded.items()}

    def _measure(self, network: Network, nodes: Sequence[int], context: Context) -> dict[int, Floats]:
        channel = self.per == "channel"
        if not context.has_data:
            percent = self.percentile if self.lambda_ == "percentile" else 100.0
            estimates = context.estimate(network, nodes, per_channel=channel)
            found = {n: estimates[n].percentile(percent) for n in nodes}
        elif self.lambda_ == "outputs":
            return self._tried(network, nodes, context)
        else:
            alike = self.lambda_ == "nmse"
            make = functools.partial(Histogram, per_channel=channel, alike=alike)
            reducers = context.activations(network, nodes, make)
            summed = fan_ins(network)
            found = {n: self._reduce(reducers[n], summed[n], group_size(network.op(n))) for n in nodes}
        return {n: value if channel else value.reshape(()) for n, value in found.items()}

    def _tried(self, network: Network, nodes: Sequence[int], context: Context) -> dict[int, Floats]:
        """Of the λ of several criteria those with which the outputs are least wrong."""
        tried = [dataclasses.replace(self, lambda_=name)._measure(network, nodes, context) for name in TRIED]
        levels = {n: self._levels * group_size(network.op(n)) for n in nodes}
        errors = round_up(np.asarray([output_error(network, scales, levels, context) for scales in tried]))
        if self.schedule == "rate":
            errors[0] *= DOUBT
        return tried[int(np.argmin(errors))]

    def _reduce(self, histogram: Histogram, summed: int, members: int) -> Floats:
        if self.lambda_ == "max":
            return histogram.percentile(100)
        if self.lambda_ in ("mse", "nmse"):
            cancels = self.fan_in > 0 and summed > 1
            weight = self.fan_in * members / summed if cancels else 1.0
            bounded = min(max(weight, 1 / MOST_WEIGHT), MOST_WEIGHT)
            return histogram.quantization_optimum(self._levels * members, self.eta, bounded)
        if self.lambda_ == "local":
            return histogram.balanced(self.iterations)
        return histogram.percentile(self.percentile)

    def _require_counts(self, op: Input, context: Context) -> None:
        """Raise CompileError unless calibration data show that events can say what the ANN takes."""
        span = input_range(op, context) if context.has_data or context.saved(f"input:{op.name}") else None
        if span is None or span.low < 0 or not span.integer:
            raise CompileError.of(
                "SNNC0115",
                f"events on input {op.name!r} need calibration data that are counts, whole and not negative",
                remedy="give --calib with events [N, T, …] or their sums; scale raw counts by --scale",
            )
        context.save(f"input:{op.name}", span._asdict())

    def _encode(self, network: Network, node: int, context: Context) -> None:
        """Constant current, events, or an IF encoder with θ = λ₀ = max x and V(0) = λ₀/2."""
        op = network.op(node)
        assert isinstance(op, Input)
        if self.input == "events":
            self._require_counts(op, context)
            # N events stand for N: an ANN takes their number, and λ₀ = N
            amplitude = float(full_count(self.schedule, self.steps))
            network.set(node, op.replace(coding="events", max_count=self.max_count, amplitude=amplitude))
            return
        network.set(node, op.replace(coding="current"))
        if self.input == "current":
            return
        span = input_range(op, context)
        context.save(f"input:{op.name}", span._asdict())
        if span.low < 0 or span.high <= 0:
            raise CompileError.of(
                "SNNC0115",
                f"rate coding of input {op.name!r} needs calibration data that are not negative",
                remedy="give --calib, or use --input current",
            )
        unit = Constant(round_up(np.asarray(span.high)))
        encoder = IfNeuron(
            threshold=unit, amplitude=unit, unit=unit, v_init=Constant(unit.array / 2), source=op.name
        )
        users = network.users(node)
        inserted = network.add(encoder, node)
        for user in users:
            sources = [inserted if s == node else s for s in network.operands(user)]
            network.set(user, network.op(user), sources)


def linear_edges(network: Network) -> list[int]:
    """The weighted ops and sums whose result other weights take without an activation between."""
    return [
        node
        for node in network.of(Weighted, Add)
        if any(_needs_population(network.op(u)) for u in network.users(node))
    ]


def _needs_population(user: Op) -> bool:
    return not isinstance(user, Relu | Clip | FakeQuant | Add | Output | IfNeuron)


def carry_signed(network: Network, node: int, scale: Floats, context: Context) -> None:
    """Put a signed population on a linear edge: its spikes carry negative values too."""
    op = network.op(node)
    context.diagnostics.warning(
        "SNNC0126",
        "a linear edge is carried by a signed population; the loss is in the report",
        where=op.origin,
    )
    neuron = _population(op, scale, signed=True)
    inserted = network.add(neuron, node)
    network.redirect(node, inserted, keep=[inserted])


def quantized_by_model(network: Network, node: int) -> Floats:
    """λ of an activation that the model itself quantizes: its scale times its greatest code.

    Codes of both signs are kept exactly where N is their number of levels: λ is then N steps wide.
    """
    op = network.op(node)
    assert isinstance(op, FakeQuant)
    levels = op.high - op.low
    return np.asarray(op.scale.array * levels if levels == network.full_count else op.top, np.float64)


def _population(op: Op, scale: Floats, *, signed: bool) -> IfNeuron:
    unit = Constant(scale)
    start = Constant(scale / 2) if signed else ZERO
    return IfNeuron(
        threshold=unit,
        amplitude=unit,
        unit=unit,
        v_init=start,
        signed=signed,
        members=group_size(op),
        origin=op.origin,
        source=op.source,
    )


def gate_maximum(network: Network, node: int) -> None:
    """MaxPool over spikes; its amplitude is that of its operand."""
    op = network.op(node)
    assert isinstance(op, MaxPool)
    if network.operand_types(node)[0].element != Spike(0, 1):
        raise CompileError.of(
            "SNNC0120",
            "max pooling of anything but the output of an activation has no spiking form",
            where=op.origin,
            remedy="put a ReLU before the max pool, or use average pooling",
        )
    gain = per_channel(network, node, operand_gain(network, node, lambda n: amplitude_of(network, n)))
    amplitude = Constant(gain[0] if (gain == gain[0]).all() else gain)
    gate = MaxGate(
        kernel=op.kernel,
        strides=op.strides,
        pads=op.pads,
        gate=op.gate,
        amplitude=amplitude,
        unit=amplitude,
        origin=op.origin,
        source=op.source,
    )
    network.set(node, gate)


def amplitude_of(network: Network, node: int) -> Floats | None:
    """What one spike of ``node`` injects; None for ops that only move spikes."""
    op = network.op(node)
    if isinstance(op, IfNeuron | MaxGate):
        return op.amplitude.array
    return np.asarray(op.amplitude) if isinstance(op, Input) else None


def read_out(network: Network, node: int) -> None:
    """Put a readout before an output; one output each."""
    (source,) = network.operands(node)
    op = network.op(source)
    readout = network.add(Readout(origin=op.origin, source=op.source), source)
    network.set(node, network.op(node), [readout])


def _usable(network: Network, node: int, scale: Floats, context: Context) -> Floats:
    """λ = 0 becomes 1; a channel gets at least a share of its layer's λ."""
    top = float(scale.max())
    if top <= 0:
        context.diagnostics.note(
            "SNNC0121",
            "this layer is never active on the calibration data; its threshold is set to 1",
            where=network.op(node).origin,
        )
        return np.ones_like(scale)
    return np.maximum(scale, top * CHANNEL_FLOOR)


def _clipped(op: Op, scale: Floats) -> Floats:
    """Clip(0, c): λ = min(λ, c)."""
    return np.minimum(scale, op.maximum) if isinstance(op, Clip) else scale
