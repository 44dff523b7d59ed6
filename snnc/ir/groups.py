"""Group neurons (Lv et al. 2024): channels in a row that stand for one activation together."""

from __future__ import annotations

import numpy as np

from snnc.fixedpoint import Floats
from snnc.ir.ops import Clip, IfNeuron, Op, Relu


def group_size(op: Op) -> int:
    """How many channels stand for one of the model's."""
    return op.members if isinstance(op, Relu | Clip | IfNeuron) else 1


def group_means(op: Op, values: Floats) -> Floats:
    """What the groups of an op say, [N, C, …]: every member's value becomes the mean of its group's."""
    size = group_size(op)
    if size == 1:
        return values
    groups = values.reshape(len(values), -1, size, *values.shape[2:])
    return np.repeat(groups.mean(axis=2), size, axis=1)
