"""Repetition of elements as address maps: broadcasting, tiling and nearest-neighbour upsampling."""

from __future__ import annotations

from collections.abc import Sequence

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.ir.ops import Concat
from snnc.ir.types import Shape

MOST_COPIES = 1 << 12


def broadcast(node: OnnxNode, x: int, shape: Shape) -> int:
    """``x`` with axes of extent 1 repeated to those of ``shape``, which has the same rank."""
    own = node.builder.shape(x)
    return tile(node, x, [n // m for m, n in zip(own, shape, strict=True)])


def tile(node: OnnxNode, x: int, repeats: Sequence[int]) -> int:
    """``x`` with the whole tensor repeated along each axis."""
    if min(repeats, default=1) < 1 or max(repeats, default=1) > MOST_COPIES:
        raise Rejected("SNNC0111", f"repeating {list(repeats)} times: needs 1 to {MOST_COPIES}")
    for axis, count in enumerate(repeats):
        if count > 1:
            x = node.emit(Concat, *[x] * count, axis=axis)
    return x


def stretch(node: OnnxNode, x: int, factors: Sequence[int]) -> int:
    """``x`` with every element repeated along each axis: ×k nearest-neighbour upsampling."""
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        shape = node.builder.shape(x)
        split = (*shape[: axis + 1], 1, *shape[axis + 1 :])
        x = node.builder.reshape(x, split, node.origin)
        x = tile(node, x, [1] * (axis + 1) + [factor] + [1] * (len(shape) - axis - 1))
        x = node.builder.reshape(x, (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :]), node.origin)
    return x
