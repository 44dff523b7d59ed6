"""Quantises weights to b bits, thresholds and biases to the membrane's fixed point (ECC §4.4).

For the projections g into a population, W_g ≈ s·2^h_g·Wq_g; the scale s is absorbed by the threshold:
membranes count in s·2^−F, θ_q = R(θ/(s·2^−F)), and a spike adds Wq_g·2^(F + h_g). The rules for s, h_g and
F are in ``snnc.fixedpoint`` and docs/semantics.md §7; the analog input is quantised by §5.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, NamedTuple

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

INPUT_SQNR_DB = 40.0
"""An input gets more than eight bits where its rounding error would not stay this far below the data."""
MOST_BITS = 16


class InputRange(NamedTuple):
    """What an input spans, whether all its values are integers, and their root mean square."""

    low: float
    high: float
    integer: bool
    rms: float


@dataclasses.dataclass(frozen=True)
class Quantize(Pass):
    """Weights to b-bit integers, thresholds, biases and inputs to fixed point.

    ``clip=mse`` lets the largest weights clip where that lessens the squared error of the others;
    ``rounding=balanced`` rounds some weights the other way, so that the errors of a kernel cancel.
    ``input_bits`` is 8 unless given, or as many as keep an input's rounding error 40 dB below the data.
    """

    name: ClassVar[str] = "quantize"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "snn"

    bits: int = 8
    per: Literal["layer", "channel"] = "layer"
    clip: Literal["max", "mse"] = "max"
    rounding: Literal["nearest", "balanced"] = "nearest"
    input_bits: int | None = None
    epsilon: float = fixedpoint.EPSILON_SPIKES

    def check_options(self) -> None:
        """2 to 16 bits, and a positive share of a spike."""
        widths = (self.bits, 8 if self.input_bits is None else self.input_bits)
        if not all(2 <= bits <= MOST_BITS for bits in widths):
            given = " and ".join(map(str, widths))
            raise CompileError.of(
                "SNNC0154", f"quantize takes 2 to 16 bits for weights and inputs, not {given}"
            )
        if not 0 < self.epsilon <= 1:
            raise CompileError.of("SNNC0154", f"quantize needs 0 < epsilon ≤ 1, not {self.epsilon}")

    def apply(self, network: Network, context: Context) -> Network:
        """The integer network."""
        self.require_level(network)
        self._check(network)
        result = network.copy()
        scales = {n: self._quantize_input(network, result, n, context) for n in network.of(Input)}
        for population in network.of(IfNeuron, Readout):
            try:
                self._quantize_population(network, result, population, scales)
            except OverflowError:
                raise _too_wide(network, population) from None
        return result

    def _check(self, network: Network) -> None:
        for node in network.of(IfNeuron, MaxGate, Input):
            op = network.op(node)
            assert isinstance(op, IfNeuron | MaxGate | Input)
            amplitude = op.amplitude if isinstance(op, Input) else op.amplitude.array
            if not np.all(amplitude == 1):
                raise CompileError.of(
                    "SNNC0155",
                    "quantize needs spikes of amplitude 1",
                    where=op.origin,
                    remedy="run normalize-currents before quantize",
                )

    def _quantize_input(self, network: Network, result: Network, node: int, context: Context) -> float:
        """s_x = max|x|/hi, or 1 where all values are integers in range; signed if x goes below 0.

        Events are integers as they are; a model that quantizes its input keeps its scale and its codes.
        """
        op = network.op(node)
        assert isinstance(op, Input)
        if op.coding == "events":
            result.set(node, op.replace(bits=op.max_count.bit_length()))
            return 1.0
        if op.codes:
            least, most = op.codes
            bits = fixedpoint.signed_bits(least, most) if least < 0 else most.bit_length()
            result.set(node, op.replace(bits=bits, signed=least < 0))
            return op.scale
        span = input_range(op, context)
        bits = sufficient_bits(span) if self.input_bits is None else self.input_bits
        scale, signed = span_scale(span, bits)
        result.set(node, op.replace(bits=bits, signed=signed, scale=scale))
        context.save(f"input:{op.name}", span._asdict())
        return scale

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
        found = fixedpoint.choose_scale(
            weights, self.bits, per_channel=channelwise, identity=identity, clip=self.clip == "mse"
        )
        # a readout has no threshold: a spike is as good as its largest weight
        spike = op.threshold.array if isinstance(op, IfNeuron) else found.scale * 2.0 ** (self.bits - 1)
        fraction = fixedpoint.fraction_bits(
            network.full_count, found.scale, spike, found.exponents, self.epsilon
        )
        for node, weight, exponent in zip(nodes, weights, found.exponents, strict=True):
            balanced = self.rounding == "balanced"
            code = fixedpoint.quantize_weight(weight, found.scale, exponent, self.bits, balanced=balanced)
            small = code.astype(np.int8 if self.bits <= 8 else np.int16)
            if fraction + exponent > fixedpoint.WIDEST_BITS:
                raise _too_wide(network, population)
            result.set(node, network.op(node).replace(weight=Constant(small), shift=fraction + exponent))
        result.set(population, _integer_population(op, network, found, fraction))


def _too_wide(network: Network, population: int) -> CompileError:
    return CompileError.of(
        "SNNC0130",
        f"weights, bias and threshold of this layer differ by more than {fixedpoint.WIDEST_BITS} bits",
        where=network.op(population).origin,
        remedy="look for single enormous weights, or clip them before the export",
    )


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
        share = row * (network.full_count / network.steps)
        bias = np.broadcast_to(share, (network.steps, *row.shape))
    wide, step = aligned(bias, scale)
    return fixedpoint.split_over_time(wide, step, fraction)


def span_scale(span: InputRange, bits: int) -> tuple[float, bool]:
    """The scale of an input's codes of that many bits, and whether they are signed."""
    element = Int(bits, span.low < 0)
    if span.integer and span.low >= element.lo and span.high <= element.hi:
        return 1.0, element.signed
    return float(max(abs(span.low), abs(span.high)) / element.hi or 1.0), element.signed


