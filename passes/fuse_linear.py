"""Fuses linear maps that follow one another, so that a path holds one weighted op where it can.

affine after weights    D·(W·x + b) + c = (D·W)·x + (D·b + c)
factor before weights   W·(P·(D·x)) = (W·P(D))·(P·x) for an address map P
affine before weights   W·(D·x + c) = (W·D)·x + W·c, where W·c depends on the position near
                        zero padding: padding is applied to D·x + c, not to x
dense after dense       W₂·(W₁·x + b₁) + b₂ = (W₂·W₁)·x + (W₂·b₁ + b₂)
sum pool after conv     one convolution of extent k + (p − 1)·s and stride s·s_p
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats
from snnc.ir.address import ADDRESS_OPS
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import Conv2d, Dense, Level, Scale, SumPool, Weighted, merge_origins
from snnc.passes.base import Pass, Promise
from snnc.passes.fold_batchnorm import scaled_output
from snnc.passes.gains import operand_gain, scale_operand
from snnc.passes.rewriting import rewrite, sole_user

_FARTHEST = 256
"""A factor is not carried through more address maps than that."""

_WIDEST = 1 << 22
"""The elements that the kernel of a pooled convolution may have: a global pool makes it enormous."""


@dataclasses.dataclass(frozen=True)
class FuseLinear(Pass):
    """Fuse linear maps that follow one another where the result is still one of them."""

    name: ClassVar[str] = "fuse-linear"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    def require_level(self, network: Network) -> None:
        """Linear maps are the same between populations: a network that was trained spiking has them too."""
        if network.level != "snn":
            super().require_level(network)

    def apply(self, network: Network, context: Context) -> Network:
        """The fused network."""
        self.require_level(network)
        rules = (
            affine_after_weights,
            factor_after_sum_pool,
            factor_before_weights,
            affine_before_conv,
            dense_after_dense,
            sum_pool_after_conv,
        )
        return rewrite(network, rules)


def affine_after_weights(network: Network, node: int) -> bool:
    """D·(W·x + b) + c."""
    op = network.op(node)
    if not isinstance(op, Scale):
        return False
    (source,) = network.operands(node)
    before = network.op(source)
    if not isinstance(before, Weighted) or sole_user(network, source) is None:
        return False
    shift = op.bias.array if op.bias is not None else np.zeros(())
    merged = scaled_output(before, op.weight.array, shift)
    network.set(source, merged.replace(origin=merge_origins(before, op), source=op.source))
    network.bypass(node)
    return True


def factor_after_sum_pool(network: Network, node: int) -> bool:
    """D·SumPool(W·x + b) = SumPool(D·(W·x + b)) for a scalar D."""
    op = network.op(node)
    if not isinstance(op, Scale) or op.bias is not None or op.weight.shape:
        return False
    (pool,) = network.operands(node)
    if not isinstance(network.op(pool), SumPool) or sole_user(network, pool) is None:
        return False
    (source,) = network.operands(pool)
    before = network.op(source)
    if not isinstance(before, Weighted) or sole_user(network, source) is None:
        return False
    network.set(source, scaled_output(before, op.weight.array, np.zeros(())))
    network.set(pool, network.op(pool).replace(source=op.source))
    network.bypass(node)
    return True


def factor_before_weights(network: Network, node: int) -> bool:
    """W·(P·(D·x)): the factor goes into every weighted op that it reaches, if it reaches only those."""
    op = network.op(node)
    if not isinstance(op, Scale) or op.bias is not None:
        return False
    targets = _weighted_targets(network, node)
    if not targets:
        return False

    def gain_of(n: int) -> Floats | None:
        if n == node:
            return op.weight.array
        return None if isinstance(network.op(n), ADDRESS_OPS) else np.ones(())

    try:
        weights = {t: scale_operand(network, t, operand_gain(network, t, gain_of)) for t in sorted(targets)}
    except CompileError:
        # an address map mixes channels of different factors before the weights
        return False
    for target, weight in weights.items():
        before = network.op(target)
        network.set(target, before.replace(weight=weight, origin=merge_origins(op, before)))
    network.bypass(node)
    return True


def _weighted_targets(network: Network, node: int) -> set[int]:
    """The weighted ops that ``node`` reaches through address maps; empty if it reaches others too."""
    targets: set[int] = set()
    pending, seen = list(network.users(node)), set[int]()
    while pending:
        user = pending.pop()
        if isinstance(network.op(user), Weighted):
            targets.add(user)
        elif isinstance(network.op(user), ADDRESS_OPS) and network.users(user) and len(seen) < _FARTHEST:
            pending += [n for n in network.users(user) if n not in seen]
            seen.update(network.users(user))
        else:
            return set()
    return targets


def affine_before_conv(network: Network, node: int) -> bool:
    """W·(D·x + c): the part W·c, zero under the padding, becomes a bias per position."""
    op = network.op(node)
    if not isinstance(op, Conv2d | Dense):
        return False
    (source,) = network.operands(node)
    affine = network.op(source)
    if not isinstance(affine, Scale) or affine.bias is None:
        return False
    shape = network.type(source).shape
    shift = affine.bias.array
    # one for each channel, or for each element
    offset = np.broadcast_to(shift.reshape(shift.shape + (1,) * (len(shape) - shift.ndim)), shape)
    added = _response(op, offset)
    bias = op.bias.array if op.bias is not None else np.zeros(())
    total = added + bias.reshape(bias.shape + (1,) * (added.ndim - bias.ndim))
    if total.ndim == 3 and (total == total[:, :1, :1]).all():
        total = total[:, 0, 0]
    gain = np.broadcast_to(affine.weight.array.reshape(-1, *(1,) * (len(shape) - 1)), shape)
    merged = op.replace(
        weight=scale_operand(network, node, gain),
        bias=Constant(total),
        origin=merge_origins(affine, op),
    )
    network.set(node, merged, network.operands(source))
    return True


def _response(op: Conv2d | Dense, x: Floats) -> Floats:
    """W·x without bias: the convolution of one [C, H, W] array, or the product with one [K]."""
    weight = op.weight.array
    if isinstance(op, Dense):
        return np.asarray(weight @ x)
    top, left, bottom, right = op.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    span = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], op.dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(1, 2))
    view = view[:, :: op.strides[0], :: op.strides[1], :: op.dilations[0], :: op.dilations[1]]
    groups = view.reshape(op.groups, -1, *view.shape[1:])
    kernels = weight.reshape(op.groups, -1, *weight.shape[1:])
    out = np.einsum("gcijuv,gmcuv->gmij", groups, kernels)
    return np.asarray(out.reshape(-1, *out.shape[2:]))


def dense_after_dense(network: Network, node: int) -> bool:
    """W₂·(W₁·x + b₁) + b₂, where that has no more weights than the two."""
    op = network.op(node)
    if not isinstance(op, Dense):
        return False
    (source,) = network.operands(node)
    first = network.op(source)
    if not isinstance(first, Dense) or sole_user(network, source) is None:
        return False
    product = op.weight.array @ first.weight.array
    if product.size > op.weight.size + first.weight.size:
        return False
    inner = first.bias.array if first.bias is not None else np.zeros(first.weight.shape[0])
    outer = op.bias.array if op.bias is not None else np.zeros(op.weight.shape[0])
    bias = Constant(op.weight.array @ inner + outer)
    merged = op.replace(weight=Constant(product), bias=bias, origin=merge_origins(first, op))
    network.set(node, merged, network.operands(source))
    return True


def sum_pool_after_conv(network: Network, node: int) -> bool:
    """Σ over a p×p window of a convolution is one convolution, if the pool does not pad."""
    pool = network.op(node)
    if not isinstance(pool, SumPool) or any(pool.pads) or pool.multiplicity is not None:
        return False
    (source,) = network.operands(node)
    conv = network.op(source)
    if not isinstance(conv, Conv2d) or sole_user(network, source) is None or conv.dilations != (1, 1):
        return False
    if conv.bias is not None and len(conv.bias.shape) > 1:
        return False
    kernel = conv.weight.array
    extent = [k + (p - 1) * s for k, p, s in zip(kernel.shape[2:], pool.kernel, conv.strides, strict=True)]
    if math.prod(extent) * kernel.shape[0] * kernel.shape[1] > _WIDEST:
        return False
    wide = np.zeros((*kernel.shape[:2], *extent))
    for u in range(pool.kernel[0]):
        for v in range(pool.kernel[1]):
            i, j = u * conv.strides[0], v * conv.strides[1]
            wide[:, :, i : i + kernel.shape[2], j : j + kernel.shape[3]] += kernel
    window = pool.kernel[0] * pool.kernel[1]
    merged = conv.replace(
        weight=Constant(wide),
        bias=conv.bias and Constant(conv.bias.array * window),
        strides=tuple(a * b for a, b in zip(conv.strides, pool.strides, strict=True)),
        origin=merge_origins(conv, pool),
        source=pool.source,
    )
    network.set(node, merged, network.operands(source))
    return True
