"""Proves that a network fits a target: the width of every membrane, by interval analysis.

The proof covers v_init, every V(t), every u and every partial sum within a step, whatever order the
events come in (docs/semantics.md §7). The spikes stay the same; a network beyond the target's
limits is an error that names the layer, the limit and the excess.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from snnc import fixedpoint
from snnc.fixedpoint import Ints, Range
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Level, Readout, Weighted, has_time
from snnc.ir.projections import incoming
from snnc.ir.types import Int, Spike
from snnc.passes.base import Pass, Promise
from snnc.targets import Target, load_target


@dataclasses.dataclass(frozen=True)
class Legalize(Pass):
    """Prove accumulator widths and check the target's limits."""

    name: ClassVar[str] = "legalize"
    promise: ClassVar[Promise] = Promise.SAME_SPIKES
    level: ClassVar[Level] = "int"

    target: str = "generic"

    def apply(self, network: Network, context: Context) -> Network:
        """The network with the proven width on every population and readout."""
        self.require_level(network)
        target = load_target(self.target)
        result = network.copy()
        for population in network.of(IfNeuron, Readout):
            op = network.op(population)
            assert isinstance(op, IfNeuron | Readout)
            bits = membrane_bits(network, population)
            self._check(network, population, bits, target, context)
            result.set(population, op.replace(acc_bits=bits))
        context.diagnostics.raise_errors()
        return result

    def _check(self, network: Network, population: int, bits: int, target: Target, context: Context) -> None:
        op = network.op(population)
        most = target.membrane_bits[1]
        if bits > most:
            context.diagnostics.error(
                "SNNC0130",
                f"a membrane needs {bits} bits, {bits - most} more than target {target.name} has",
                where=op.origin,
                remedy="use fewer --bits or a smaller --T",
            )
        widest = max(_weight_bits(network, node) for node in incoming(network, population))
        if widest > target.weight_bits[1]:
            context.diagnostics.error(
                "SNNC0131",
                f"weights of {widest} bits exceed the {target.weight_bits[1]} bits of target {target.name}",
                where=op.origin,
                remedy=f"use --bits {target.weight_bits[1]}",
            )


def _weight_bits(network: Network, node: int) -> int:
    op = network.op(node)
    assert isinstance(op, Weighted)
    weight = op.weight.array
    return fixedpoint.signed_bits(int(weight.min()), int(weight.max()))


def membrane_bits(network: Network, population: int) -> int:
    """The proven width of a population's or readout's membrane."""
    op = network.op(population)
    assert isinstance(op, IfNeuron | Readout)
    assert network.steps is not None
    steps, channels = network.steps, network.type(population).shape[0]
    bias = _channelwise_bias(op.bias.array, channels, steps)
    v_init = np.broadcast_to(op.v_init.array if isinstance(op, IfNeuron) else np.int64(0), (channels,))
    if network.schedule == "layerwise":
        drive = _drive(network, population, channels, codes=steps)
        totals = [side.sum(axis=0, keepdims=True) for side in bias]
        ranges = [fixedpoint.integral_range(drive, total, v_init, 1) for total in totals]
        most = ranges[1].high
        if isinstance(op, IfNeuron) and op.signed:
            # a negative code gives back up to θ more than V lacks
            most = np.maximum(most, op.threshold.array)
        return Range(ranges[0].low, most).bits
    drive = _drive(network, population, channels, codes=1)
    if isinstance(op, Readout):
        ranges = [fixedpoint.integral_range(drive, side, v_init, steps) for side in bias]
    else:
        ranges = [
            fixedpoint.membrane_range(drive, side, op.threshold.array, v_init, steps, signed=op.signed)
            for side in bias
        ]
    return Range(ranges[0].low, ranges[1].high).bits


def _channelwise_bias(bias: Ints, channels: int, steps: int) -> tuple[Ints, Ints]:
    """Least and greatest bias of each channel at each step, two arrays [steps, C]."""
    timed = bias if has_time(bias) else np.broadcast_to(bias, (steps, *bias.shape))
    rows = timed.reshape(steps, timed.shape[1] if timed.ndim > 1 else 1, -1)
    shape = (steps, channels)
    return np.broadcast_to(rows.min(axis=2), shape), np.broadcast_to(rows.max(axis=2), shape)


def _drive(network: Network, population: int, channels: int, *, codes: int) -> Range:
    """Z per channel over all its projections; ``codes`` multiplies what one step can carry."""
    low = high = np.zeros(channels, object)
    for node in incoming(network, population):
        op = network.op(node)
        assert isinstance(op, Weighted)
        element = network.operand_types(node)[0].element
        assert isinstance(element, Spike | Int)
        matrix = op.weight.array.reshape(op.weight.shape[0] if op.weight.shape else 1, -1)
        least, most = fixedpoint.product_range(matrix, element.lo * codes, element.hi * codes)
        low = low + (least.astype(object) << op.shift)
        high = high + (most.astype(object) << op.shift)
    widest = max(-int(low.min()), int(high.max())).bit_length() + (network.steps or 1).bit_length()
    # what 64 bits might not hold over a run stays in Python's integers
    return Range(low, high) if widest > 60 else Range(low.astype(np.int64), high.astype(np.int64))
