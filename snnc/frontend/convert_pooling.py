"""Converters of pooling: windows of average and maximum, global pools and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.frontend.window import Pads, Pair, Plane, ceil_pads
from snnc.ir.ops import AveragePool, MaxPool, SumPool
from snnc.ir.types import Shape

Counts = npt.NDArray[np.int64]


def average_pool(node: OnnxNode) -> int:
    """AveragePool; the divisor of every output position is computed here."""
    plane = Plane.of(node)
    kernel, strides, pads, written = _windows(plane)
    counted: Pads = written if node.attribute("count_include_pad", 0) else (0, 0, 0, 0)
    heights, widths = (_real_elements(a, plane.extent, kernel, strides, pads, counted) for a in (0, 1))
    divisors = np.outer(heights, widths)
    if not divisors.all():
        raise Rejected("SNNC0111", "a window of AveragePool lies in the padding alone")
    return plane.emit(AveragePool, kernel=kernel, strides=strides, pads=pads, divisors=divisors)


def max_pool(node: OnnxNode) -> int:
    """MaxPool without indices."""
    node.only_first_output()
    plane = Plane.of(node)
    kernel, strides, pads, _ = _windows(plane)
    return plane.emit(MaxPool, kernel=kernel, strides=strides, pads=pads)


def global_average_pool(node: OnnxNode) -> int:
    """GlobalAveragePool as one window."""
    plane = Plane.of(node)
    return plane.lowered(_mean(node, plane.x, plane.extent))


def global_max_pool(node: OnnxNode) -> int:
    """GlobalMaxPool as one window."""
    plane = Plane.of(node)
    return plane.emit(MaxPool, kernel=plane.extent)


def reduce_mean(node: OnnxNode) -> int:
    """ReduceMean over any axes but the batch."""
    return _reduced(node, _mean)


def reduce_sum(node: OnnxNode) -> int:
    """ReduceSum over any axes but the batch."""
    return _reduced(node, lambda node, x, window: node.emit(SumPool, x, kernel=window))


def reduce_max(node: OnnxNode) -> int:
    """ReduceMax over any axes but the batch."""
    return _reduced(node, lambda node, x, window: node.emit(MaxPool, x, kernel=window))


def _reduced(node: OnnxNode, pool: Callable[[OnnxNode, int, Pair], int]) -> int:
    """``pool`` over one window that holds the reduced axes, which are brought to the end."""
    shape = node.shape()
    rank = len(shape) + 1
    axes = node.ints("axes", 1)
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            return node.tensor()
        raise Rejected("SNNC0111", f"{node.proto.op_type} over all axes mixes samples", "name the axes")
    gone = sorted({node.axis(axis, rank) for axis in axes})
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    result: Shape = tuple(shape[axis] for axis in kept)
    if node.attribute("keepdims", 1):
        result = tuple(1 if axis in gone else n for axis, n in enumerate(shape))
    x = node.builder.transpose(node.tensor(), (*kept, *gone), node.origin)
    if len(shape) != 3 or gone != [1, 2]:
        count = math.prod(shape[axis] for axis in gone)
        x = node.builder.reshape(x, (math.prod(shape) // count, 1, count), node.origin)
    _, height, width = node.builder.shape(x)
    return node.builder.reshape(pool(node, x, (height, width)), result, node.origin)


def _mean(node: OnnxNode, x: int, window: Pair) -> int:
    divisors = np.full((1, 1), math.prod(window), np.int64)
    return node.emit(AveragePool, x, kernel=window, divisors=divisors)


def _windows(plane: Plane) -> tuple[Pair, Pair, Pads, Pads]:
    """Kernel, strides, pads, and the pads before ceil_mode widened them."""
    node = plane.node
    kernel, strides = plane.pair("kernel_shape", 1), plane.pair("strides", 1)
    if plane.pair("dilations", 1) != (1, 1):
        raise Rejected("SNNC0111", f"{node.proto.op_type} with dilations")
    written = plane.pads(kernel, strides)
    most = node.builder.limits.window
    if math.prod(kernel) > most:
        raise Rejected("SNNC0104", f"its window of {math.prod(kernel)} elements exceeds {most}")
    if any(pad >= k for pad, k in zip(written, kernel * 2, strict=True)):
        raise Rejected("SNNC0113", f"pads {list(written)} that a window of {list(kernel)} does not span")
    if not node.attribute("ceil_mode", 0):
        return kernel, strides, written, written
    return kernel, strides, ceil_pads(plane.extent, kernel, strides, written), written


def _real_elements(axis: int, extent: Pair, kernel: Pair, strides: Pair, pads: Pads, counted: Pads) -> Counts:
    """How many elements each window covers along an axis, with ``counted`` pads taken as elements."""
    windows = max((extent[axis] + pads[axis] + pads[axis + 2] - kernel[axis]) // strides[axis] + 1, 0)
    begin = np.arange(windows, dtype=np.int64) * strides[axis] - pads[axis]
    end = np.minimum(begin + kernel[axis], extent[axis] + counted[axis + 2])
    covered: Counts = np.maximum(end - np.maximum(begin, -counted[axis]), 0)
    return covered
