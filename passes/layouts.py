"""Moves address maps out of the way of the ops that they surround; every identity is exact.

Exporters put transpositions around convolutions, and 1-D layers are lifted to two axes. With P an
address map that only moves elements:

    D·(P·x) + c        = P·(D'·x + c')           where P keeps the channels, or D and c are scalars
    P·x₁ + P·x₂        = P·(x₁ + x₂)
    concat(P·x₁, P·x₂) = P·concat(x₁, x₂)        along the axis that P makes of it
    pad(P·x)           = P·pad'(x), the same for a slice, with P a transposition
    slice(W·x + b)     = W'·x + b'               with the rows of W and b in the slice
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Input,
    Op,
    Pad,
    Reshape,
    Scale,
    Slice,
    Transpose,
)
from snnc.ir.types import Shape

_PER_CHANNEL = ("gamma", "beta", "mean", "variance", "weight", "bias")


def layout_after_channelwise(network: Network, node: int) -> bool:
    """A scaling or batch norm before the address map."""
    op = network.op(node)
    if not isinstance(op, Scale | BatchNorm):
        return False
    (source,) = network.operands(node)
    layout = network.op(source)
    if not isinstance(layout, Reshape | Transpose):
        return False
    (x,) = network.operands(source)
    inner = network.type(x).shape
    # at the input a transposition is the user's own layout
    if isinstance(network.op(x), Input) or not (_is_scalar(op) or _keeps_channels(layout, inner)):
        return False
    moved = network.add(_in_layout_of(op, layout, inner).replace(source=_inside(op)), x)
    network.set(node, layout.replace(source=op.source), [moved])
    return True


def _is_scalar(op: Op) -> bool:
    return isinstance(op, Scale) and not op.weight.shape and (op.bias is None or not op.bias.shape)


def _keeps_channels(layout: Reshape | Transpose, inner: Shape) -> bool:
    if isinstance(layout, Transpose):
        return layout.perm[0] == 0
    return bool(inner) and layout.shape[0] == inner[0]


def _in_layout_of(op: Scale | BatchNorm, layout: Reshape | Transpose, inner: Shape) -> Op:
    """``op`` on the operand of ``layout``; only a bias with one value per element is rearranged."""
    if isinstance(op, BatchNorm) or op.bias is None or len(op.bias.shape) < 2:
        return op
    bias = op.bias.array
    back = bias.reshape(inner) if isinstance(layout, Reshape) else bias.transpose(np.argsort(layout.perm))
    return op.replace(bias=Constant(back))


def layout_after_add(network: Network, node: int) -> bool:
    """A sum of tensors in one layout is summed before it."""
    op = network.op(node)
    if not isinstance(op, Add):
        return False
    layout, inner = _common_layout(network, network.operands(node))
    if layout is None or len({network.type(x).shape for x in inner}) > 1:
        return False
    total = network.add(op.replace(source=_inside(op)), *inner)
    network.set(node, layout.replace(source=op.source), [total])
    return True


def layout_after_concat(network: Network, node: int) -> bool:
    """A concatenation before the layout that all of its operands have."""
    op = network.op(node)
    if not isinstance(op, Concat):
        return False
    layout, inner = _common_layout(network, network.operands(node))
    if layout is None:
        return False
    axis = layout.perm[op.axis] if isinstance(layout, Transpose) else op.axis
    if isinstance(layout, Reshape):
        shapes = [network.type(x).shape for x in inner]
        if op.axis or any(s[1:] != shapes[0][1:] for s in shapes) or not _keeps_channels(layout, shapes[0]):
            return False
        layout = layout.replace(shape=network.type(node).shape)
    joined = network.add(op.replace(axis=axis, source=_inside(op)), *inner)
    network.set(node, layout.replace(source=op.source), [joined])
    return True


def _common_layout(network: Network, nodes: Sequence[int]) -> tuple[Reshape | Transpose | None, list[int]]:
    """The layout that all nodes have, up to a reshape's first extent, and what they lay out."""
    ops = [network.op(n) for n in nodes]
    first = ops[0]
    if not isinstance(first, Reshape | Transpose):
        return None, []
    inner = [network.operands(n)[0] for n, op in zip(nodes, ops, strict=True) if type(op) is type(first)]
    if len(nodes) < 2 or len(inner) < len(nodes):
        return None, []
    if isinstance(first, Transpose) and all(op.perm == first.perm for op in ops if isinstance(op, Transpose)):
        return first, inner
    if isinstance(first, Reshape) and len({network.type(n).shape[1:] for n in nodes}) == 1:
        return first, inner
    return None, []


def transpose_after_pad(network: Network, node: int) -> bool:
    """Padding and slicing before a transposition, with their axes permuted."""
    op = network.op(node)
    if not isinstance(op, Pad | Slice):
        return False
    (source,) = network.operands(node)
    layout = network.op(source)
    if not isinstance(layout, Transpose):
        return False
    back = np.argsort(layout.perm)
    names = ("before", "after") if isinstance(op, Pad) else ("starts", "stops", "steps")
    fields = {name: tuple(getattr(op, name)[a] for a in back) for name in names}
    moved = network.add(op.replace(source=_inside(op), **fields), *network.operands(source))
    network.set(node, layout.replace(source=op.source), [moved])
    return True


def slice_into_weights(network: Network, node: int) -> bool:
    """Channels of a weighted op: its rows."""
    op = network.op(node)
    if not isinstance(op, Slice):
        return False
    (source,) = network.operands(node)
    before = network.op(source)
    shape = network.type(source).shape
    rows = slice(op.starts[0], op.stops[0], op.steps[0])
    if range(*rows.indices(shape[0])) == range(shape[0]):
        return False
    elementwise = isinstance(before, Scale | BatchNorm)
    if not elementwise and not (
        isinstance(before, Dense) or (isinstance(before, Conv2d) and before.groups == 1)
    ):
        return False
    bounds = zip(op.starts, op.stops, op.steps, strict=True)
    if any(bound != (0, n, 1) for bound, n in list(zip(bounds, shape, strict=True))[1:]):
        return False
    operands = list(network.operands(source))
    if elementwise:
        operands = [network.add(op.replace(source=_inside(op)), *operands)]
    network.set(node, _rows(before, rows, shape).replace(source=op.source), operands)
    return True


def _rows(op: Op, rows: slice, shape: Shape) -> Op:
    """``op`` with the parameters of some output channels."""
    fields = {}
    for name in _PER_CHANNEL:
        constant = getattr(op, name, None)
        if constant is not None and constant.shape and constant.shape[0] == shape[0]:
            fields[name] = Constant(constant.array[rows])
    return op.replace(**fields)


def _inside(op: Op) -> str:
    return f"{op.source}#inside" if op.source else ""
