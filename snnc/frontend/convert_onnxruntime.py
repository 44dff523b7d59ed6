"""Converters of onnxruntime's own operators (com.microsoft), which its quantizer and its optimiser write.

The quantized ones compute with the real values that codes stand for, and quantize the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, helper

from snnc.frontend import convert_activation as activation
from snnc.frontend.builder import Rejected
from snnc.frontend.convert_arithmetic import add, total
from snnc.frontend.convert_linear import conv, gemm
from snnc.frontend.convert_pooling import average_pool, global_average_pool
from snnc.frontend.convert_quantized import grid, parameter, real, rounded
from snnc.frontend.convert_shape import concat
from snnc.frontend.node import OnnxNode, Value

Array = npt.NDArray[Any]

_TYPES = {
    AttributeProto.INT: (
        "axis",
        "ceil_mode",
        "channels_last",
        "count_include_pad",
        "group",
        "transA",
        "transB",
    ),
    AttributeProto.INTS: ("dilations", "kernel_shape", "pads", "strides"),
    AttributeProto.FLOAT: ("activation_alpha", "activation_beta", "alpha", "beta"),
    AttributeProto.FLOATS: ("activation_params",),
    AttributeProto.STRING: ("activation", "auto_pad"),
}
ATTRIBUTES = {name: kind for kind, names in _TYPES.items() for name in names}
"""What the operators here may be given, and its type: onnx does not know them, so nobody else checks it."""


def check_attributes(node: OnnxNode) -> None:
    """Refuse a node with an attribute that no operator here has, or one of another type."""
    for attribute in node.proto.attribute:
        if ATTRIBUTES.get(attribute.name) != attribute.type:
            raise Rejected("SNNC0111", f"{node.proto.op_type} with {attribute.name!r} is not understood")


def qlinear_add(node: OnnxNode) -> int:
    """The sum of two quantized tensors, quantized."""
    y = add(_on(node, _operand(node, 0), _operand(node, 3)))
    return rounded(node, y, grid(node, 6, 7))


def qlinear_concat(node: OnnxNode) -> int:
    """Concat of quantized tensors, each quantized anew."""
    parts = [real(node, i, grid(node, i + 1, i + 2)) for i in range(2, len(node.values), 3)]
    return rounded(node, concat(_on(node, *parts)), grid(node, 0, 1))


def qlinear_average_pool(node: OnnxNode) -> int:
    """AveragePool of a quantized tensor, quantized."""
    return _unary(node, average_pool)


def qlinear_global_average_pool(node: OnnxNode) -> int:
    """GlobalAveragePool of a quantized tensor, quantized."""
    return _unary(node, global_average_pool)


def qlinear_leaky_relu(node: OnnxNode) -> int:
    """LeakyRelu of a quantized tensor, quantized."""
    return _unary(node, activation.leaky_relu)


def qgemm(node: OnnxNode) -> int:
    """Gemm of a quantized tensor; the result is quantized if it has a scale."""
    x, weight, bias = real(node, 0, grid(node, 1, 2)), parameter(node, 3), node.optional_weight(6, "bias")
    if bias is not None:
        # it is added to the sum of products of codes, so α is a factor of it too
        step = node.weight(1, "scale").ravel() * node.weight(4, "scale").ravel()
        bias = bias * step * node.attribute("alpha", 1.0)
    y = gemm(_on(node, x, weight, bias))
    return y if node.value(7) is None else rounded(node, y, grid(node, 7, 8))


def fused_conv(node: OnnxNode) -> int:
    """Conv, plus a tensor if there is a fourth operand, and the activation that was fused with it."""
    y = conv(_on(node, *node.values[:3]))
    if node.value(3) is not None:
        y = total(node, [y, node.tensor(3)])
    return _activated(node, y)


def fused_gemm(node: OnnxNode) -> int:
    """Gemm and the activation that was fused with it."""
    return _activated(node, gemm(node))


def _on(node: OnnxNode, *values: Value | None) -> OnnxNode:
    return dataclasses.replace(node, values=values)


def _operand(node: OnnxNode, index: int) -> Value:
    """The real values of a quantized operand, which may be constant."""
    if isinstance(node.value(index), int):
        return real(node, index, grid(node, index + 1, index + 2))
    return parameter(node, index)


def _unary(node: OnnxNode, convert: Callable[[OnnxNode], int]) -> int:
    if node.attribute("channels_last", 0):
        raise Rejected("SNNC0111", f"{node.proto.op_type} with the channels last is not supported")
    y = convert(_on(node, real(node, 0, grid(node, 1, 2))))
    return rounded(node, y, grid(node, 3, 4))


def _activated(node: OnnxNode, y: int) -> int:
    """The activation named by an attribute, with its parameters, as a node of its own."""
    kind = node.attribute("activation", "")
    parameters: Sequence[float] = node.attribute("activation_params", ()) or (
        node.attribute("activation_alpha", 0.01),
        node.attribute("activation_beta", 0.0),
    )
    if kind == "":
        return y
    if kind == "Relu":
        return activation.relu(_on(node, y))
    if kind == "Clip":
        bounded = _on(node, y, *(np.asarray(value) for value in parameters))
        # bounds are operands since opset 11
        return activation.clip(dataclasses.replace(bounded, opset=max(node.opset, 11)))
    names = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}.get(kind)
    if names is None:
        raise Rejected("SNNC0110", f"{node.proto.op_type} with the activation {kind} is not supported")
    proto = helper.make_node(kind, [], [], node.name)
    proto.attribute.extend(map(helper.make_attribute, names, parameters))
    convert = activation.leaky_relu if kind == "LeakyRelu" else activation.hard_sigmoid
    return convert(dataclasses.replace(_on(node, y), proto=proto))
