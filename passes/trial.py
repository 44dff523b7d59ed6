"""What the outputs are wrong by if activations have levels: a trial of thresholds on the ANN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snnc.fixedpoint import Floats
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import Add, Clip, FakeQuant, Input, Output, Relu, Scale
from snnc.ir.statistics import Extremes


def output_error(
    network: Network, scales: Mapping[int, Floats], levels: Mapping[int, int], context: Context
) -> float:
    """Σ |y − y'|²/Σ |y|² on the calibration data, added up over the outputs y.

    y' are outputs of the network whose ReLUs and clips give λ/N·clip(⌊N·a/λ + ½⌋, 0, N), with λ = ``scales``
    and N = ``levels``; linear edges stay as they are.
    """
    both, errors = _beside_its_twin(network, scales, levels)
    found = context.activations(both, [*errors, *errors.values()], Extremes)
    return sum(_power(found[error]) / max(_power(found[y]), 1e-300) for y, error in errors.items())


def _power(extremes: Extremes) -> float:
    return extremes.rms**2


def _beside_its_twin(
    network: Network, scales: Mapping[int, Floats], levels: Mapping[int, int]
) -> tuple[Network, dict[int, int]]:
    """The network with its rounded twin on the same inputs, and the node y − y' by what an output takes."""
    both, errors = network.copy(), dict[int, int]()
    twin = {node: node for node in network.of(Input)}
    for node in network.nodes:
        op, operands = network.op(node), network.operands(node)
        if isinstance(op, Output):
            (y,) = operands
            if y not in errors and twin[y] != y:
                minus = both.add(Scale(weight=Constant(-1.0)), twin[y])
                errors[y] = both.add(Add(), y, minus)
        elif node not in twin:
            if isinstance(op, Relu | Clip) and node in scales:
                unit = np.where(scales[node] > 0, scales[node], 1.0) / levels[node]
                op = FakeQuant(scale=Constant(unit), low=0, high=levels[node], ties="up")
            twin[node] = both.add(op, *(twin[source] for source in operands))
    return both, errors
