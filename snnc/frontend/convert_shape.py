"""Converters of ops that move elements: Reshape and its kin, Transpose, Concat, Slice, Pad."""

from __future__ import annotations

import math

import numpy as np

from snnc.frontend.builder import Rejected
from snnc.frontend.fold import BatchSize
from snnc.frontend.node import OnnxNode
from snnc.ir.ops import Concat, Pad, Slice
from snnc.ir.types import Shape

_BATCH = "the batch axis must stay first"


def flatten(node: OnnxNode) -> int:
    """Flatten behind the batch axis."""
    shape = node.shape()
    rank = len(shape) + 1
    axis = node.attribute("axis", 1)
    if axis not in (1, 1 - rank):
        raise Rejected("SNNC0111", f"Flatten at axis {axis}: {_BATCH}")
    return node.builder.reshape(node.tensor(), (math.prod(shape),), node.origin)


def reshape(node: OnnxNode) -> int:
    """Reshape with a constant target; 0 keeps an extent and −1 is what is left."""
    target = node.constant(1, "target shape")
    if target is None:
        raise Rejected("SNNC0111", "Reshape has no target shape")
    shape = _reshaped(node, target.ravel().tolist())
    return node.builder.reshape(node.tensor(), shape, node.origin)


def _reshaped(node: OnnxNode, target: list[int | BatchSize]) -> Shape:
    before = node.shape()
    if len(target) < 2 or not _is_batch(target[0], node):
        raise Rejected("SNNC0111", f"Reshape to {_shown(target)}: {_BATCH}")
    if any(isinstance(n, BatchSize) for n in target[1:]):
        raise Rejected("SNNC0111", f"Reshape to {_shown(target)} mixes samples")
    rest = [int(n) for n in target[1:] if not isinstance(n, BatchSize)]
    if not node.attribute("allowzero", 0):
        rest = [before[i] if n == 0 and i < len(before) else n for i, n in enumerate(rest)]
    known = math.prod(n for n in rest if n != -1)
    if rest.count(-1) == 1 and target[0] != -1 and known > 0:
        rest[rest.index(-1)] = math.prod(before) // known
    if min(rest) < 1 or math.prod(rest) != math.prod(before):
        raise Rejected("SNNC0113", f"Reshape of {['N', *before]} to {_shown(target)} does not keep samples")
    return tuple(rest)


def _is_batch(extent: int | BatchSize, node: OnnxNode) -> bool:
    """Whether the first extent of a target is the batch's; 1 is what a model exported for one has."""
    if isinstance(extent, BatchSize):
        return extent.factor == 1
    keeps = extent == 0 and not node.attribute("allowzero", 0)
    return keeps or extent in (-1, 1, node.batch)


def _shown(target: list[int | BatchSize]) -> str:
    shown = [f"{n.factor}·N" if isinstance(n, BatchSize) else str(n) for n in target]
    return f"[{', '.join(shown)}]"


def squeeze(node: OnnxNode) -> int:
    """Squeeze of axes other than the batch."""
    shape = node.shape()
    axes = node.ints("axes", 1)
    if not axes:
        if node.batch == 1:
            raise Rejected("SNNC0111", f"Squeeze of every axis of extent 1: {_BATCH}", "give it axes")
        dropped = {axis for axis, n in enumerate(shape) if n == 1}
    else:
        dropped = {node.axis(axis, len(shape) + 1) for axis in axes}
    if any(shape[axis] != 1 for axis in dropped):
        raise Rejected("SNNC0113", f"Squeeze of an axis of {['N', *shape]} that is not 1")
    kept = tuple(n for axis, n in enumerate(shape) if axis not in dropped)
    return node.builder.reshape(node.tensor(), kept, node.origin)


def unsqueeze(node: OnnxNode) -> int:
    """Unsqueeze behind the batch axis."""
    shape = list(node.shape())
    axes = node.ints("axes", 1) or ()
    rank = len(shape) + len(axes) + 1
    for axis in sorted(node.axis(a, rank) for a in axes):
        shape.insert(axis, 1)
    return node.builder.reshape(node.tensor(), tuple(shape), node.origin)


def transpose(node: OnnxNode) -> int:
    """Transpose that leaves the batch axis first."""
    rank = len(node.shape()) + 1
    perm = tuple(node.attribute("perm", range(rank)[::-1]))
    if sorted(perm) != list(range(rank)):
        raise Rejected("SNNC0113", f"{list(perm)} does not permute {rank} axes")
    if perm[0] != 0:
        raise Rejected("SNNC0111", f"Transpose by {list(perm)}: {_BATCH}")
    return node.builder.transpose(node.tensor(), tuple(a - 1 for a in perm[1:]), node.origin)


def concat(node: OnnxNode) -> int:
    """Concat of computed tensors."""
    operands = [node.tensor(i) for i in range(len(node.values))]
    axis = node.axis(node.attribute("axis", 0), len(node.shape()) + 1)
    return node.emit(Concat, *operands, axis=axis) if len(operands) > 1 else operands[0]


def slice_(node: OnnxNode) -> int:
    """Slice with constant bounds and positive steps."""
    shape = node.shape()
    starts, ends = node.ints("starts", 1) or (), node.ints("ends", 2) or ()
    axes = node.ints("axes", 3) or tuple(range(len(starts)))
    steps = node.ints("steps", 4) or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Rejected("SNNC0113", "Slice needs as many starts, ends, axes and steps")
    bounds = [(0, n, 1) for n in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if _is_whole_batch(axis, start, end, step, len(shape) + 1):
            continue
        if step < 1:
            raise Rejected("SNNC0111", f"Slice with the step {step}: only positive steps")
        own = node.axis(axis, len(shape) + 1)
        begin, stop, _ = slice(start, end).indices(shape[own])
        bounds[own] = (begin, stop, step)
    if bounds == [(0, n, 1) for n in shape]:
        return node.tensor()
    begins, stops, strides = zip(*bounds, strict=True)
    return node.emit(Slice, node.tensor(), starts=begins, stops=stops, steps=strides)


def _is_whole_batch(axis: int, start: int, end: int, step: int, rank: int) -> bool:
    """Whether a slice takes all samples: exporters end it at the largest 32- or 64-bit integer."""
    return axis in (0, -rank) and start == 0 and step == 1 and end >= np.iinfo(np.int32).max


def pad(node: OnnxNode) -> int:
    """Pad with zeros."""
    rank = len(node.shape()) + 1
    value = node.optional_weight(2, "value") if node.opset >= 11 else None
    fill = float(value.ravel()[0]) if value is not None and value.size else node.attribute("value", 0.0)
    mode = node.attribute("mode", "constant")
    if mode != "constant" or fill != 0:
        raise Rejected("SNNC0111", f"Pad with mode {mode} and value {fill:g}: only zeros")
    pads = node.ints("pads", 1) or ()
    axes = node.ints("axes", 3) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise Rejected("SNNC0113", f"{len(pads)} pads do not fit {len(axes)} axes")
    if min(pads, default=0) < 0:
        raise Rejected("SNNC0111", "negative pads crop the tensor", "use Slice instead")
    before, after = [0] * (rank - 1), [0] * (rank - 1)
    for i, axis in enumerate(axes):
        begin, end = pads[i], pads[len(axes) + i]
        if begin or end:
            own = node.axis(axis, rank)
            before[own], after[own] = begin, end
    if not any(before) and not any(after):
        return node.tensor()
    return node.emit(Pad, node.tensor(), before=tuple(before), after=tuple(after))
