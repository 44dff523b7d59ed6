"""Converters of ops that move elements: Reshape and its kin, Transpose, Concat, Slice, Split, Pad."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from snnc.frontend.builder import Rejected
from snnc.frontend.convert_arithmetic import ONE, affine
from snnc.frontend.fold import BatchSize
from snnc.frontend.node import OnnxNode
from snnc.ir.ops import Concat, Pad, Slice
from snnc.ir.types import Shape

Bounds = tuple[int, int, int]

MOST_GATHERED = 1 << 10

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


def depth_to_space(node: OnnxNode) -> int:
    """DepthToSpace: channels in DCR or CRD order become blocks of b×b."""
    channels, height, width, block = _blocked(node)
    if channels % (block * block):
        raise Rejected("SNNC0113", f"{channels} channels are not a multiple of {block}²")
    inner = channels // (block * block)
    crd = node.attribute("mode", "DCR") == "CRD"
    split = (inner, block, block, height, width) if crd else (block, block, inner, height, width)
    perm = (0, 3, 1, 4, 2) if crd else (2, 3, 0, 4, 1)
    return _rearranged(node, split, perm, (inner, height * block, width * block))


def space_to_depth(node: OnnxNode) -> int:
    """SpaceToDepth: blocks of b×b become channels, in DCR or CRD order."""
    channels, height, width, block = _blocked(node)
    if height % block or width % block:
        raise Rejected("SNNC0113", f"{height}×{width} does not divide into blocks of {block}")
    split = (channels, height // block, block, width // block, block)
    shape = (channels * block * block, height // block, width // block)
    crd = node.attribute("mode", "DCR") == "CRD"
    return _rearranged(node, split, (0, 2, 4, 1, 3) if crd else (2, 4, 0, 1, 3), shape)


def _blocked(node: OnnxNode) -> tuple[int, int, int, int]:
    shape, block = node.shape(), node.attribute("blocksize", 0)
    if len(shape) != 3 or block < 1:
        raise Rejected("SNNC0113", f"{node.proto.op_type} of {['N', *shape]} with blocks of {block}")
    return (*shape, block)


def _rearranged(node: OnnxNode, split: Shape, perm: Shape, shape: Shape) -> int:
    x = node.builder.reshape(node.tensor(), split, node.origin)
    return node.builder.reshape(node.builder.transpose(x, perm, node.origin), shape, node.origin)


def concat(node: OnnxNode) -> int:
    """Concat of computed tensors."""
    operands = [node.tensor(i) for i in range(len(node.values))]
    axis = node.axis(node.attribute("axis", 0), len(node.shape()) + 1)
    return node.emit(Concat, *operands, axis=axis) if len(operands) > 1 else operands[0]


def slice_(node: OnnxNode) -> int:
    """Slice with constant bounds and positive steps."""
    starts, ends = node.ints("starts", 1) or (), node.ints("ends", 2) or ()
    axes = node.ints("axes", 3) or tuple(range(len(starts)))
    steps = node.ints("steps", 4) or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Rejected("SNNC0113", "Slice needs as many starts, ends, axes and steps")
    shape = node.shape()
    bounds: dict[int, Bounds] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if _is_whole_batch(axis, start, end, step, len(shape) + 1):
            continue
        if step < 1:
            raise Rejected("SNNC0111", f"Slice with the step {step}: only positive steps")
        own = node.axis(axis, len(shape) + 1)
        begin, stop, _ = slice(start, end).indices(shape[own])
        bounds[own] = (begin, stop, step)
    return _part(node, node.tensor(), bounds)


def _part(node: OnnxNode, x: int, bounds: dict[int, Bounds]) -> int:
    """``x`` between the bounds (start, stop, step) on some axes."""
    whole = [(0, n, 1) for n in node.builder.shape(x)]
    wanted = [bounds.get(axis, every) for axis, every in enumerate(whole)]
    if wanted == whole:
        return x
    starts, stops, steps = zip(*wanted, strict=True)
    return node.emit(Slice, x, starts=starts, stops=stops, steps=steps)


def split(node: OnnxNode) -> list[int]:
    """Split into parts of given or equal sizes."""
    shape = node.shape()
    axis = node.axis(node.attribute("axis", 0), len(shape) + 1)
    count, size = len(node.proto.output), shape[axis]
    part = -(-size // count)
    sizes = node.ints("split", 1) or [min(part, size - i * part) for i in range(count)]
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 1:
        raise Rejected("SNNC0113", f"{size} elements do not split into {list(sizes)}")
    ends = list(itertools.accumulate(sizes))
    return [_part(node, node.tensor(), {axis: (end - n, end, 1)}) for n, end in zip(sizes, ends, strict=True)]


def gather(node: OnnxNode) -> int:
    """Gather of constant positions, which are concatenated slices."""
    shape, index = node.shape(), node.constant(1, "indices")
    if index is None or index.dtype == object or index.ndim > 1 or not 0 < index.size <= MOST_GATHERED:
        raise Rejected("SNNC0111", f"Gather is supported of 1 to {MOST_GATHERED} constant positions")
    axis = node.axis(node.attribute("axis", 0), len(shape) + 1)
    places = [int(i) for i in index.ravel()]
    if not all(-shape[axis] <= place < shape[axis] for place in places):
        raise Rejected("SNNC0113", f"Gather beyond the {shape[axis]} elements of axis {axis + 1}")
    parts = [_part(node, node.tensor(), {axis: (p % shape[axis], p % shape[axis] + 1, 1)}) for p in places]
    if index.ndim:
        return node.emit(Concat, *parts, axis=axis) if len(parts) > 1 else parts[0]
    return node.builder.reshape(parts[0], shape[:axis] + shape[axis + 1 :], node.origin)


def _is_whole_batch(axis: int, start: int, end: int, step: int, rank: int) -> bool:
    """Whether a slice takes all samples: exporters end it at the largest 32- or 64-bit integer."""
    return axis in (0, -rank) and start == 0 and step == 1 and end >= np.iinfo(np.int32).max


def pad(node: OnnxNode) -> int:
    """Pad with a number, or with the tensor's own elements; negative pads crop."""
    shape = node.shape()
    rank = len(shape) + 1
    pads = node.ints("pads", 1) or ()
    axes = node.ints("axes", 3) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise Rejected("SNNC0113", f"{len(pads)} pads do not fit {len(axes)} axes")
    before, after = [0] * (rank - 1), [0] * (rank - 1)
    for axis, begin, end in zip(axes, pads, pads[len(axes) :], strict=False):
        if begin or end:
            own = node.axis(axis, rank)
            before[own], after[own] = begin, end
    cuts = {a: (max(-before[a], 0), n - max(-after[a], 0), 1) for a, n in enumerate(shape)}
    x = _part(node, node.tensor(), cuts)
    begins, ends = ([max(n, 0) for n in pads] for pads in (before, after))
    mode = node.attribute("mode", "constant")
    if mode != "constant":
        return _mirrored(node, x, mode, begins, ends)
    fill = _fill(node)
    if not fill or not any(begins + ends):
        return padded(node, x, begins, ends)
    lower = affine(node, x, ONE, np.asarray(-fill))
    return affine(node, padded(node, lower, begins, ends), ONE, np.asarray(fill))


