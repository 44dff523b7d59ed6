"""Converters of activations, and of ops that do nothing at inference.

Populations compute max(0, x) and min(max(0, x), c). Every activation of one bend or two is one of
them, or a sum of two, between affine maps; the identities are in the docstrings.
"""

from __future__ import annotations

import functools

import numpy as np
from onnx import TensorProto

from snnc.frontend.builder import Rejected
from snnc.frontend.convert_arithmetic import MINUS_ONE, ONE, ZERO, Array, affine, real, total
from snnc.frontend.node import OnnxNode
from snnc.ir.ops import UNBOUNDED, Add, Clip, FakeQuant, Relu

_REAL = ("float", "float32", "double", "float64", "float16", "bfloat16")


def relu(node: OnnxNode) -> int:
    """Relu; of what is not negative, it is that."""
    x = node.tensor()
    return x if isinstance(node.builder.network.op(x), Relu | Clip) else node.emit(Relu, x)


def clip(node: OnnxNode) -> int:
    """Clip with any bounds."""
    low, high = _bound(node, "min", 1, -np.inf), _bound(node, "max", 2, np.inf)
    return _clipped(node, node.tensor(), low, high)


def maximum(node: OnnxNode) -> int:
    """max(a, b) = b + max(0, a − b), of tensors and constants."""
    return _extreme(node, np.maximum, ONE)


def minimum(node: OnnxNode) -> int:
    """min(a, b) = b − max(0, b − a), of tensors and constants."""
    return _extreme(node, np.minimum, MINUS_ONE)


def _extreme(node: OnnxNode, fold: np.ufunc, sign: Array) -> int:
    indices = range(len(node.values))
    constants = [real(node, i) for i in indices if not isinstance(node.value(i), int)]
    first, *others = [node.tensor(i) for i in indices if isinstance(node.value(i), int)] or [node.tensor()]
    for other in others:
        minus = affine(node, other, MINUS_ONE, ZERO)
        above = node.emit(Relu, affine(node, total(node, [first, minus]), sign, ZERO))
        first = total(node, [other, affine(node, above, sign, ZERO)])
    if not constants:
        return first
    bound = np.asarray(functools.reduce(fold, constants))
    above = node.emit(Relu, affine(node, first, sign, -sign * bound))
    return affine(node, above, sign, bound)


def floor(node: OnnxNode) -> int:
    """Rounding down, where a clip bounds the levels, before or behind."""
    shifted = affine(node, node.tensor(), ONE, np.asarray(-0.5))
    return node.emit(FakeQuant, shifted, scale=ONE, low=-UNBOUNDED, high=UNBOUNDED, ties="up")


def nearest(node: OnnxNode) -> int:
    """Rounding to the nearest, where a clip bounds the levels, before or behind."""
    return node.emit(FakeQuant, node.tensor(), scale=ONE, low=-UNBOUNDED, high=UNBOUNDED)


def hard_sigmoid(node: OnnxNode) -> int:
    """min(max(0, α·x + β), 1)."""
    alpha, beta = (np.asarray(node.attribute(n, d)) for n, d in (("alpha", 0.2), ("beta", 0.5)))
    return node.emit(Clip, affine(node, node.tensor(), alpha, beta), maximum=1.0)


def leaky_relu(node: OnnxNode) -> int:
    """max(0, x) − α·max(0, −x)."""
    return _two_sided(node, np.asarray(node.attribute("alpha", 0.01)))


def prelu(node: OnnxNode) -> int:
    """max(0, x) − slope·max(0, −x)."""
    return _two_sided(node, node.weight(1, "slope"))


def absolute(node: OnnxNode) -> int:
    """max(0, x) + max(0, −x)."""
    return _two_sided(node, MINUS_ONE)


def thresholded_relu(node: OnnxNode) -> int:
    """ThresholdedRelu at 0, a ReLU; elsewhere it jumps."""
    alpha = node.attribute("alpha", 1.0)
    if alpha:
        raise Rejected(
            "SNNC0111",
            f"ThresholdedRelu jumps from 0 to {alpha:g}: a firing rate is continuous",
            "train with Relu in its place",
        )
    return relu(node)


def identity(node: OnnxNode) -> int:
    """Identity, and Dropout at inference."""
    node.only_first_output()
    training = node.constant(2, "training_mode") if node.proto.op_type == "Dropout" else None
    if training is not None and training.any():
        raise Rejected("SNNC0111", "Dropout in training mode", "export the model in evaluation mode")
    return node.tensor()


def cast(node: OnnxNode) -> int:
    """Cast and CastLike to a floating-point type: activations are real here."""
    like = node.value(1)
    name = like.dtype.name if isinstance(like, np.ndarray) else _type_name(node.attribute("to", 0))
    if name not in _REAL:
        raise Rejected("SNNC0111", f"{node.proto.op_type} of an activation to {name} rounds it")
    return node.tensor()


def _type_name(number: int) -> str:
    known = number in TensorProto.DataType.values()
    return TensorProto.DataType.Name(number).lower() if known else "an unknown type"


def _bound(node: OnnxNode, name: str, index: int, default: float) -> float:
    if node.opset < 11:
        return float(node.attribute(name, default))
    value = node.constant(index, name)
    if value is None:
        return default
    if value.size != 1 or value.dtype == object:
        raise Rejected("SNNC0113", f"the {name} of Clip has shape {value.shape}, not one fixed value")
    return float(value.ravel()[0])


def _clipped(node: OnnxNode, x: int, low: float, high: float) -> int:
    """Low + min(max(0, x − low), high − low); without a low bound high − max(0, high − x)."""
    most = float(np.finfo(np.float32).max)
    if np.isnan([low, high]).any() or not low < high or low >= most or high <= -most:
        raise Rejected("SNNC0114", f"bounds {low:g} and {high:g} leave no range")
    if high >= most and low <= -most:
        return x
    start, end = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if low <= -most:
        above = node.emit(Relu, affine(node, x, MINUS_ONE, end))
        return affine(node, above, MINUS_ONE, end)
    inner = affine(node, x, ONE, -start) if low else x
    inner = node.emit(Relu, inner) if high >= most else node.emit(Clip, inner, maximum=high - low)
    return affine(node, inner, ONE, start) if low else inner


def _two_sided(node: OnnxNode, slope: Array) -> int:
    """max(0, x) − slope·max(0, −x)."""
    x = node.tensor()
    positive = node.emit(Relu, x)
    if not slope.any():
        return positive
    negative = node.emit(Relu, affine(node, x, MINUS_ONE, ZERO))
    return node.emit(Add, positive, affine(node, negative, -slope, ZERO))
