"""Rewrites an integer network into the integers of a Loihi-like chip (docs/loihi.md).

With 2^k the common factor of a population, σ the chip's threshold shift and e its bias exponent:

    weights     Wq·2^(shift + k)          the chip's even weight 2·Wq where signs are mixed
    threshold   θ' = R(θ·2^k/2^σ)·2^σ      compared by >, with v_init + 1: u + 1 > θ is u ≥ θ
    bias        b' = R(b·2^k/2^e)·2^e      input currents too: a register of the host, one per neuron
    spikes      arrive one step later      with ``align``, paths of unlike depth arrive together

What is rounded is at most half a unit; what a delay changes is measured by the pass manager.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from snnc import fixedpoint
from snnc.fixedpoint import Ints
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, MaxGate, Op, Readout, Weighted, has_time
from snnc.ir.projections import incoming, paths
from snnc.passes.align import delay_by_depth, delay_by_one
from snnc.targets import Arithmetic


def to_chip(network: Network, chip: Arithmetic, *, align: bool, context: Context) -> Network:
    """The network in the chip's arithmetic, a copy; every population is checked, then all are rewritten.

    Raises CompileError, SNNC0131, with all that the chip cannot do.
    """
    if network.schedule != "rate":
        context.diagnostics.error(
            "SNNC0131", "the chip's neurons fire while they integrate", remedy="use --schedule rate"
        )
    for node in network.of(IfNeuron, MaxGate, Readout):
        _check_kind(network, node, chip, context)
    context.diagnostics.raise_errors()
    result = network.copy()
    for node in network.of(IfNeuron, Readout):
        _rewrite(network, result, node, chip, context)
    context.diagnostics.raise_errors()
    if not align:
        return delay_by_one(result)
    return delay_by_depth(result, chip.delay_most, context)


def _check_kind(network: Network, node: int, chip: Arithmetic, context: Context) -> None:
    """What no number can make right."""
    op = network.op(node)
    if isinstance(op, MaxGate):
        _refuse(
            op,
            "max pools count spikes, which the chip cannot",
            "use --preset loihi, which has lower-pooling{max=average}, or strides in place of pools",
            context,
        )
        return
    assert isinstance(op, IfNeuron | Readout)
    if isinstance(op, IfNeuron) and op.signed and not chip.signed_spikes:
        _refuse(op, "the chip's spikes have no sign", "use --target loihi2, or a ReLU here", context)
    if isinstance(op, IfNeuron) and op.rectified:
        _refuse(op, "the chip's neurons cannot take spikes back", "use spikes=single", context)
    timed = has_time(op.bias) or (isinstance(op, IfNeuron) and has_time(op.threshold))
    if timed:
        _refuse(op, "the chip's biases and thresholds do not change in time", "use constant ones", context)
    for weighted in incoming(network, node):
        if len({driven_by_host(network, weighted, path.source) for path in paths(network, weighted)}) > 1:
            _refuse(
                network.op(weighted),
                "one weighted op takes inputs and spikes together",
                "concatenate them later",
                context,
            )


def driven_by_host(network: Network, weighted: int, source: int | None = None) -> bool:
    """Whether an input, and not spikes, drives a weighted op (or that one ``source`` of it is an input)."""
    sources = [source] if source is not None else [p.source for p in paths(network, weighted)]
    return all(isinstance(op := network.op(s), Input) and op.coding == "current" for s in sources)


def _refuse(op: Op, message: str, remedy: str, context: Context) -> None:
    context.diagnostics.error("SNNC0131", message, where=op.origin, remedy=remedy)


def _rewrite(network: Network, result: Network, node: int, chip: Arithmetic, context: Context) -> None:
    """One population and the projections into it, all in the chip's units."""
    op = network.op(node)
    assert isinstance(op, IfNeuron | Readout)
    nodes = incoming(network, node)
    factor = _factor(network, op, nodes, chip, context)
    if factor is None:
        return
    bias, exponent = _bias(network, op, nodes, factor, chip)
    host = [n for n in nodes if driven_by_host(network, n)]
    room = fixedpoint.symmetric_limit(chip.bias_bits) - int(np.abs(bias).max(initial=0) >> exponent)
    for weighted in nodes:
        before = network.op(weighted)
        assert isinstance(before, Weighted)
        changes = {"shift": before.shift + factor}
        if weighted in host:
            changes |= {"register_exponent": exponent, "register_limit": max(1, room // len(host))}
        result.set(weighted, before.replace(**changes))
    result.set(node, _population(op, factor, bias, chip))


def _population(op: IfNeuron | Readout, factor: int, bias: Ints, chip: Arithmetic) -> IfNeuron | Readout:
    fraction = op.fraction_bits + factor
    if isinstance(op, Readout):
        # a power of two, exactly: the answer stays
        return op.replace(bias=Constant(bias), unit=op.unit * 2.0**-factor, fraction_bits=fraction)
    mantissa = fixedpoint.round_half_even(op.threshold.array * 2.0 ** (factor - chip.threshold_shift))
    # a soft reset keeps the extra unit for ever; a reset to zero loses it, and > is then one unit late
    extra = 1 if op.compare == "ge" and op.reset == "subtract" else 0
    return op.replace(
        threshold=Constant(np.maximum(mantissa, 1) << chip.threshold_shift),
        bias=Constant(bias),
        v_init=Constant((op.v_init.array.astype(np.int64) << factor) + extra),
        compare="gt",
        fraction_bits=fraction,
    )


class _Bounds(NamedTuple):
    """The least factor k and the greatest, with the reason that stops it."""

    least: int
    most: int
    reason: str


def _factor(
    network: Network, op: IfNeuron | Readout, nodes: tuple[int, ...], chip: Arithmetic, context: Context
) -> int | None:
    """The least k that gives all weights room below and the threshold a mantissa that is fine enough.

    Fine enough is N/(2ε): a threshold off by half a mantissa moves the membrane by less than ε = 1/8 spike
    over a run, as any other rounding (docs/semantics.md §7).
    """
    bounds = _bounds(network, op, nodes, chip)
    if bounds.most < bounds.least:
        context.diagnostics.error(
            "SNNC0131",
            f"{bounds.reason}, by {bounds.least - bounds.most} bits",
            where=op.origin,
            remedy="use --preset loihi, where a layer has one weight scale, or fewer --bits",
        )
        return None
    if isinstance(op, Readout):
        return bounds.least
    assert network.steps is not None
    fine = network.steps / (2 * fixedpoint.EPSILON_SPIKES)
    wanted = math.ceil(math.log2(fine / int(op.threshold.array.min()))) + chip.threshold_shift
    return min(max(bounds.least, wanted), bounds.most)


def _bounds(network: Network, op: IfNeuron | Readout, nodes: tuple[int, ...], chip: Arithmetic) -> _Bounds:
    synapses = [n for n in nodes if not driven_by_host(network, n)]
    least, tops = -64, []
    for node in synapses:
        weighted = network.op(node)
        assert isinstance(weighted, Weighted)
        least = max(least, chip.synapse_shift - weighted.shift)
        mixed = bool(weighted.weight.array.min() < 0 < weighted.weight.array.max())
        highest = chip.synapse_shift + mixed + chip.weight_exponent_most
        tops.append((highest - weighted.shift, "the weights of its projections differ too much in scale"))
    peak = fixedpoint.symmetric_limit(chip.membrane_bits)
    if synapses:
        current = max(sum(x) for x in zip(*(_most_current(network, n) for n in synapses), strict=True))
        tops.append((_room(peak, current), f"a step's current exceeds the chip's {chip.membrane_bits} bits"))
    if isinstance(op, IfNeuron):
        # twice the threshold, so that a membrane can tell what exceeds it
        needed = max(2 * int(op.threshold.array.max()), int(np.abs(op.v_init.array).max()))
        tops.append((_room(peak, needed), "the threshold is close to the membrane's limit"))
    bias = max(1, int(np.abs(op.bias.array).max(initial=0)))
    if isinstance(op, IfNeuron) and len(synapses) < len(nodes):
        bias += int(op.threshold.array.max())
    most_bias = fixedpoint.symmetric_limit(chip.bias_bits) << chip.bias_exponent_most
    tops.append((_room(most_bias, bias), f"a bias exceeds the chip's {most_bias}"))
    most, reason = min(tops)
    # shifts and thresholds are integers already: less than k = 0 would round them
    return _Bounds(max(least, 0), most, reason)


def _room(limit: int, value: int) -> int:
    """The largest k with value·2^k ≤ limit, negative if the value exceeds it."""
    k = limit.bit_length() - max(value, 1).bit_length()
    fits = value << k <= limit if k >= 0 else value <= limit << -k
    return k if fits else k - 1


def _most_current(network: Network, node: int) -> tuple[int, int]:
    """The most that spikes through one weighted op can add to and take from a membrane in a step."""
    op = network.op(node)
    assert isinstance(op, Weighted)
    element = network.operand_types(node)[0].element
    matrix = op.weight.array.reshape(op.weight.shape[0] if op.weight.shape else 1, -1)
    low, high = fixedpoint.product_range(matrix, element.lo, element.hi)  # type: ignore[union-attr]
    return -int(low.min()) << op.shift, int(high.max()) << op.shift


def _bias(
    network: Network, op: IfNeuron | Readout, nodes: tuple[int, ...], factor: int, chip: Arithmetic
) -> tuple[Ints, int]:
    """The bias as mantissa·2^e, and e: the finest that holds it and, of input currents, the threshold.

    A current beyond the threshold makes a neuron fire at every step whatever it is.
    """
    wide = op.bias.array.astype(np.int64) << factor
    most = int(np.abs(wide).max(initial=0))
    if isinstance(op, IfNeuron) and any(driven_by_host(network, n) for n in nodes):
        most += int(op.threshold.array.max()) << factor
    limit = fixedpoint.symmetric_limit(chip.bias_bits)
    exponent = max(0, math.ceil(math.log2(max(most, 1) / limit)))
    exponent = min(exponent, chip.bias_exponent_most)
    return fixedpoint.in_register(wide, exponent, limit), exponent