def _fill(node: OnnxNode) -> float:
    value = node.optional_weight(2, "value") if node.opset >= 11 else None
    return float(value.ravel()[0]) if value is not None and value.size else node.attribute("value", 0.0)


def _mirrored(node: OnnxNode, x: int, mode: str, before: list[int], after: list[int]) -> int:
    """``x`` surrounded by its own elements: ``edge``, ``reflect`` or ``wrap``."""
    if mode not in _SOURCES:
        raise Rejected("SNNC0111", f"Pad with mode {mode}")
    if max(before + after, default=0) > MOST_GATHERED:
        raise Rejected("SNNC0111", f"Pad with mode {mode} by more than {MOST_GATHERED} elements")
    for axis, (begin, end) in enumerate(zip(before, after, strict=True)):
        n = node.builder.shape(x)[axis]
        beyond = (range(-begin, 0), range(n, n + end))
        sides = [[_SOURCES[mode](i, n) for i in side] for side in beyond]
        left, right = ([_part(node, x, {axis: (i, i + 1, 1)}) for i in side] for side in sides)
        x = node.emit(Concat, *left, x, *right, axis=axis) if left or right else x
    return x


_SOURCES: dict[str, Callable[[int, int], int]] = {
    "edge": lambda i, n: min(max(i, 0), n - 1),
    "reflect": lambda i, n: n - 1 - abs(n - 1 - i % (2 * n - 2)) if n > 1 else 0,
    "wrap": lambda i, n: i % n,
}
"""Which of n elements stands at position i beyond them."""


def padded(node: OnnxNode, x: int, begins: list[int], ends: list[int]) -> int:
    """``x`` between zeros; a spatial axis alone is padded as one of two."""
    if not any(begins) and not any(ends):
        return x
    shape = node.builder.shape(x)
    if len(shape) != 2:
        return node.emit(Pad, x, before=tuple(begins), after=tuple(ends))
    plane = node.builder.reshape(x, (shape[0], 1, shape[1]), node.origin)
    wide = node.emit(Pad, plane, before=(begins[0], 0, begins[1]), after=(ends[0], 0, ends[1]))
    channels, _, width = node.builder.shape(wide)
    return node.builder.reshape(wide, (channels, width), node.origin)
