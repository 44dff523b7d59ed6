"""Converters of weighted layers: Conv, Gemm, MatMul, normalisations and arithmetic with constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.frontend.window import resolve_pads
from snnc.ir.constants import Constant
from snnc.ir.ops import Add, BatchNorm, Conv2d, Dense, Scale
from snnc.ir.types import Shape

Array = npt.NDArray[Any]

_ONE, _ZERO, _MINUS_ONE = (np.asarray(value, np.float64) for value in (1, 0, -1))


def conv(node: OnnxNode) -> int:
    """Conv on two spatial axes, with groups, dilations and any pads."""
    weight = node.weight(1, "weight")
    bias = node.optional_weight(2, "bias")
    shape = node.shape()
    if len(shape) != 3 or weight.ndim != 4:
        raise Rejected("SNNC0111", f"Conv of a sample of shape {list(shape)}: only 2-D convolutions")
    kernel = node.pair("kernel_shape", 0) if node.attribute("kernel_shape") else weight.shape[2:]
    if kernel != weight.shape[2:]:
        raise Rejected("SNNC0113", f"kernel_shape {list(kernel)} is not that of the weight {weight.shape}")
    strides, dilations = node.pair("strides", 1), node.pair("dilations", 1)
    return node.emit(
        Conv2d,
        node.tensor(),
        weight=weight,
        bias=bias,
        strides=strides,
        pads=resolve_pads(node, kernel, strides, dilations),
        dilations=dilations,
        groups=node.attribute("group", 1),
    )


def gemm(node: OnnxNode) -> int:
    """α·x·B + β·C with constant B and C."""
    if node.attribute("transA", 0):
        raise Rejected("SNNC0111", "Gemm with transA = 1 mixes samples")
    x, b, c = node.tensor(), node.weight(1, "weight"), node.optional_weight(2, "bias")
    if b.ndim != 2:
        raise Rejected("SNNC0113", f"the weight of shape {b.shape} is not a matrix")
    weight = (b if node.attribute("transB", 0) else b.T) * node.attribute("alpha", 1.0)
    bias = None if c is None else _gemm_bias(c, weight.shape[0]) * node.attribute("beta", 1.0)
    return node.emit(Dense, x, weight=weight, bias=bias)


def _gemm_bias(c: Array, rows: int) -> Array:
    try:
        return np.asarray(np.broadcast_to(c, (1, rows))[0])
    except ValueError:
        raise Rejected("SNNC0113", f"the bias of shape {c.shape} does not fit {rows} outputs") from None


def matmul(node: OnnxNode) -> int:
    """x·B with constant B [K, M]."""
    if not isinstance(node.value(0), int):
        raise Rejected("SNNC0111", "MatMul with the constant on the left mixes samples")
    b = node.weight(1, "weight")
    if b.ndim != 2 or len(node.shape()) != 1:
        raise Rejected(
            "SNNC0111", f"MatMul of {['N', *node.shape()]} and {list(b.shape)}: only [N, K] by [K, M]"
        )
    return node.emit(Dense, node.tensor(), weight=b.T)


def batch_norm(node: OnnxNode) -> int:
    """BatchNormalization at inference, with the model's own ε."""
    node.only_first_output()
    if node.attribute("training_mode", 0) or not node.attribute("spatial", 1):
        raise Rejected(
            "SNNC0111",
            "BatchNormalization in training mode, or with statistics for each position",
            "export the model in evaluation mode",
        )
    names = ("gamma", "beta", "mean", "variance")
    parameters = {name: node.weight(i, name) for i, name in enumerate(names, 1)}
    epsilon = float(node.attribute("epsilon", 1e-5))
    # NaN compares as false
    if not (parameters["variance"] + epsilon > 0).all():
        raise Rejected("SNNC0114", "the variance of a channel plus epsilon is not positive")
    return node.emit(BatchNorm, node.tensor(), epsilon=epsilon, **parameters)


def add(node: OnnxNode) -> int:
    """Add of tensors or of a constant; Sum adds any number of tensors."""
    if all(isinstance(value, int) for value in node.values):
        operands = [node.tensor(i) for i in range(len(node.values))]
        return node.emit(Add, *operands) if len(operands) > 1 else operands[0]
    x, c, _ = _with_constant(node)
    return _affine(node, x, _ONE, c)


