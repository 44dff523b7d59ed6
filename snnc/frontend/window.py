"""Sliding windows over one or two spatial axes, with auto_pad and ceil_mode resolved into pads.

One spatial axis is lifted to two here and nowhere else: an axis of extent 1 is put before it, and the
window has extent 1 along it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.ir.ops import Op
from snnc.ir.types import Shape

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Plane:
    """A node's first operand as ``x`` [C, H, W]; ``axes`` are its spatial axes in the model, 1 or 2."""

    node: OnnxNode
    x: int
    axes: int

    @classmethod
    def of(cls, node: OnnxNode) -> Plane:
        """The first operand, lifted. Raises :class:`Rejected` for other ranks."""
        shape = node.shape()
        if len(shape) == 3:
            return cls(node, node.tensor(), 2)
        if len(shape) == 2:
            lifted = node.builder.reshape(node.tensor(), (shape[0], 1, shape[1]), node.origin)
            return cls(node, lifted, 1)
        raise Rejected(
            "SNNC0111",
            f"{node.proto.op_type} of a sample of shape {list(shape)}: only one or two spatial axes",
        )

    @property
    def extent(self) -> Pair:
        """Height and width."""
        _, height, width = self.node.builder.shape(self.x)
        return height, width

    def pair(self, name: str, default: int) -> Pair:
        """An attribute of one integer per spatial axis; ``default`` along a lifted axis."""
        value = tuple(self.node.attribute(name) or (default,) * self.axes)
        if len(value) != self.axes:
            raise Rejected("SNNC0111", f"{name} = {list(value)}: {self.axes} spatial axes need as many")
        return (default, value[0]) if self.axes == 1 else (value[0], value[1])

    def quad(self, name: str) -> Pads:
        """An attribute of a begin and an end per spatial axis, as top, left, bottom, right."""
        value = tuple(self.node.attribute(name) or (0,) * (2 * self.axes))
        if len(value) != 2 * self.axes or min(value) < 0:
            raise Rejected(
                "SNNC0111", f"{name} = {list(value)}: needs {2 * self.axes}, none of them negative"
            )
        return (0, value[0], 0, value[1]) if self.axes == 1 else (value[0], value[1], value[2], value[3])

    def pads(self, kernel: Pair, strides: Pair, dilations: Pair = (1, 1)) -> Pads:
        """The pads of the node's windows. Raises :class:`Rejected` for strides or dilations below 1."""
        mode = self.node.attribute("auto_pad", "NOTSET")
        if min(*kernel, *strides, *dilations) < 1:
            raise Rejected("SNNC0113", "kernel, strides and dilations must be positive")
        if mode == "VALID":
            return (0, 0, 0, 0)
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            return _same(self.extent, kernel, strides, dilations, upper=mode == "SAME_UPPER")
        if mode != "NOTSET":
            raise Rejected("SNNC0111", f"auto_pad = {mode!r} is unknown")
        return self.quad("pads")

    def emit(self, kind: type[Op], **fields: Any) -> int:
        """Append an op on the plane; its result has the spatial axes of the model again."""
        return self.lowered(self.node.emit(kind, self.x, **fields))

    def lowered(self, y: int) -> int:
        """A result [C, H, W] without the lifted axis."""
        shape: Shape = self.node.builder.shape(y)
        if self.axes == 2:
            return y
        return self.node.builder.reshape(y, (shape[0], shape[2]), self.node.origin)


def _same(extent: Pair, kernel: Pair, strides: Pair, dilations: Pair, *, upper: bool) -> Pads:
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


def ceil_pads(extent: Pair, kernel: Pair, strides: Pair, pads: Pads) -> Pads:
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
