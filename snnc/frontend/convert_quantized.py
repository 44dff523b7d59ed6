"""Converters of quantized graphs: QuantizeLinear and DequantizeLinear, QLinearConv and QLinearMatMul.

A quantized tensor is represented by the real values that its codes stand for, (q − z)·s. So
QuantizeLinear is y = s·clip(⌊x/s⌉, low, high), DequantizeLinear of the same scale changes nothing, and
ops that move codes need no other form.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.frontend.convert_arithmetic import affine
from snnc.frontend.convert_linear import conv, matmul
from snnc.frontend.fold import code_range
from snnc.frontend.node import OnnxNode
from snnc.ir.ops import Concat, FakeQuant, Input, MaxPool, Pad, Reshape, Slice, Transpose

Array = npt.NDArray[Any]

_MOVES = (Concat, MaxPool, Pad, Reshape, Slice, Transpose)


@dataclasses.dataclass(frozen=True)
class Grid:
    """What the codes of a tensor stand for: (q − zero)·scale, with ``low`` ≤ q − zero ≤ ``high``."""

    scale: Array
    zero: int
    low: int
    high: int


def quantize(node: OnnxNode) -> int:
    """QuantizeLinear of an activation."""
    return rounded(node, node.tensor(), grid(node, 1, 2))


def dequantize(node: OnnxNode) -> int:
    """DequantizeLinear of an activation."""
    return real(node, 0, grid(node, 1, 2))


def qlinear_conv(node: OnnxNode) -> int:
    """QLinearConv: the convolution of the real values, quantized."""
    x, weight, bias = real(node, 0, grid(node, 1, 2)), parameter(node, 3), node.optional_weight(8, "bias")
    if bias is not None:
        bias = bias * node.weight(1, "scale").ravel() * node.weight(4, "scale").ravel()
    y = conv(dataclasses.replace(node, values=[x, weight, bias]))
    return rounded(node, y, grid(node, 6, 7))


def qlinear_matmul(node: OnnxNode) -> int:
    """QLinearMatMul: the product of the real values, quantized."""
    x, weight = real(node, 0, grid(node, 1, 2)), parameter(node, 3)
    y = matmul(dataclasses.replace(node, values=[x, weight]))
    return rounded(node, y, grid(node, 6, 7))


def grid(node: OnnxNode, scale: int, zero: int) -> Grid:
    """Scale and zero point from two operands. Raises :class:`Rejected` for what is no grid of integers."""
    steps = node.weight(scale, "scale")
    offset = node.constant(zero, "zero point")
    if not (steps > 0).all() or node.attribute("block_size", 0):
        raise Rejected("SNNC0111", "scales must be positive, one for a tensor or for each of its channels")
    limits = code_range(offset, node.attribute("output_dtype", 0))
    if limits is None:
        raise Rejected("SNNC0111", "only quantization to integers is supported")
    zeros = np.zeros(1, np.int64) if offset is None else offset.astype(np.int64).ravel()
    if len(set(zeros.tolist())) != 1:
        raise Rejected("SNNC0111", "an activation needs one zero point for all channels")
    # only QuantizeLinear and DequantizeLinear have a scale for each channel, and their tensor comes first
    if steps.size > 1 and node.attribute("axis", 1) % (len(node.shape()) + 1) != 1:
        raise Rejected("SNNC0111", "an activation is quantized as a whole or for each channel, axis 1")
    first = int(zeros[0])
    vector = steps.reshape(()) if steps.size == 1 else steps.ravel()
    return Grid(vector, first, limits[0] - first, limits[1] - first)


def rounded(node: OnnxNode, x: int, codes: Grid) -> int:
    """The real values of the codes that are nearest to ``x``."""
    if codes.low > 0 or codes.high <= 0:
        raise Rejected("SNNC0114", f"zero point {codes.zero}: no code stands for zero")
    return node.emit(FakeQuant, x, scale=codes.scale, low=codes.low, high=codes.high)


def real(node: OnnxNode, index: int, codes: Grid) -> int:
    """The real values of a tensor of codes, read with ``codes``."""
    x = node.tensor(index)
    source = x
    while isinstance(node.builder.network.op(source), _MOVES):
        source = node.builder.network.operands(source)[0]
    made = node.builder.network.op(source)
    if isinstance(made, Input):
        shape = node.builder.shape(x)
        scale = _along_channels(codes.scale, shape)
        return affine(node, affine(node, x, np.ones(()), np.asarray(-float(codes.zero))), scale, np.zeros(()))
    if not isinstance(made, FakeQuant):
        raise Rejected("SNNC0111", f"{node.proto.op_type} of a tensor that was not quantized")
    # the same zero point gives the same lower end of the same integer type
    if (made.low, made.high) != (codes.low, codes.high) or not np.array_equal(made.scale.array, codes.scale):
        raise Rejected("SNNC0111", "a tensor is dequantized with other parameters than it was quantized with")
    return x


def _along_channels(scale: Array, shape: tuple[int, ...]) -> Array:
    return scale.reshape(-1, *(1,) * (len(shape) - 1)) if scale.ndim else scale


def parameter(node: OnnxNode, index: int) -> Array:
    """A quantized weight as the real values of its codes; scales are per tensor or per output."""
    codes, scale = node.weight(index, "weight"), node.weight(index + 1, "scale")
    zero = node.optional_weight(index + 2, "zero point")
    if scale.size > 1:
        # a convolution's outputs come first, those of a product last
        shape = (-1, *(1,) * (codes.ndim - 1)) if node.proto.op_type == "QLinearConv" else (1, -1)
        scale = scale.reshape(shape)
        zero = zero.reshape(shape) if zero is not None and zero.size > 1 else zero
    return (codes - (0 if zero is None else zero)) * scale
