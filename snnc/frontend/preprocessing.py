"""A normalisation put before a network, so that it takes raw pixels."""

from __future__ import annotations

import dataclasses

import numpy as np

from snnc.diagnostics import UsageError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Input, Scale


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """x ← (x·scale − mean)/std; ``mean`` and ``std`` hold one value, or one for each channel."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0


def prepend(network: Network, preprocessing: Preprocessing) -> None:
    """Put the normalisation after the input. Raises UsageError if it does not fit."""
    inputs = tuple(network.of(Input))
    if len(inputs) != 1:
        raise UsageError.of("SNNC0154", f"a normalisation needs one input, the model has {len(inputs)}")
    (node,) = inputs
    weight, bias = _parameters(preprocessing, network.type(node).shape[0])
    users = network.users(node)
    scale = network.add(Scale(weight=weight, bias=bias), node)
    for user in users:
        operands = [scale if source == node else source for source in network.operands(user)]
        network.set(user, network.op(user), operands)


def _parameters(preprocessing: Preprocessing, channels: int) -> tuple[Constant, Constant]:
    mean, std = (np.asarray(v, np.float64) for v in (preprocessing.mean, preprocessing.std))
    if any(v.ndim != 1 or v.size not in (1, channels) for v in (mean, std)):
        raise UsageError.of(
            "SNNC0154",
            f"the normalisation has {mean.size} means and {std.size} deviations, the input "
            f"{channels} channels",
            remedy="give one value, or one for each channel",
        )
    scale = np.float64(preprocessing.scale)
    if not (np.isfinite([*mean, *std, scale]).all() and (std > 0).all() and scale != 0):
        raise UsageError.of("SNNC0154", "a normalisation needs finite values, std > 0 and scale ≠ 0")
    weight, bias = np.broadcast_arrays(scale / std, -mean / std)
    if weight.size == 1:
        return Constant(weight[0]), Constant(bias[0])
    return Constant(weight), Constant(bias)
