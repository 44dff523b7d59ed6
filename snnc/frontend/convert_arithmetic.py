"""Converters of arithmetic: sums of tensors, and everything affine in one tensor and constants.

Constants broadcast as in NumPy. A factor or offset per channel is a Scale; along another axis, that
axis is brought to the front first; a factor per element is a Scale of the flat tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.frontend.repeat import broadcast
from snnc.ir.constants import Constant
from snnc.ir.ops import Add, Conv2d, Dense, Scale
from snnc.ir.types import Shape

Array = npt.NDArray[Any]

ONE, ZERO, MINUS_ONE = (np.asarray(value, np.float64) for value in (1, 0, -1))


def add(node: OnnxNode) -> int:
    """Add and Sum of tensors and constants."""
    tensors = [i for i, value in enumerate(node.values) if isinstance(value, int)]
    x = total(node, [node.tensor(i) for i in tensors] or [node.tensor()])
    constants = [real(node, i) for i in range(len(node.values)) if i not in tensors]
    if not constants:
        return x
    return affine(node, x, ONE, _constant(constants))


def mean(node: OnnxNode) -> int:
    """Mean of tensors and constants."""
    return affine(node, add(node), np.asarray(1 / len(node.values)), ZERO)


def subtract(node: OnnxNode) -> int:
    """Sub of tensors, or with a constant on either side."""
    if all(isinstance(value, int) for value in node.values):
        minus = node.emit(Scale, node.tensor(1), weight=MINUS_ONE)
        return total(node, [node.tensor(), minus])
    x, c, reversed_ = _with_constant(node)
    return affine(node, x, MINUS_ONE, c) if reversed_ else affine(node, x, ONE, -c)


def multiply(node: OnnxNode) -> int:
    """Mul by a constant on either side."""
    x, c, _ = _with_constant(node)
    return affine(node, x, c, ZERO)


def divide(node: OnnxNode) -> int:
    """Div by a constant."""
    x, c, reversed_ = _with_constant(node)
    if reversed_:
        raise Rejected("SNNC0111", "a constant divided by an activation is not linear")
    if not c.all():
        raise Rejected("SNNC0114", "the divisor holds zeros")
    return affine(node, x, 1 / c, ZERO)


def negate(node: OnnxNode) -> int:
    """Neg."""
    return affine(node, node.tensor(), MINUS_ONE, ZERO)


def total(node: OnnxNode, operands: list[int]) -> int:
    """The sum of tensors that broadcast to each other."""
    if len(operands) == 1:
        return operands[0]
    shape = _common(node, [node.builder.shape(x) for x in operands])
    return node.emit(Add, *(broadcast(node, x, shape) for x in operands))


def _constant(constants: list[Array]) -> Array:
    try:
        return np.asarray(sum(constants[1:], start=constants[0]))
    except ValueError as error:
        raise Rejected("SNNC0113", f"the constants do not fit each other: {error}") from None


def _common(node: OnnxNode, shapes: list[Shape]) -> Shape:
    """The shape to which samples broadcast; of unlike rank, the shorter's batch axis would meet another."""
    try:
        if len({len(shape) for shape in shapes}) > 1:
            raise ValueError
        return tuple(map(int, np.broadcast_shapes(*shapes)))
    except ValueError:
        shown = ", ".join(str(["N", *shape]) for shape in shapes)
        raise Rejected("SNNC0113", f"operands differ in shape: {shown}") from None


def real(node: OnnxNode, index: int) -> Array:
    """A constant operand that is not an integer: arithmetic of integers wraps around and truncates."""
    value = node.constant(index, "constant")
    if value is not None and value.dtype.kind in "iub":
        raise Rejected("SNNC0111", f"{node.proto.op_type} of integers", "cast the input to float first")
    return node.weight(index, "constant")


def _with_constant(node: OnnxNode) -> tuple[int, Array, bool]:
    """The computed operand, the constant one, and whether the constant comes first."""
    if len(node.values) != 2 or all(isinstance(value, int) for value in node.values):
        raise Rejected("SNNC0111", f"{node.proto.op_type} is supported of one tensor and one constant only")
    reversed_ = isinstance(node.value(1), int)
    index = int(reversed_)
    return node.tensor(index), real(node, 1 - index), reversed_


