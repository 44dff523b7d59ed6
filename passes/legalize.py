"""Proves that a network fits a target: the width of every membrane, by interval analysis.

The proof covers v_init, every V(t), every u and every partial sum within a step, whatever order the
events come in (docs/semantics.md §7). The spikes stay the same; a network beyond the target's
limits is an error that names the layer, the limit and the excess. With ``acc_bits``, membranes that
are not proved to fit into so many bits saturate instead, and what that loses is measured. For a target
with an arithmetic of its own the network is first rewritten into it (``snnc.passes.loihi_arithmetic``).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.fixedpoint import WIDEST_BITS, Ints, Range
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Level, Readout, Weighted, has_time, run_total
from snnc.ir.projections import incoming
from snnc.ir.types import Int, Spike
from snnc.passes.base import Pass, Promise
from snnc.passes.loihi_arithmetic import driven_by_host, to_chip
from snnc.targets import Target, load_target


@dataclasses.dataclass(frozen=True)
class Legalize(Pass):
    """Prove accumulator widths and check the target's limits."""

    name: ClassVar[str] = "legalize"
    promise: ClassVar[Promise] = Promise.SAME_SPIKES
    level: ClassVar[Level] = "int"

    target: str = "generic"
    acc_bits: int = 0
    align: bool = False

    def guarantee(self) -> Promise:
        """A membrane that saturates may fire differently, and so may one that is rewritten."""
        lossy = self.acc_bits or load_target(self.target).arithmetic
        return Promise.APPROXIMATE if lossy else self.promise

    def check_options(self) -> None:
        """A width that there can be, or none."""
        if self.acc_bits and not 2 <= self.acc_bits <= WIDEST_BITS:
            raise CompileError.of("SNNC0154", f"acc_bits must lie within 2 and {WIDEST_BITS}, or be 0")

    def apply(self, network: Network, context: Context) -> Network:
        """The network with the width of every population's and readout's membrane."""
        self.require_level(network)
        target = load_target(self.target)
        if self.align and not target.arithmetic:
            message = f"align has no effect: target {target.name} has no delays"
            raise CompileError.of("SNNC0154", message, remedy="use it with --target loihi")
        if target.arithmetic:
            network = to_chip(network, target.arithmetic, align=self.align, context=context)
        result = network.copy()
        for population in network.of(IfNeuron, Readout):
            op = network.op(population)
            assert isinstance(op, IfNeuron | Readout)
            bits = membrane_bits(network, population)
            most = self._most_bits(op, target)
            narrow = 0 < most < bits
            if narrow:
                bits = most
                _check_limit(op, bits, context)
            self._check(network, population, bits, target, context)
            result.set(population, op.replace(acc_bits=bits, saturates=narrow))
        context.diagnostics.raise_errors()
        return result

    def _most_bits(self, op: IfNeuron | Readout, target: Target) -> int:
        """The width at which a membrane saturates, 0 for none."""
        if target.arithmetic and isinstance(op, Readout):
            # the host adds up what the chip's readout holds in each step
            return 0
        given = self.acc_bits or (target.arithmetic.membrane_bits if target.arithmetic else 0)
        # what saturates already goes on doing so
        return given or (op.acc_bits if op.saturates else 0)

    def _check(self, network: Network, population: int, bits: int, target: Target, context: Context) -> None:
        op = network.op(population)
        on_host = target.arithmetic is not None and isinstance(op, Readout)
        most = WIDEST_BITS if on_host else target.membrane_bits[1]
        if bits > most:
            cut = "" if target.arithmetic else f", or --acc-bits {most} to let it saturate"
            context.diagnostics.error(
                "SNNC0130",
                f"a membrane needs {bits} bits, {bits - most} more than target {target.name} has",
                where=op.origin,
                remedy=f"use fewer --bits or a smaller --T{cut}",
            )
        nodes = incoming(network, population)
        if target.arithmetic:
            nodes = tuple(node for node in nodes if not driven_by_host(network, node))
        widest = max((_weight_bits(network, node) for node in nodes), default=0)
        if widest > target.weight_bits[1]:
            context.diagnostics.error(
                "SNNC0131",
                f"weights of {widest} bits exceed the {target.weight_bits[1]} bits of target {target.name}",
                where=op.origin,
                remedy=f"use --bits {target.weight_bits[1]}",
            )


