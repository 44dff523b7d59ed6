"""Folds batch normalisation into the weights before it (ECC Eq. 11-12).

    Ŵ_i = γ_i/√(σ²_i + ε) · W_i
    b̂_i = γ_i/√(σ²_i + ε) · (b_i − μ_i) + β_i

ECC writes σ for the variance; ε is the model's own, and leaving it out costs accuracy (Rueckauer 2017
does: option ``epsilon=none`` is there for the comparison). A batch norm that does not follow
weights of its own becomes a diagonal affine map.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from snnc import fixedpoint
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import BatchNorm, Level, Scale, Weighted, merge_origins
from snnc.passes.base import Pass, Promise
from snnc.passes.rewriting import sole_user


@dataclasses.dataclass(frozen=True)
class FoldBatchnorm(Pass):
    """Fold batch normalisation into the weights before it (ECC Eq. 11-12)."""

    name: ClassVar[str] = "fold-batchnorm"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    epsilon: Literal["model", "none"] = "model"

    def apply(self, network: Network, context: Context) -> Network:
        """The network without batch norms."""
        self.require_level(network)
        result = network.copy()
        for node in list(result.of(BatchNorm)):
            self._fold(result, node)
        return result

    def guarantee(self) -> Promise:
        """Without ε the function changes; by how much is measured."""
        return self.promise if self.epsilon == "model" else Promise.APPROXIMATE

    def _fold(self, network: Network, node: int) -> None:
        op = network.op(node)
        assert isinstance(op, BatchNorm)
        epsilon = op.epsilon if self.epsilon == "model" else 0.0
        # a channel that never varied has σ² = 0; without ε it would be divided by zero
        variance = np.maximum(op.variance.array + epsilon, np.finfo(np.float32).tiny)
        gain = op.gamma.array / np.sqrt(variance)
        shift = op.beta.array - gain * op.mean.array
        (source,) = network.operands(node)
        before = network.op(source)
        if not isinstance(before, Weighted) or sole_user(network, source) is None:
            scale = Scale(weight=Constant(gain), bias=Constant(shift), origin=op.origin, source=op.source)
            network.set(node, scale)
            return
        network.set(
            source,
            scaled_output(before, gain, shift).replace(origin=merge_origins(before, op), source=op.source),
        )
        network.bypass(node)


def scaled_output(op: Weighted, gain: fixedpoint.Floats, shift: fixedpoint.Floats) -> Weighted:
    """``op`` followed by y ← gain·y + shift, where gain and shift are [] or [C]."""
    weight = op.weight.array
    if gain.ndim and not weight.ndim:
        weight = np.full(gain.shape, weight)
    weight = fixedpoint.align(gain, weight) * weight
    if op.bias is None and not shift.any():
        return op.replace(weight=Constant(weight))
    bias = op.bias.array if op.bias is not None else np.zeros(weight.shape[:1])
    full = fixedpoint.align(gain, bias) * bias + fixedpoint.align(shift, bias)
    return op.replace(weight=Constant(weight), bias=Constant(full))
