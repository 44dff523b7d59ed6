"""Quantises weights to b bits, thresholds and biases to the membrane's fixed point (ECC §4.4).

For the projections g into a population, W_g ≈ s·2^h_g·Wq_g; the scale s is absorbed by the threshold:
membranes count in s·2^−F, θ_q = R(θ/(s·2^−F)), and a spike adds Wq_g·2^(F + h_g). The rules for s, h_g and
F are in ``snnc.fixedpoint`` and docs/semantics.md §7; the analog input is quantised by §5.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, Ints, ProjectionScale
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, Level, MaxGate, Readout, Scale, Weighted, has_time
from snnc.ir.projections import incoming, paths
from snnc.ir.types import Int
from snnc.passes.base import Pass, Promise
from snnc.passes.form_projections import aligned

UNKNOWN_INPUT = 4.0
"""|x| assumed of a float input without data: four standard deviations of a normalised image."""


@dataclasses.dataclass(frozen=True)
class Quantize(Pass):
    """Weights to b-bit integers, thresholds, biases and inputs to fixed point."""

    name: ClassVar[str] = "quantize"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "snn"

    bits: int = 8
    per: Literal["layer", "channel"] = "layer"
    input_bits: int = 8

    def apply(self, network: Network, context: Context) -> Network:
        """The integer network."""
        self.require_level(network)
        self._check(network)
        result = network.copy()
        scales = {n: self._quantize_input(network, result, n, context) for n in network.of(Input)}
        for population in network.of(IfNeuron, Readout):
            self._quantize_population(network, result, population, scales)
        return result

    def _check(self, network: Network) -> None:
        if not (2 <= self.bits <= 16 and 2 <= self.input_bits <= 16):
            raise CompileError.of("SNNC0154", "quantize takes 2 to 16 bits for weights and inputs")
        for node in network.of(IfNeuron, MaxGate):
            op = network.op(node)
            assert isinstance(op, IfNeuron | MaxGate)
            if not (op.amplitude.array == 1).all():
                raise CompileError.of(
                    "SNNC0155",
                    "quantize needs spikes of amplitude 1",
                    where=op.origin,
                    remedy="run normalize-currents before quantize",
                )

    def _quantize_input(self, network: Network, result: Network, node: int, context: Context) -> float:
        """s_x = max|x|/hi, or 1 where all values are integers in range; signed if x goes below 0."""
        op = network.op(node)
        assert isinstance(op, Input)
        low, high, integer = input_range(op, context)
        signed = low < 0
        element = Int(self.input_bits, signed)
        scale = max(abs(low), abs(high)) / element.hi or 1.0
        if integer and low >= element.lo and high <= element.hi:
            scale = 1.0
        result.set(node, op.replace(bits=self.input_bits, signed=signed, scale=float(scale)))
        context.save(f"input:{op.name}", {"low": low, "high": high, "integer": integer})
        return float(scale)

    def _quantize_population(
        self, network: Network, result: Network, population: int, inputs: dict[int, float]
    ) -> None:
        op = network.op(population)
        assert isinstance(op, IfNeuron | Readout)
        nodes = incoming(network, population)
        weights = [_weight(network, n, inputs) for n in nodes]
        channelwise = self.per == "channel" and isinstance(op, IfNeuron)
        skips = [w for n, w in zip(nodes, weights, strict=True) if isinstance(network.op(n), Scale)]
        identity = next((w for w in skips if channelwise or not w.ndim), None)
        found = fixedpoint.choose_scale(weights, self.bits, per_channel=channelwise, identity=identity)
        # a readout has no threshold: a spike is as good as its largest weight
        spike = op.threshold.array if isinstance(op, IfNeuron) else found.scale * 2.0 ** (self.bits - 1)
        assert network.steps is not None
        fraction = fixedpoint.fraction_bits(network.steps, found.scale, spike, found.exponents)
        for node, weight, exponent in zip(nodes, weights, found.exponents, strict=True):
            code = fixedpoint.quantize_weight(weight, found.scale, exponent, self.bits)
            small = code.astype(np.int8 if self.bits <= 8 else np.int16)
            result.set(node, network.op(node).replace(weight=Constant(small), shift=fraction + exponent))
        result.set(population, _integer_population(op, network, found, fraction))


def _weight(network: Network, node: int, inputs: dict[int, float]) -> Floats:
    """The weights per code: an input's scale s_x belongs to the weights it meets."""
    op = network.op(node)
    assert isinstance(op, Weighted)
    sources = {p.source for p in paths(network, node)}
    scales = {inputs.get(s, 1.0) for s in sources}
    if len(scales) > 1:
        raise CompileError.of(
            "SNNC0120",
            "one weighted op takes inputs of different scale",
            where=op.origin,
            remedy="concatenate the inputs before the model, or give them one range",
        )
    return np.asarray(op.weight.array * scales.pop(), np.float64)


def _integer_population(
    op: IfNeuron | Readout, network: Network, found: ProjectionScale, fraction: int
) -> IfNeuron | Readout:
    assert network.steps is not None
    bias = _integer_bias(op.bias.array, found.scale, fraction, network)
    if isinstance(op, Readout):
        scale = float(found.scale)
        unit = op.unit * scale * 2.0**-fraction
        return op.replace(bias=Constant(bias), unit=unit, scale=scale, fraction_bits=fraction)
    threshold = fixedpoint.to_membrane(*aligned(op.threshold.array, found.scale), fraction)
    v_init = fixedpoint.to_membrane(*aligned(op.v_init.array, found.scale), fraction)
    return op.replace(
        threshold=Constant(threshold),
        bias=Constant(bias),
        v_init=Constant(v_init),
        scale=Constant(found.scale),
        fraction_bits=fraction,
    )


def _integer_bias(bias: Floats, scale: Floats, fraction: int, network: Network) -> Ints:
    """Constant biases are rounded once per step; others, and totals, so that the sum never drifts."""
    assert network.steps is not None
    timed = has_time(bias)
    if network.schedule == "rate" and not timed:
        return fixedpoint.to_membrane(*aligned(bias, scale), fraction)
    if not timed:
        row = bias.reshape(bias.shape or (1,))
        bias = np.broadcast_to(row, (network.steps, *row.shape))
    wide, step = aligned(bias, scale)
    return fixedpoint.split_over_time(wide, step, fraction)


def input_range(op: Input, context: Context) -> tuple[float, float, bool]:
    """Least and greatest value of an input and whether all are integers; assumed without data."""
    saved = context.saved(f"input:{op.name}")
    if saved is not None:
        return float(saved["low"]), float(saved["high"]), bool(saved["integer"])
    if op.dtype == "uint8":
        return 0.0, 255.0, True
    extremes = context.input_extremes(op.name)
    if extremes is not None:
        return extremes.low, extremes.high, extremes.integer
    context.diagnostics.warning(
        "SNNC0122",
        f"without calibration data, input {op.name!r} is taken to lie within ±{UNKNOWN_INPUT:g}",
        remedy="give --calib: values beyond are clipped",
    )
    return -UNKNOWN_INPUT, UNKNOWN_INPUT, False
