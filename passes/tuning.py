"""What passes share that adjust an integer network on calibration data, population by population.

The parameters that such a pass finds, in the ANN's units, go into the statistics of the artifact, from which
they are taken again without data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from snnc import fixedpoint
from snnc.fixedpoint import Floats, Ints
from snnc.ir.constants import Constant
from snnc.ir.context import Context, Drive
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Readout, has_time
from snnc.ir.statistics import round_up
from snnc.passes.base import Pass
from snnc.passes.form_projections import aligned

ROUNDS = 4

Tunable = IfNeuron | Readout
Find = Callable[[Tunable, Drive], Floats]
"""The parameters for an op on its drive."""
Put = Callable[[Tunable, Floats], Tunable]
"""The op with those parameters."""


def tuned(step: Pass, samples: int, network: Network, context: Context, find: Find, put: Put) -> Network:
    """The network with ``put(op, find(op, drive))`` in the place of every op that stands for an activation.

    Saved parameters are taken where their options are the same; without them and without data the
    network stays as it is, with a note.
    """
    options = {**step.options(), "T": network.steps, "schedule": network.schedule}
    saved = context.saved(step.name)
    found: dict[str, Any] = {}
    if saved is not None and saved["options"] == options:
        found = saved["values"]
        result = network.copy()
        for node in network.of(IfNeuron, Readout):
            op = tunable(network, node)
            if op.source in found:
                result.set(node, put(op, np.asarray(found[op.source], np.float64)))
    elif context.has_data:

        def adjust(node: int, drive: Drive) -> Mapping[int, Tunable]:
            op = tunable(network, node)
            parameters = round_up(find(op, drive))
            found[op.source] = parameters.tolist()
            return {node: put(op, parameters)}

        result = context.tune(network, adjust, samples)
    else:
        context.diagnostics.note(
            "SNNC0127",
            f"{step.name} is left out: there are no calibration data, and no statistics of its own",
            remedy="give --calib with some training samples",
        )
        return network.copy()
    context.save(step.name, {"options": options, "values": found})
    return result


def settled(channels: int, attempt: Callable[[Floats], tuple[Floats, Floats]]) -> Floats:
    """Of the shifts [C] that are tried, beginning with none, each channel's with the least |error|.

    ``attempt(shift)`` returns the error [C] that is left and the step [C] to take next.
    """
    shift = np.zeros(channels)
    best, least = shift, np.full(channels, np.inf)
    for _ in range(ROUNDS):
        error, step = attempt(shift)
        better = np.abs(error) < least
        best, least = np.where(better, shift, best), np.where(better, np.abs(error), least)
        shift = round_up(shift + step)
    return best


def mean_error(error: Floats, drive: Drive) -> Floats:
    """The mean [C] of errors [N, C, P], as it would be over the samples that only the ANN ran, too.

    Errors grow with activations a: it is ē + β·(ā of all samples − ā), with β the least-squares slope of the
    samples' errors over their activations, one for the layer (the regression estimator of Cochran 1977).
    """
    each, seen = error.mean(axis=2), drive.expected.mean(axis=2)
    mean, middle = each.mean(axis=0), seen.mean(axis=0)
    power = ((seen - middle) ** 2).sum()
    if power == 0:
        return np.asarray(mean)
    slope = ((seen - middle) * (each - mean)).sum() / power
    return np.asarray(mean + slope * (drive.usual - middle))


def tunable(network: Network, node: int) -> Tunable:
    """The op of a population or readout."""
    op = network.op(node)
    assert isinstance(op, IfNeuron | Readout)
    return op


def membrane_units(op: Tunable, activation: Floats) -> Floats:
    """Charge per step, in the membrane's integers, that stands for an activation [C] or [T, C]: a·θ/λ.

    A readout's unit is that of one integer.
    """
    if isinstance(op, Readout):
        return activation / op.unit
    return np.asarray(activation * (mean_threshold(op) / op.unit.array))


def mean_threshold(op: IfNeuron) -> Floats:
    """θ, [] or [C], averaged over time."""
    threshold = op.threshold.array
    return np.asarray(threshold.mean(axis=0) if has_time(threshold) else threshold, np.float64)


def with_bias(op: Tunable, extra: Floats, full: int) -> Tunable:
    """The op with ``extra`` charge per step, [C] or [T, C], in the membrane's integers.

    A constant stays constant, rounded; over time, the sum over the run of N = ``full`` steps never drifts.
    """
    bias: Ints = op.bias.array.astype(np.int64)
    if has_time(bias) and not has_time(extra):
        extra = np.broadcast_to(extra * (full / len(bias)), (len(bias), *extra.shape))
    steps = (
        fixedpoint.split_over_time(extra, 1.0, 0) if has_time(extra) else fixedpoint.round_half_even(extra)
    )
    return op.replace(bias=Constant(np.add(*aligned(bias, steps))))