def affine(node: OnnxNode, x: int, factor: Array, offset: Array) -> int:
    """factor·x + offset, where one of them is a scalar."""
    shape = node.builder.shape(x)
    weight, bias = (_as_sample(value, shape) for value in (factor, offset))
    x = broadcast(node, x, _common(node, [shape, _full(weight, shape), _full(bias, shape)]))
    shape = node.builder.shape(x)
    varying = [axis for axis in range(len(shape)) if any(_varies(v, axis) for v in (weight, bias))]
    if not varying or varying == [0]:
        weight, bias = weight.reshape(-1), bias.reshape(-1)
        return _scaled(node, x, *(v if v.size > 1 else v.reshape(()) for v in (weight, bias)))
    if len(varying) == 1:
        return _along(node, x, varying[0], weight, bias)
    if not weight.ndim and weight == 1:
        return _scaled(node, x, weight, np.broadcast_to(bias, shape))
    flat = node.builder.reshape(x, (int(np.prod(shape)),), node.origin)
    rows = (np.broadcast_to(v, shape).ravel() if v.ndim else v for v in (weight, bias))
    return node.builder.reshape(_scaled(node, flat, *rows), shape, node.origin)


def _as_sample(value: Array, shape: Shape) -> Array:
    """A constant with one axis per axis of a sample, or a scalar."""
    value = np.asarray(value)
    if value.size == 1 and value.ndim <= len(shape) + 1:
        return value.reshape(())
    full = value.reshape((1,) * (len(shape) + 1 - value.ndim) + value.shape)
    if full.ndim != len(shape) + 1 or full.shape[0] != 1:
        raise Rejected("SNNC0113", f"a constant of shape {list(value.shape)} does not fit {['N', *shape]}")
    return np.asarray(full[0])


def _full(value: Array, shape: Shape) -> Shape:
    return value.shape if value.ndim else (1,) * len(shape)


def _varies(value: Array, axis: int) -> bool:
    return bool(value.ndim) and value.shape[axis] > 1


def _along(node: OnnxNode, x: int, axis: int, weight: Array, bias: Array) -> int:
    """Brings ``axis``, along which weight or bias vary, to the front and back."""
    rank = len(node.builder.shape(x))
    perm = (axis, *(a for a in range(rank) if a != axis))
    back = tuple(int(a) for a in np.argsort(perm))
    front = node.builder.transpose(x, perm, node.origin)
    scaled = node.emit(Scale, front, weight=_vector(weight), bias=_some(_vector(bias)))
    return node.builder.transpose(scaled, back, node.origin)


def _vector(value: Array) -> Array:
    return value.ravel() if value.ndim else value


def _scaled(node: OnnxNode, x: int, weight: Array, bias: Array) -> int:
    return _merged_bias(node, x, weight, bias) or node.emit(Scale, x, weight=weight, bias=_some(bias))


def _some(bias: Array) -> Array | None:
    return bias if bias.any() else None


def _merged_bias(node: OnnxNode, x: int, weight: Array, bias: Array) -> int | None:
    """Make an offset the bias of the layer before, if nothing else reads that layer's result."""
    op = node.builder.network.op(x)
    operands = zip(node.proto.input, node.values, strict=False)
    tensor = next((name for name, value in operands if isinstance(value, int) and value == x), None)
    # an op whose source is another name is read under that name too
    if tensor is None or not isinstance(op, Conv2d | Dense) or op.source != tensor or node.uses[tensor] != 1:
        return None
    if weight.shape or weight != 1:
        return None
    old = op.bias.array if op.bias is not None else np.zeros(op.weight.shape[0])
    wide = old.reshape(old.shape + (1,) * (bias.ndim - old.ndim)) if bias.ndim else old
    merged = op.replace(bias=Constant(wide + bias), origin=op.origin + node.origin, source="")
    node.builder.set(x, merged)
    return x