def sufficient_bits(span: InputRange) -> int:
    """The least width, from 8 bits up, at which the rounding error s/√12 stays far enough below the data."""
    for bits in range(8, MOST_BITS):
        scale, _ = span_scale(span, bits)
        exact = span.integer and scale == 1
        if exact or 20 * math.log10(max(span.rms, 1e-300) / scale * 12**0.5) >= INPUT_SQNR_DB:
            return bits
    return MOST_BITS


def input_range(op: Input, context: Context) -> InputRange:
    """What an input spans on the calibration data; assumed without."""
    saved = context.saved(f"input:{op.name}")
    if saved is not None:
        try:
            low, high, rms = (float(saved[key]) for key in ("low", "high", "rms"))
            fits = -np.inf < low <= high < np.inf and 0 <= rms < np.inf
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise CompileError.of("SNNC0124", f"the saved statistics have no range of the input {op.name!r}")
        return InputRange(low, high, saved.get("integer") is True, rms)
    if op.dtype in ("uint8", "int8"):
        limits = np.iinfo(op.dtype)
        low, high = float(limits.min), float(limits.max)
        return InputRange(low, high, True, ((low**2 + low * high + high**2) / 3) ** 0.5)
    extremes = context.input_extremes(op.name)
    if extremes is not None:
        return InputRange(extremes.low, extremes.high, extremes.integer, extremes.rms)
    context.diagnostics.warning(
        "SNNC0122",
        f"without calibration data, input {op.name!r} is taken to lie within ±{UNKNOWN_INPUT:g}",
        remedy="give --calib or --input-range: values beyond are clipped",
    )
    return InputRange(-UNKNOWN_INPUT, UNKNOWN_INPUT, False, 1.0)
