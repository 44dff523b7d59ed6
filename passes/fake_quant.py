"""Brings the activations of a quantized model together: one FakeQuant where there were several ops.

With Q(x) = s·clip(⌊x/s⌉, low, high), which does not decrease:

    Q(max(0, x))          = Q with low = 0
    Q(min(max(0, x), c))  = Q with low = 0 and high = min(high, ⌊c/s⌉)
    max(0, Q(x))          = Q with low = 0;  min(Q(x), c) = Q(x) where c ≥ s·high
    Q(P·Q(x))             = P·Q(x) for an address map or max pool P, equal s and a range no narrower
"""

from __future__ import annotations

from snnc.ir.network import Network
from snnc.ir.ops import (
    Clip,
    Concat,
    FakeQuant,
    MaxPool,
    Pad,
    Relu,
    Reshape,
    Slice,
    Transpose,
    merge_origins,
)
from snnc.passes.rewriting import sole_user

_MOVES = (Concat, MaxPool, Pad, Reshape, Slice, Transpose)


def quantize_rectified(network: Network, node: int) -> bool:
    """Q(max(0, x)) and Q(min(max(0, x), c))."""
    op = network.op(node)
    if not isinstance(op, FakeQuant):
        return False
    (source,) = network.operands(node)
    before = network.op(source)
    if not isinstance(before, Relu | Clip) or (isinstance(before, Clip) and op.scale.shape):
        return False
    high = op.high
    if isinstance(before, Clip):
        # half to even, as the rounding of the codes is
        high = min(high, round(before.maximum / float(op.scale.array)))
    if high < 1:
        return False
    merged = op.replace(low=0, high=high, origin=merge_origins(before, op))
    network.set(node, merged, network.operands(source))
    return True


def rectify_quantized(network: Network, node: int) -> bool:
    """max(0, Q(x)), and min(Q(x), c) where c does not cut."""
    op = network.op(node)
    if not isinstance(op, Relu | Clip):
        return False
    (source,) = network.operands(node)
    before = network.op(source)
    if not isinstance(before, FakeQuant) or sole_user(network, source) is None:
        return False
    if isinstance(op, Clip) and op.maximum < before.high * float(before.scale.array.max()) * (1 - 1e-6):
        return False
    network.set(source, before.replace(low=0, origin=merge_origins(before, op), source=op.source))
    network.bypass(node)
    return True


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
