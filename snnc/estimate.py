"""Distributions of activations without data, from the model's own parameters.

Every channel of a tensor is taken as Gaussian with mean μ and variance v, and elements as independent:

    input               μ = 0, v = 1 (a normalised image); uniform on 0…255 for uint8
    batch norm          μ = β, v = γ²: what training made it, whatever comes in
    weights             μ' = W·μ + b, v' = W²·v
    ReLU                μ' = μ·Φ(μ/σ) + σ·φ(μ/σ), E[x²] = (μ² + v)·Φ(μ/σ) + μ·σ·φ(μ/σ)
    sums, sum pools     means and variances add
    max pool            μ' = μ + σ, v' = v

Without batch norm the weights' own second moments carry v from layer to layer. A layer's percentile is
that of the mixture of its channels. See docs/calibration.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from snnc.fixedpoint import Floats, align
from snnc.ir.address import ADDRESS_OPS, apply_address
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Conv2d,
    Dense,
    Input,
    MaxPool,
    Op,
    Relu,
    Scale,
    SumPool,
)

CERTAINTY = 1e-6
"""The share of values above what counts as a maximum."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean and variance of each element, [C], or [C, H, W] inside an address map."""

    mean: Floats
    variance: Floats

    def percentile(self, percent: float) -> Floats:
        """The λ below which ``percent`` % of the magnitudes max(0, x) lie, in [1] for the mixture."""
        share = min(percent / 100, 1 - CERTAINTY)
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
class PerChannel:
    """A Gaussian whose percentile is taken of every channel by itself, [C]."""

    whole: Gaussian

    def percentile(self, percent: float) -> Floats:
        """One λ per channel."""
        pairs = zip(self.whole.mean, self.whole.variance, strict=True)
        return np.concatenate([Gaussian(np.array([m]), np.array([v])).percentile(percent) for m, v in pairs])


def estimate(
    imported: Network, network: Network, nodes: Sequence[int], *, per_channel: bool
) -> dict[int, Gaussian | PerChannel]:
    """The distribution before the ReLU of each node of ``network``, and of a linear node itself.

    ``imported`` is the model before any pass: it still has its batch norms, so its tensors are preferred
    where ``source`` leads to them.
    """
    before = before_activation(imported)
    now = before_activation(network)
    origin = {imported.op(n).source: n for n in imported.nodes}
    found: dict[int, Gaussian | PerChannel] = {}
    for node in nodes:
        twin = origin.get(network.op(node).source.partition("#")[0])
        same = twin is not None and before[twin].mean.shape == now[node].mean.shape
        whole = before[twin] if twin is not None and same else now[node]
        found[node] = PerChannel(whole) if per_channel else whole
    return found


def before_activation(network: Network) -> dict[int, Gaussian]:
    """Every node's distribution; that of an activation is its operand's."""
    after: dict[int, Gaussian] = {}
    shown: dict[int, Gaussian] = {}
    for node in network.nodes:
        operands = [after[s] for s in network.operands(node)]
        after[node] = _moments(network, node, operands)
        shown[node] = operands[0] if isinstance(network.op(node), Relu | Clip) else after[node]
    return shown


def _moments(network: Network, node: int, x: list[Gaussian]) -> Gaussian:
    op = network.op(node)
    match op:
        case Input():
            channels = network.type(node).shape[:1]
            if op.dtype == "uint8":
                return Gaussian(np.full(channels, 127.5), np.full(channels, 255.0**2 / 12))
            return Gaussian(np.zeros(channels), np.ones(channels))
        case BatchNorm():
            return Gaussian(op.beta.array, op.gamma.array**2)
        case Conv2d() | Dense() | Scale():
            return _weighted(op, x[0])
        case Add():
            return Gaussian(np.sum([g.mean for g in x], axis=0), np.sum([g.variance for g in x], axis=0))
        case Relu() | Clip():
            return _rectified(x[0], op)
        case AveragePool():
            size = op.kernel[0] * op.kernel[1]
            return Gaussian(x[0].mean, x[0].variance / size)
        case MaxPool():
            return Gaussian(x[0].mean + np.sqrt(x[0].variance), x[0].variance)
    if isinstance(op, ADDRESS_OPS):
        return _moved(network, node, x)
    return x[0]


def _weighted(op: Conv2d | Dense | Scale, x: Gaussian) -> Gaussian:
    weight = op.weight.array
    bias = op.bias.array if op.bias is not None else np.zeros(())
    if bias.ndim == 3:
        bias = bias.mean(axis=(1, 2))
    if isinstance(op, Scale):
        return Gaussian(weight * x.mean + bias, weight**2 * x.variance)
    if isinstance(op, Dense):
        return Gaussian(weight @ x.mean + bias, weight**2 @ x.variance)
    grouped = weight.reshape(op.groups, -1, *weight.shape[1:])

    def pass_on(kernel: Floats, value: Floats) -> Floats:
        per_input = kernel.sum(axis=(3, 4))
        return np.asarray(np.einsum("gmc,gc->gm", per_input, value.reshape(op.groups, -1)).reshape(-1))

    return Gaussian(pass_on(grouped, x.mean) + bias, pass_on(grouped**2, x.variance))


def _rectified(x: Gaussian, op: Op) -> Gaussian:
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