def _check_limit(op: IfNeuron | Readout, bits: int, context: Context) -> None:
    """A membrane that saturates below its threshold would never fire."""
    if isinstance(op, Readout):
        return
    needed = max(int(np.abs(c.array).max()) for c in (op.threshold, op.v_init))
    if needed > fixedpoint.symmetric_limit(bits):
        most = fixedpoint.signed_bits(-needed, needed)
        context.diagnostics.error(
            "SNNC0130",
            f"threshold or v_init need {most} bits, {most - bits} more than acc_bits={bits}",
            where=op.origin,
            remedy=f"use acc_bits={most} or more, or fewer --bits",
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
    start = op.v_init.array if isinstance(op, IfNeuron) else np.zeros((), np.int64)
    starts = [side[0] for side in _channelwise(start, channels, 1)]
    if network.schedule != "rate":
        drive = _drive(network, population, channels, codes=network.full_count)
        totals = _channelwise(run_total(op.bias.array, network.full_count), channels, 1)
        ranges = [fixedpoint.integral_range(drive, *side, 1) for side in zip(totals, starts, strict=True)]
        most = ranges[1].high
        if isinstance(op, IfNeuron) and op.negative:
            # a negative code gives back up to θ more than V lacks
            most = np.maximum(most, op.threshold.array)
        return Range(ranges[0].low, most).bits
    bias = _channelwise(op.bias.array, channels, steps)
    drive = _drive(network, population, channels, codes=1)
    if isinstance(op, Readout):
        ranges = [fixedpoint.integral_range(drive, side, starts[0], steps) for side in bias]
    else:
        sides = list(zip(bias, starts, strict=True))
        if all(np.array_equal(*pair) for pair in (bias, starts)):
            # the neurons of a channel are all alike
            del sides[1:]
        ranges = [
            fixedpoint.membrane_range(
                drive, side, op.threshold.array, start, steps, signed=op.signed, rectified=op.rectified
            )
            for side, start in sides
        ]
    return Range(ranges[0].low, ranges[-1].high).bits


def _channelwise(value: Ints, channels: int, steps: int) -> tuple[Ints, Ints]:
    """Least and greatest value of a parameter in each channel at each step, two arrays [steps, C]."""
    timed = value if has_time(value) else np.broadcast_to(value, (steps, *value.shape))
    rows = timed.reshape(steps, timed.shape[1] if timed.ndim > 1 else 1, -1)
    shape = (steps, channels)
    return np.broadcast_to(rows.min(axis=2), shape), np.broadcast_to(rows.max(axis=2), shape)


def _drive(network: Network, population: int, channels: int, *, codes: int) -> Range:
    """Z per channel over all its projections; ``codes`` multiplies what one step can carry."""
    low, high = np.zeros(channels, object), np.zeros(channels, object)
    for node in incoming(network, population):
        op = network.op(node)
        assert isinstance(op, Weighted)
        element = network.operand_types(node)[0].element
        assert isinstance(element, Spike | Int)
        matrix = op.weight.array.reshape(op.weight.shape[0] if op.weight.shape else 1, -1)
        least, most = fixedpoint.product_range(matrix, element.lo * codes, element.hi * codes)
        for end, total in ((least, low), (most, high)):
            wide = end.astype(object) << op.shift
            # in place: 64 bits may not hold the sum
            total += fixedpoint.in_register(wide, *op.register) if op.register_limit else wide
    widest = max(-int(low.min()), int(high.max())).bit_length() + network.full_count.bit_length()
    # what 64 bits might not hold over a run stays in Python's integers
    return Range(low, high) if widest > 60 else Range(low.astype(np.int64), high.astype(np.int64))
