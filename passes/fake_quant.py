"""Brings the activations of a quantized model together: one FakeQuant where there were several ops.

With Q(x) = s·clip(⌊x/s⌉, low, high), which does not decrease, and scalars v, w > 0:

    Q(v·max(0, x) + b)          = Q(v·x + b) with low = 0, where ⌊b/s⌉ = 0
    Q(v·min(max(0, x), c) + b)  = the same with high = min(high, ⌊(v·c + b)/s⌉)
    max(0, Q(x))                = Q with low = 0
    min(Q(x), c)                = Q with high = min(high, c/s), where c is a code or cuts none
    min(max(0, w·Q(x)), c)      = w·min(max(0, Q(x)), c/w)
    w·Q(v·x + b)                = Q'(x + w·b) with s' = w·s, where v·w = 1
    Q(P·Q(x))                   = P·Q(x) for an address map or max pool P, equal s and a range no narrower

So λ/L·clip(⌊x·L/λ + ½⌋, 0, L), the activation of QCFS (Bu 2022), becomes one with s = λ/L, however written.
"""

from __future__ import annotations

import numpy as np

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Clip,
    Concat,
    FakeQuant,
    MaxPool,
    Pad,
    Relu,
    Reshape,
    Scale,
    Slice,
    Transpose,
    merge_origins,
)
from snnc.passes.rewriting import sole_user

_MOVES = (Concat, MaxPool, Pad, Reshape, Slice, Transpose)


INVERSE = 1e-6
"""How far v·w may be from 1, and c/s from an integer: constants of a model are float32."""


def quantize_rectified(network: Network, node: int) -> bool:
    """Q(v·max(0, x) + b) and Q(v·min(max(0, x), c) + b)."""
    op = network.op(node)
    if not isinstance(op, FakeQuant):
        return False
    (source,) = network.operands(node)
    factor, offset = 1.0, 0.0
    between = _scalars(network, source)
    if between is not None:
        factor, offset = between
        (inner,) = network.operands(source)
        if factor <= 0 or op.scale.shape or sole_user(network, source) is None:
            return False
    else:
        inner = source
    before = network.op(inner)
    if not isinstance(before, Relu | Clip) or (isinstance(before, Clip) and op.scale.shape):
        return False
    scale = float(op.scale.array.max())
    low = int(op.codes(np.asarray(offset / scale)))
    high = op.high
    if isinstance(before, Clip):
        high = int(op.codes(np.asarray((factor * before.maximum + offset) / scale)))
    if low or high < 1:
        return False
    merged = op.replace(low=0, high=high, origin=merge_origins(before, op))
    x = network.operands(inner)
    if inner != source:
        x = (network.add(network.op(source).replace(source=f"{op.source}#scaled"), *x),)
    network.set(node, merged, x)
    _remove_unused(network, source, inner)
    return True


def rectify_quantized(network: Network, node: int) -> bool:
    """max(0, Q(x)), and min(max(0, Q(x)), c) where c is a code, or none is above it."""
    op = network.op(node)
    if not isinstance(op, Relu | Clip):
        return False
    (source,) = network.operands(node)
    before = network.op(source)
    if not isinstance(before, FakeQuant) or sole_user(network, source) is None:
        return False
    high = before.high
    if isinstance(op, Clip) and op.maximum < high * float(before.scale.array.max()) * (1 - INVERSE):
        level = op.maximum / before.scale.array
        high = round(float(level.max()))
        if before.scale.shape or high < 1 or abs(level - high) > INVERSE * high:
            return False
    merged = before.replace(low=0, high=high, origin=merge_origins(before, op), source=op.source)
    network.set(source, merged)
    network.bypass(node)
    return True