def subtract(node: OnnxNode) -> int:
    """Sub with a constant on either side."""
    x, c, reversed_ = _with_constant(node)
    return _affine(node, x, _MINUS_ONE, c) if reversed_ else _affine(node, x, _ONE, -c)


def multiply(node: OnnxNode) -> int:
    """Mul by a constant on either side."""
    x, c, _ = _with_constant(node)
    return _affine(node, x, c, _ZERO)


def divide(node: OnnxNode) -> int:
    """Div by a constant."""
    x, c, reversed_ = _with_constant(node)
    if reversed_:
        raise Rejected("SNNC0111", "a constant divided by an activation is not linear")
    if not c.all():
        raise Rejected("SNNC0114", "the divisor holds zeros")
    return _affine(node, x, 1 / c, _ZERO)


def _with_constant(node: OnnxNode) -> tuple[int, Array, bool]:
    """The computed operand, the constant one, and whether the constant comes first."""
    if len(node.values) != 2:
        raise Rejected("SNNC0111", f"{node.proto.op_type} of constants and tensors")
    if all(isinstance(value, int) for value in node.values):
        raise Rejected(
            "SNNC0111",
            f"{node.proto.op_type} of two computed tensors is not supported; only Add is",
        )
    reversed_ = isinstance(node.value(1), int)
    index = int(reversed_)
    return node.tensor(index), node.weight(1 - index, "constant"), reversed_


def _affine(node: OnnxNode, x: int, factor: Array, offset: Array) -> int:
    """factor·x + offset, one of them a scalar, the other varying along one axis of ``x`` at most."""
    shape = node.builder.shape(x)
    axis, vectors = 0, []
    for value in (factor, offset):
        along, vector = _along_one_axis(np.asarray(value), shape)
        axis = along or axis
        vectors.append(vector)
    weight, bias = vectors
    if axis == 0:
        return _merged_bias(node, x, weight, bias) or node.emit(Scale, x, weight=weight, bias=_some(bias))
    perm = (axis, *(a for a in range(len(shape)) if a != axis))
    back = tuple(int(a) for a in np.argsort(perm))
    front = node.builder.transpose(x, perm, node.origin)
    scaled = node.emit(Scale, front, weight=weight, bias=_some(bias))
    return node.builder.transpose(scaled, back, node.origin)


def _some(bias: Array) -> Array | None:
    return bias if bias.any() else None


def _along_one_axis(value: Array, shape: Shape) -> tuple[int, Array]:
    """The axis of a sample along which ``value`` varies, 0 if none, and the vector or scalar."""
    rank = len(shape) + 1
    full = value.reshape((1,) * (rank - value.ndim) + value.shape)
    try:
        fits = full.ndim == rank and np.broadcast_shapes(full.shape, (1, *shape)) == (1, *shape)
    except ValueError:
        fits = False
    if not fits:
        raise Rejected("SNNC0113", f"a constant of shape {list(value.shape)} does not fit {['N', *shape]}")
    axes = [axis for axis, n in enumerate(full.shape) if n > 1]
    if not axes:
        return 0, full.reshape(())
    if len(axes) > 1:
        raise Rejected(
            "SNNC0111",
            f"a constant of shape {list(value.shape)} varies along more than one axis",
            "only scalars and one value per channel are supported",
        )
    return axes[0] - 1, full.ravel()


def _merged_bias(node: OnnxNode, x: int, weight: Array, bias: Array) -> int | None:
    """Make an offset the bias of the layer before, if nothing else reads that layer's result."""
    op = node.builder.network.op(x)
    index = 0 if isinstance(node.value(0), int) else 1
    tensor = node.proto.input[index]
    # an op whose source is another name is read under that name too
    if not isinstance(op, Conv2d | Dense) or op.source != tensor or node.uses[tensor] != 1:
        return None
    if weight.shape or weight != 1:
        return None
    old = op.bias.array if op.bias is not None else np.zeros(op.weight.shape[0])
    merged = op.replace(bias=Constant(old + bias), origin=op.origin + node.origin, source="")
    node.builder.set(x, merged)
    return x
