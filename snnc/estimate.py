"""Distributions of activations without data, from batch-norm parameters.

Training fitted every batch norm to its input, so what leaves it has mean β and variance γ² per channel,
whatever comes in. Taken as Gaussian, elements as independent:

    batch norm          μ = β, v = γ²
    ReLU                μ' = μ·Φ(μ/σ) + σ·φ(μ/σ), E[x²] = (μ² + v)·Φ(μ/σ) + μ·σ·φ(μ/σ)
    sums, sum pools     means and variances add
    max pool            μ' = μ + σ, v' = v

Weights forget it: behind a convolution without a batch norm nothing is known, and the layer is measured
on synthetic images instead. A layer's percentile is that of the mixture of its channels. See
docs/calibration.md.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

import numpy as np

from snnc.fixedpoint import Floats, align
from snnc.ir.address import ADDRESS_OPS, apply_address
from snnc.ir.groups import group_size
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Conv2d,
    Dense,
    FakeQuant,
    MaxPool,
    Op,
    Relu,
    Scale,
    SumPool,
)

CERTAINTY = 1e-6
"""The share of values above what counts as a maximum."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _share(percent: float) -> float:
    return min(percent / 100, 1 - CERTAINTY)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean and variance of each element, [C], or [C, H, W] inside an address map."""

    mean: Floats
    variance: Floats

    def percentile(self, percent: float) -> Floats:
        """The λ below which ``percent`` % of the magnitudes max(0, x) lie, in [1] for the mixture."""
        share = _share(percent)
        deviation = np.sqrt(np.maximum(self.variance, 1e-30))

        def below(x: float) -> float:
            return float(np.mean(0.5 * (1 + _erf((x - self.mean) / (deviation * math.sqrt(2))))))

        if below(0.0) >= share:
            return np.zeros(1)
        low, high = 0.0, float(np.max(np.maximum(self.mean, 0) + 8 * deviation))
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) < share else (low, middle)
        return np.array([high])


@dataclasses.dataclass(frozen=True)
class Largest:
    """What a layer reached on synthetic images; no channel of it is trusted to have shown its range."""

    value: Floats

    def percentile(self, percent: float) -> Floats:
        """The largest magnitude of the layer, whatever share is asked for."""
        return self.value


@dataclasses.dataclass(frozen=True)
class PerChannel:
    """A Gaussian whose percentile is taken of every channel by itself, [C]."""

    whole: Gaussian

    def percentile(self, percent: float) -> Floats:
        """One λ per channel: max(0, μ + σ·Φ⁻¹(share))."""
        quantile = statistics.NormalDist().inv_cdf(_share(percent))
        return np.maximum(self.whole.mean + np.sqrt(np.maximum(self.whole.variance, 1e-30)) * quantile, 0.0)


def estimate(
    imported: Network, network: Network, nodes: Sequence[int], *, per_channel: bool
) -> dict[int, Gaussian | PerChannel]:
    """The distribution before the ReLU of each of ``nodes``, and of a linear node itself, where known.

    ``imported`` is the model before any pass, which still has its batch norms; the nodes of ``network``
    are found in it by ``source``.
    """
    before = before_activation(imported)
    origin = {imported.op(n).source: n for n in imported.nodes}
    found: dict[int, Gaussian | PerChannel] = {}
    for node in nodes:
        source = network.op(node).source
        # what passes add to a tensor's name stands behind #
        twin = origin.get(source, origin.get(source.partition("#")[0]))
        whole = before.get(twin) if twin is not None else None
        size = group_size(network.op(node))
        if whole is not None and (whole.mean.size * size,) == network.type(node).shape[:1]:
            groups = Gaussian(np.repeat(whole.mean, size), np.repeat(whole.variance, size))
            found[node] = PerChannel(groups) if per_channel else groups
    return found


def before_activation(network: Network) -> dict[int, Gaussian]:
    """The distribution of every node that batch norms tell of; that of an activation is its operand's."""
    after: dict[int, Gaussian] = {}
    shown: dict[int, Gaussian] = {}
    for node in network.nodes:
        operands = [after[s] for s in network.operands(node) if s in after]
        known = len(operands) == len(network.operands(node)) > 0
        if isinstance(network.op(node), BatchNorm) or known:
            found = _moments(network, node, operands)
            if found is not None:
                after[node] = found
                shown[node] = operands[0] if isinstance(network.op(node), Relu | Clip | FakeQuant) else found
    return shown


def _moments(network: Network, node: int, x: list[Gaussian]) -> Gaussian | None:
    op = network.op(node)
    match op:
        case BatchNorm():
            return Gaussian(op.beta.array, op.gamma.array**2)
        case Conv2d() | Dense() | Scale():
            return None
        case Add():
            return Gaussian(np.sum([g.mean for g in x], axis=0), np.sum([g.variance for g in x], axis=0))
        case Relu() | Clip() | FakeQuant():
            return _rectified(x[0], op)
        case AveragePool():
            size = op.kernel[0] * op.kernel[1]
            return Gaussian(x[0].mean, x[0].variance / size)
        case MaxPool():
            return Gaussian(x[0].mean + np.sqrt(x[0].variance), x[0].variance)
    if isinstance(op, ADDRESS_OPS):
        return _moved(network, node, x)
    return x[0]


def _rectified(x: Gaussian, op: Op) -> Gaussian:
    if isinstance(op, FakeQuant) and op.low < 0:
        return x
    deviation = np.sqrt(np.maximum(x.variance, 1e-30))
    ratio = x.mean / deviation
    share = 0.5 * (1 + _erf(ratio / math.sqrt(2)))
    density = np.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    mean = x.mean * share + deviation * density
    square = (x.mean**2 + x.variance) * share + x.mean * deviation * density
    if isinstance(op, Clip):
        mean, square = np.minimum(mean, op.maximum), np.minimum(square, op.maximum**2)
    return Gaussian(mean, np.maximum(square - mean**2, 0.0))


def _moved(network: Network, node: int, x: list[Gaussian]) -> Gaussian:
    """Address maps move the moments of whole tensors; a [C, H, W] result is averaged per channel."""
    op = network.op(node)
    shapes = [network.type(s).shape for s in network.operands(node)]
    rank = len(shapes[0])
    means = [np.broadcast_to(align(g.mean, np.empty(s)), s) for g, s in zip(x, shapes, strict=True)]
    variances = [np.broadcast_to(align(g.variance, np.empty(s)), s) for g, s in zip(x, shapes, strict=True)]
    spread = apply_address(op, variances, rank)
    if isinstance(op, SumPool) and op.multiplicity is not None:
        spread = spread * op.multiplicity.array
    mean = apply_address(op, means, rank)
    return Gaussian(_channelwise(mean), _channelwise(spread))


def _channelwise(values: Floats) -> Floats:
    return np.asarray(values.reshape(values.shape[0], -1).mean(axis=1))