def clip_before_scale(network: Network, node: int) -> bool:
    """min(max(0, w·Q(x)), c)."""
    op = network.op(node)
    if not isinstance(op, Relu | Clip):
        return False
    (source,) = network.operands(node)
    scalars = _scalars(network, source)
    if scalars is None or scalars[0] <= 0 or scalars[1] or sole_user(network, source) is None:
        return False
    quantized = network.operands(source)
    if not isinstance(network.op(quantized[0]), FakeQuant):
        return False
    limit = {"maximum": op.maximum / scalars[0]} if isinstance(op, Clip) else {}
    clipped = network.add(op.replace(source=f"{op.source}#clipped", **limit), *quantized)
    network.set(node, network.op(source).replace(source=op.source), [clipped])
    _remove_unused(network, source)
    return True


def merge_scales(network: Network, node: int) -> bool:
    """w·(v·x + b) + d = w·v·x + (w·b + d) before or behind a quantization."""
    (source,) = network.operands(node) if isinstance(network.op(node), Scale) else (node,)
    after, before = _scalars(network, node), _scalars(network, source)
    if source == node or after is None or before is None or sole_user(network, source) is None:
        return False
    x = network.operands(source)
    if not any(isinstance(network.op(n), FakeQuant) for n in (*x, *network.users(node))):
        return False
    factor, offset = after[0] * before[0], after[0] * before[1] + after[1]
    op = network.op(node)
    merged = _scale(factor, offset).replace(origin=merge_origins(network.op(source), op), source=op.source)
    network.set(node, merged, x)
    _remove_unused(network, source)
    return True


def scale_into_quantization(network: Network, node: int) -> bool:
    """w·Q(v·x + b) where v·w = 1."""
    after = _scalars(network, node)
    if after is None or after[1] or after[0] <= 0:
        return False
    (quantized,) = network.operands(node)
    op = network.op(quantized)
    if not isinstance(op, FakeQuant) or op.scale.shape or sole_user(network, quantized) is None:
        return False
    (source,) = network.operands(quantized)
    before = _scalars(network, source)
    if before is None or abs(before[0] * after[0] - 1) > INVERSE:
        return False
    x = network.operands(source)
    if before[1]:
        shifted = _scale(1.0, before[1] * after[0])
        x = (network.add(shifted.replace(origin=op.origin, source=f"{op.source}#shifted"), *x),)
    outer = network.op(node)
    scale = Constant(op.scale.array * after[0])
    merged = op.replace(scale=scale, origin=merge_origins(op, outer), source=outer.source)
    network.set(node, merged, x)
    _remove_unused(network, quantized, source)
    return True


def _scalars(network: Network, node: int) -> tuple[float, float] | None:
    """Weight and bias of a Scale by numbers; None for other ops."""
    op = network.op(node)
    if not isinstance(op, Scale) or op.weight.shape or (op.bias is not None and op.bias.shape):
        return None
    return float(op.weight.array), 0.0 if op.bias is None else float(op.bias.array)


def _remove_unused(network: Network, *nodes: int) -> None:
    """Remove what nothing takes any more: it would count as a user of its operands."""
    for node in nodes:
        if node in network and not network.users(node):
            network.remove(node)


def _scale(factor: float, offset: float) -> Scale:
    return Scale(weight=Constant(factor), bias=Constant(offset) if offset else None)


def drop_requantize(network: Network, node: int) -> bool:
    """Q(P·Q(x))."""
    op = network.op(node)
    if not isinstance(op, FakeQuant):
        return False
    found = _quantized_by(network, network.operands(node)[0])
    if not all(
        before is not None and before.scale == op.scale and op.low <= before.low and before.high <= op.high
        for before in found
    ):
        return False
    network.bypass(node)
    return True


def _quantized_by(network: Network, node: int) -> list[FakeQuant | None]:
    """The quantizations that a tensor's elements come from through address maps; None for others."""
    op = network.op(node)
    if isinstance(op, FakeQuant):
        return [op]
    if not isinstance(op, _MOVES):
        return [None]
    return [found for source in network.operands(node) for found in _quantized_by(network, source)]
