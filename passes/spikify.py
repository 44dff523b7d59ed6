"""Turns an ANN into a spiking network whose rates are the activations.

A ReLU or clip becomes a population of IF neurons with threshold λ; over N steps, n spikes stand for
the activation a = λ·n/N (docs/semantics.md §1). λ is the largest activation the layer can still
express: its maximum on the calibration data (ECC Eq. 7), a percentile of it (Rueckauer 2017), or the
value that minimises the squared error of N + 1 levels. Without data it is estimated from the
model's own statistics (docs/calibration.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network, Schedule
from snnc.ir.ops import (
    Add,
    Clip,
    Concat,
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
from snnc.ir.statistics import Histogram, round_up
from snnc.ir.types import Spike
from snnc.passes.base import Pass, Promise
from snnc.passes.gains import operand_gain, per_channel
from snnc.passes.quantize import input_range

CHANNEL_FLOOR = 1 / 32
"""No channel's λ is less than this share of its layer's: one dead channel would ruin the scale."""


@dataclasses.dataclass(frozen=True)
class Spikify(Pass):
    """ReLU and clip to IF populations with thresholds from calibration; sets T and the schedule."""

    name: ClassVar[str] = "spikify"
    promise: ClassVar[Promise] = Promise.CLIPPED_RATES
    level: ClassVar[Level] = "ann"

    T: int = 128
    schedule: Schedule = "rate"
    lambda_: Literal["max", "percentile", "mse"] = "percentile"
    percentile: float = 99.9
    per: Literal["layer", "channel"] = "layer"
    input: Literal["current", "rate"] = "current"

    def apply(self, network: Network, context: Context) -> Network:
        """The spiking network, in the ANN's units."""
        self.require_level(network)
        self._check_options()
        result = network.copy()
        activations_to_host(result)
        signed = linear_edges(result)
        scales = self._scales(result, [*result.of(Relu, Clip), *signed], context)
        result.steps, result.schedule = self.T, self.schedule
        for node in list(result.of(Input)):
            self._encode(result, node, context)
        for node in result.of(Relu, Clip):
            result.set(node, _population(result.op(node), scales[node]))
        for node in signed:
            carry_signed(result, node, scales[node], context)
        refuse_mixed_concats(result)
        for node in list(result.of(MaxPool)):
            gate_maximum(result, node)
        for node in list(result.of(Output)):
            read_out(result, node)
        return result

    def _check_options(self) -> None:
        if self.T < 1 or not 0 < self.percentile <= 100:
            raise CompileError.of(
                "SNNC0154", f"spikify needs T ≥ 1 and 0 < percentile ≤ 100, not {self.T}, {self.percentile}"
            )

    def _scales(self, network: Network, nodes: Sequence[int], context: Context) -> dict[int, Floats]:
        """λ of every population to be, rounded up to 12 bits so that all machines agree."""
        options = {k: v for k, v in self.options().items() if k in ("lambda", "percentile", "per")}
        if self.lambda_ == "mse":
            options["levels"] = self.T
        saved = context.saved("lambda")
        if saved is not None:
            raw = _from_file(network, nodes, saved, options)
        else:
            raw = self._measure(network, nodes, context)
        rounded = {n: _usable(network, n, round_up(value), context) for n, value in raw.items()}
        values = {network.op(n).source: rounded[n].tolist() for n in nodes}
        context.save("lambda", {"options": options, "values": values})
        return {n: _clipped(network.op(n), value) for n, value in rounded.items()}

    def _measure(self, network: Network, nodes: Sequence[int], context: Context) -> dict[int, Floats]:
        channel = self.per == "channel"
        if not context.has_data:
            percent = self.percentile if self.lambda_ == "percentile" else 100.0
            estimates = context.estimate(network, nodes, per_channel=channel)
            found = {n: estimates[n].percentile(percent) for n in nodes}
        else:
            reducers = context.activations(network, nodes, lambda: Histogram(per_channel=channel))
            found = {n: self._reduce(reducers[n]) for n in nodes}
        return {n: value if channel else value.reshape(()) for n, value in found.items()}

    def _reduce(self, histogram: Histogram) -> Floats:
        if self.lambda_ == "max":
            return histogram.percentile(100)
        if self.lambda_ == "mse":
            return histogram.quantization_optimum(self.T)
        return histogram.percentile(self.percentile)

    def _encode(self, network: Network, node: int, context: Context) -> None:
        """Constant current, or an IF encoder with θ = λ₀ = max x and V(0) = λ₀/2."""
        op = network.op(node)
        assert isinstance(op, Input)
        network.set(node, op.replace(coding="current"))
        if self.input == "current":
            return
        low, high, integer = input_range(op, context)
        context.save(f"input:{op.name}", {"low": low, "high": high, "integer": integer})
        if low < 0 or high <= 0:
            raise CompileError.of(
                "SNNC0115",
                f"rate coding of input {op.name!r} needs calibration data that are not negative",
                remedy="give --calib, or use --input current",
            )
        unit = Constant(round_up(np.asarray(high)))
        encoder = IfNeuron(
            threshold=unit, amplitude=unit, unit=unit, v_init=Constant(unit.array / 2), source=op.name
        )
        users = network.users(node)
        inserted = network.add(encoder, node)
        for user in users:
            sources = [inserted if s == node else s for s in network.operands(user)]
            network.set(user, network.op(user), sources)


