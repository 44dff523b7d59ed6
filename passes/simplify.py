"""Brings address maps into their shortest form and activations next to the sums they rectify.

Each rule states its identity; all of them are exact.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import (
    Clip,
    Concat,
    Conv2d,
    Dense,
    FakeQuant,
    Input,
    Level,
    Op,
    Pad,
    Relu,
    Reshape,
    Slice,
    Transpose,
    merge_origins,
)
from snnc.passes.base import Pass, Promise
from snnc.passes.fake_quant import (
    clip_before_scale,
    drop_requantize,
    merge_scales,
    quantize_rectified,
    rectify_quantized,
    scale_into_quantization,
)
from snnc.passes.layouts import (
    layout_after_add,
    layout_after_channelwise,
    layout_after_concat,
    slice_into_weights,
    transpose_after_pad,
)
from snnc.passes.rewriting import rewrite, sole_user

_MOVES = (Reshape, Transpose, Slice, Concat)


@dataclasses.dataclass(frozen=True)
class Simplify(Pass):
    """Merge and drop address maps, pads into convolutions, activations before address maps."""

    name: ClassVar[str] = "simplify"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    def apply(self, network: Network, context: Context) -> Network:
        """The simplified network."""
        self.require_level(network)
        rules = (
            drop_no_op,
            drop_requantize,
            quantize_rectified,
            rectify_quantized,
            clip_before_scale,
            merge_scales,
            scale_into_quantization,
            merge_pair,
            transpose_into_input,
            pad_into_conv,
            layout_after_channelwise,
            layout_after_add,
            layout_after_concat,
            transpose_after_pad,
            slice_into_weights,
            transpose_into_dense,
            unit_conv_to_dense,
            activation_before_address,
        )
        return rewrite(network, rules)


def drop_no_op(network: Network, node: int) -> bool:
    """An address map that moves nothing is its operand."""
    op = network.op(node)
    if not isinstance(op, Reshape | Transpose | Slice | Pad | Concat):
        return False
    sources = network.operands(node)
    if len(sources) != 1 or network.type(node).shape != network.type(sources[0]).shape:
        return False
    if isinstance(op, Transpose) and not _moves_unit_axes_only(op.perm, network.type(node).shape):
        return False
    network.bypass(node)
    return True


def _moves_unit_axes_only(perm: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    kept = [axis for position, axis in enumerate(perm) if shape[position] != 1]
    return kept == sorted(kept)


def merge_pair(network: Network, node: int) -> bool:
    """Reshape∘Reshape, Transpose∘Transpose and Slice∘Slice are one of their kind."""
    op = network.op(node)
    if not isinstance(op, Reshape | Transpose | Slice):
        return False
    (source,) = network.operands(node)
    before = network.op(source)
    merged: Op
    match before, op:
        case Reshape(), Reshape():
            merged = op
        case Transpose(), Transpose():
            merged = op.replace(perm=tuple(before.perm[a] for a in op.perm))
        case Slice(), Slice():
            merged = _compose(before, op)
        case _:
            return False
    merged = merged.replace(origin=merge_origins(before, op))
    network.set(node, merged, network.operands(source))
    return True


def _compose(first: Slice, second: Slice) -> Slice:
    inner = [
        range(*a)[slice(*b)]
        for a, b in zip(
            zip(first.starts, first.stops, first.steps, strict=True),
            zip(second.starts, second.stops, second.steps, strict=True),
            strict=True,
        )
    ]
    return second.replace(
        starts=tuple(r.start for r in inner),
        stops=tuple(r[-1] + 1 for r in inner),
        steps=tuple(r.step for r in inner),
    )


def transpose_into_input(network: Network, node: int) -> bool:
    """Transpose(input) is the input with its axes permuted: the user's array stays as it is."""
    op = network.op(node)
    if not isinstance(op, Transpose):
        return False
    (source,) = network.operands(node)
    given = network.op(source)
    if not isinstance(given, Input) or sole_user(network, source) is None:
        return False
    perm = given.perm or tuple(range(len(given.shape)))
    network.set(source, given.replace(perm=tuple(perm[a] for a in op.perm)))
    network.bypass(node)
    return True


def pad_into_conv(network: Network, node: int) -> bool:
    """Conv(Pad(x)) is Conv(x) with larger pads, where only the two spatial axes are padded."""
    op = network.op(node)
    if not isinstance(op, Conv2d):
        return False
    (source,) = network.operands(node)
    pad = network.op(source)
    if not isinstance(pad, Pad) or len(pad.before) != 3 or pad.before[0] or pad.after[0]:
        return False
    extra = (*pad.before[1:], *pad.after[1:])
    pads = tuple(a + b for a, b in zip(op.pads, extra, strict=True))
    merged = op.replace(pads=pads, origin=merge_origins(pad, op))
    network.set(node, merged, network.operands(source))
    return True


def transpose_into_dense(network: Network, node: int) -> bool:
    """W·vec(Transpose(x)) is W'·vec(x) with the columns of W permuted."""
    op = network.op(node)
    if not isinstance(op, Dense):
        return False
    (flat,) = network.operands(node)
    if not isinstance(network.op(flat), Reshape):
        return False
    (source,) = network.operands(flat)
    transpose = network.op(source)
    if not isinstance(transpose, Transpose):
        return False
    (x,) = network.operands(source)
    rows = op.weight.array.reshape(-1, *network.type(source).shape)
    back = 1 + np.argsort(transpose.perm)
    columns = rows.transpose(0, *back).reshape(op.weight.shape)
    shape = (math.prod(network.type(x).shape),)
    reshape = network.add(Reshape(shape=shape, origin=network.op(flat).origin), x)
    merged = op.replace(weight=Constant(columns), origin=merge_origins(transpose, op))
    network.set(node, merged, [reshape])
    return True


def unit_conv_to_dense(network: Network, node: int) -> bool:
    """vec(Conv(x)) is W·vec(x) + b where the kernel covers the whole of x without padding."""
    flat = network.op(node)
    if not isinstance(flat, Reshape) or len(flat.shape) != 1:
        return False
    (source,) = network.operands(node)
    conv = network.op(source)
    if not isinstance(conv, Conv2d) or conv.groups != 1 or any(conv.pads):
        return False
    (x,) = network.operands(source)
    if conv.weight.shape[1:] != network.type(x).shape or conv.dilations != (1, 1):
        return False
    rows = conv.weight.array.reshape(conv.weight.shape[0], -1)
    bias = conv.bias and Constant(conv.bias.array.reshape(-1))
    vector = network.add(Reshape(shape=(rows.shape[1],), origin=flat.origin), x)
    dense = Dense(weight=Constant(rows), bias=bias, origin=conv.origin, source=flat.source)
    network.set(node, dense, [vector])
    return True


def activation_before_address(network: Network, node: int) -> bool:
    """σ(P·x) is P·σ(x) for an element-wise σ and an address map P without padding."""
    activation = network.op(node)
    if not isinstance(activation, Relu | Clip | FakeQuant):
        return False
    if isinstance(activation, FakeQuant) and activation.scale.shape:
        return False
    (source,) = network.operands(node)
    move = network.op(source)
    if not isinstance(move, _MOVES) or sole_user(network, source) is None:
        return False
    parts = [
        network.add(activation.replace(source=_part(activation.source, i)), x)
        for i, x in enumerate(network.operands(source))
    ]
    network.set(node, move.replace(source=activation.source), parts)
    # left in place, it would use the next map too, which the activation is to pass as well
    network.remove(source)
    return True


def _part(source: str, index: int) -> str:
    return f"{source}#{index}"
