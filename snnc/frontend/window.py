"""Pads of sliding windows: auto_pad and ceil_mode resolved into explicit pads."""

from __future__ import annotations

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


def resolve_pads(node: OnnxNode, kernel: Pair, strides: Pair, dilations: Pair = (1, 1)) -> Pads:
    """The pads (top, left, bottom, right) of ``node``'s windows over its first operand.

    Raises :class:`Rejected` for negative pads, and strides or dilations below 1.
    """
    mode = node.attribute("auto_pad", "NOTSET")
    if min(*kernel, *strides, *dilations) < 1:
        raise Rejected("SNNC0113", "kernel, strides and dilations must be positive")
    if mode == "VALID":
        return (0, 0, 0, 0)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return _same(node.shape()[1:], kernel, strides, dilations, upper=mode == "SAME_UPPER")
    if mode != "NOTSET":
        raise Rejected("SNNC0111", f"auto_pad = {mode!r} is unknown")
    pads = tuple(node.attribute("pads", (0, 0, 0, 0)))
    if len(pads) != 4 or min(pads) < 0:
        raise Rejected("SNNC0111", f"pads = {list(pads)}: needs four, none of them negative")
    top, left, bottom, right = pads
    return (top, left, bottom, right)


def _same(extent: tuple[int, ...], kernel: Pair, strides: Pair, dilations: Pair, *, upper: bool) -> Pads:
    """Pads for ⌈size/stride⌉ windows; the odd one goes to the end if ``upper``."""
    begins, ends = [], []
    for size, k, stride, dilation in zip(extent, kernel, strides, dilations, strict=True):
        count = -(-size // stride)
        total = (count - 1) * stride + (k - 1) * dilation + 1 - size
        if total < -1:
            raise Rejected(
                "SNNC0111",
                "auto_pad with strides so long that windows skip elements: tools disagree on which",
                "write explicit pads",
            )
        total = max(total, 0)
        begins.append(total // 2 if upper else total - total // 2)
        ends.append(total - begins[-1])
    return (begins[0], begins[1], ends[0], ends[1])


def ceil_pads(extent: tuple[int, ...], kernel: Pair, strides: Pair, pads: Pads) -> Pads:
    """Pads with which rounding down counts the windows that ``ceil_mode`` counts.

    A window that would begin in the padding at the end is dropped, as onnxruntime and PyTorch do.
    """
    ends = []
    for axis in (0, 1):
        size, begin, end = extent[axis], pads[axis], pads[axis + 2]
        count = -(-(size + begin + end - kernel[axis]) // strides[axis]) + 1
        if (count - 1) * strides[axis] >= size + begin:
            count -= 1
        ends.append(max((count - 1) * strides[axis] + kernel[axis] - size - begin, 0))
    return (pads[0], pads[1], ends[0], ends[1])