def activations_to_host(network: Network) -> None:
    """An activation that only an output takes is left to the host, as a softmax is."""
    for node in list(network.of(Output)):
        output = network.op(node)
        assert isinstance(output, Output)
        (source,) = network.operands(node)
        op = network.op(source)
        if isinstance(op, Relu | Clip) and network.users(source) == (node,):
            name = "relu" if isinstance(op, Relu) else f"clip{op.maximum:g}"
            names = f"{name},{output.activation}" if output.activation else name
            network.set(node, output.replace(activation=names), network.operands(source))
            network.remove(source)


def linear_edges(network: Network) -> list[int]:
    """The weighted ops and sums whose result other weights take without an activation between."""
    return [
        node
        for node in network.of(Weighted, Add)
        if any(_needs_population(network.op(u)) for u in network.users(node))
    ]


def _needs_population(user: Op) -> bool:
    return not isinstance(user, Relu | Clip | Add | Output | IfNeuron)


def carry_signed(network: Network, node: int, scale: Floats, context: Context) -> None:
    """Put a signed population on a linear edge: its spikes carry negative values too."""
    op = network.op(node)
    context.diagnostics.warning(
        "SNNC0126",
        "a linear edge is carried by a signed population; the loss is in the report",
        where=op.origin,
    )
    neuron = _population(op, scale).replace(signed=True, v_init=Constant(scale / 2))
    inserted = network.add(neuron, node)
    network.redirect(node, inserted, keep=[inserted])


def _population(op: Op, scale: Floats) -> IfNeuron:
    unit = Constant(scale)
    return IfNeuron(threshold=unit, amplitude=unit, unit=unit, origin=op.origin, source=op.source)


def refuse_mixed_concats(network: Network) -> None:
    """Raise CompileError where a constant current and spikes are concatenated: no one map takes both."""
    for node in network.of(Concat):
        if len({type(x.element) for x in network.operand_types(node)}) > 1:
            raise CompileError.of(
                "SNNC0120",
                "the input is concatenated with spikes",
                where=network.op(node).origin,
                remedy="use --input rate, so that the input is spikes too",
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
    return np.ones(()) if isinstance(op, Input) else None


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


def _from_file(
    network: Network, nodes: Sequence[int], saved: dict[str, object], options: dict[str, object]
) -> dict[int, Floats]:
    values = saved["values"]
    assert isinstance(values, dict)
    missing = [network.op(n).source for n in nodes if network.op(n).source not in values]
    if missing or saved["options"] != options:
        what = f"lack {missing[0]!r}" if missing else f"were made with {saved['options']}, not {options}"
        raise CompileError.of(
            "SNNC0124",
            f"the saved statistics {what}",
            remedy="calibrate again with --calib, or give the options they were made with",
        )
    return {n: np.asarray(values[network.op(n).source], np.float64) for n in nodes}
