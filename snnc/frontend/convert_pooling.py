"""Converters of pooling: average, max, global and means over the spatial axes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.frontend.window import Pads, Pair, ceil_pads, resolve_pads
from snnc.ir.ops import AveragePool, MaxPool
from snnc.ir.types import Shape

Counts = npt.NDArray[np.int64]


def average_pool(node: OnnxNode) -> int:
    """AveragePool; the divisor of every output position is computed here."""
    kernel, strides, pads, written = _windows(node)
    counted: Pads = written if node.attribute("count_include_pad", 0) else (0, 0, 0, 0)
    extent = node.shape()[1:]
    heights, widths = (_real_elements(a, extent, kernel, strides, pads, counted) for a in (0, 1))
    divisors = np.outer(heights, widths)
    if not divisors.all():
        raise Rejected("SNNC0111", "a window of AveragePool lies in the padding alone")
    return node.emit(AveragePool, node.tensor(), kernel=kernel, strides=strides, pads=pads, divisors=divisors)


def max_pool(node: OnnxNode) -> int:
    """MaxPool without indices."""
    node.only_first_output()
    kernel, strides, pads, _ = _windows(node)
    return node.emit(MaxPool, node.tensor(), kernel=kernel, strides=strides, pads=pads)


def global_average_pool(node: OnnxNode) -> int:
    """GlobalAveragePool as one window."""
    return _mean(node, _spatial(node))


def global_max_pool(node: OnnxNode) -> int:
    """GlobalMaxPool as one window."""
    shape = _spatial(node)
    return node.emit(MaxPool, node.tensor(), kernel=shape[1:], strides=(1, 1))


def reduce_mean(node: OnnxNode) -> int:
    """ReduceMean over height and width."""
    shape = _spatial(node)
    axes = node.ints("axes", 1) or ()
    if sorted(node.axis(axis, 4) for axis in axes) != [1, 2]:
        raise Rejected("SNNC0111", f"ReduceMean over axes {list(axes)}: only height and width, [2, 3]")
    pooled = _mean(node, shape)
    if node.attribute("keepdims", 1):
        return pooled
    return node.builder.reshape(pooled, shape[:1], node.origin)


def _mean(node: OnnxNode, shape: Shape) -> int:
    divisors = np.full((1, 1), shape[1] * shape[2], np.int64)
    return node.emit(AveragePool, node.tensor(), kernel=shape[1:], strides=(1, 1), divisors=divisors)


def _spatial(node: OnnxNode) -> Shape:
    shape = node.shape()
    if len(shape) != 3:
        raise Rejected(
            "SNNC0111",
            f"{node.proto.op_type} of a sample of shape {list(shape)}: only two spatial axes",
        )
    return shape


def _windows(node: OnnxNode) -> tuple[Pair, Pair, Pads, Pads]:
    """Kernel, strides, pads, and the pads before ceil_mode widened them."""
    extent = _spatial(node)[1:]
    kernel, strides = node.pair("kernel_shape", 1), node.pair("strides", 1)
    if node.pair("dilations", 1) != (1, 1):
        raise Rejected("SNNC0111", f"{node.proto.op_type} with dilations")
    written = resolve_pads(node, kernel, strides)
    if not node.attribute("ceil_mode", 0):
        return kernel, strides, written, written
    return kernel, strides, ceil_pads(extent, kernel, strides, written), written


def _real_elements(
    axis: int, extent: tuple[int, ...], kernel: Pair, strides: Pair, pads: Pads, counted: Pads
) -> Counts:
    """How many elements each window covers along an axis, with ``counted`` pads taken as elements."""
    windows = max((extent[axis] + pads[axis] + pads[axis + 2] - kernel[axis]) // strides[axis] + 1, 0)
    begin = np.arange(windows, dtype=np.int64) * strides[axis] - pads[axis]
    end = np.minimum(begin + kernel[axis], extent[axis] + counted[axis + 2])
    covered: Counts = np.maximum(end - np.maximum(begin, -counted[axis]), 0)
    return covered
