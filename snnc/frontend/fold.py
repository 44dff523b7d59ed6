"""Evaluates ONNX ops on constants, with the batch size as a symbol.

Exporters compute shapes and pads by chains of small ops that begin at Shape or a Constant. Such a
value is a NumPy array; where it depends on the batch size it is an array of dtype object that mixes
integers with :class:`BatchSize`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

Array = npt.NDArray[Any]
Attributes = Mapping[str, Any]


class FoldError(ValueError):
    """A constant that cannot be computed; the message says why."""


@dataclasses.dataclass(frozen=True)
class BatchSize:
    """``factor``·N, where N is the number of samples in a batch."""

    factor: int = 1

    def __mul__(self, other: object) -> BatchSize:
        if not isinstance(other, int | np.integer):
            raise FoldError("it depends on the batch size")
        return BatchSize(self.factor * int(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> BatchSize | int:
        whole = self.factor // int(other) if isinstance(other, int | np.integer) and other else 0
        if isinstance(other, BatchSize) and self.factor % other.factor == 0:
            return self.factor // other.factor
        if whole * other != self.factor:  # type: ignore[operator]
            raise FoldError("it depends on the batch size")
        return BatchSize(whole)


@dataclasses.dataclass(frozen=True)
class Call:
    """One node on constants: ``inputs`` are None where an optional input is absent."""

    inputs: Sequence[Array | None]
    attributes: Attributes
    limit: int

    def data(self, index: int = 0) -> Array:
        """An input that must be there."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise FoldError(f"input {index} is missing")
        return value

    def ints(self, attribute: str, index: int) -> tuple[int, ...] | None:
        """Integers that older opsets have as an attribute and newer ones as an input."""
        if attribute in self.attributes:
            return tuple(self.attributes[attribute])
        value = self.inputs[index] if index < len(self.inputs) else None
        return None if value is None else integers(value)

    def bounded(self, count: int) -> None:
        """Refuse a result of more than ``limit`` elements before it takes memory."""
        if count > self.limit:
            raise FoldError(f"it would have {count} elements, more than {self.limit}")


def integers(value: Array) -> tuple[int, ...]:
    """The elements as integers. Raises :class:`FoldError` if one depends on the batch size."""
    flat = value.ravel().tolist()
    if any(isinstance(v, BatchSize) for v in flat):
        raise FoldError("it depends on the batch size")
    return tuple(int(v) for v in flat)


def evaluate(op_type: str, inputs: Sequence[Array | None], attributes: Attributes, limit: int) -> Array:
    """The first result of a node whose inputs are all constant.

    ``limit`` bounds its number of elements. Raises :class:`FoldError`; see :data:`FOLDABLE`.
    """
    try:
        with np.errstate(divide="raise", invalid="raise"):
            value = np.asarray(FOLDABLE[op_type](Call(inputs, attributes, limit)))
    except FoldError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
        symbolic = any(x is not None and x.dtype == object for x in inputs)
        raise FoldError("it depends on the batch size" if symbolic else str(error)) from None
    if value.dtype == object and all(isinstance(v, int) for v in value.ravel().tolist()):
        return value.astype(np.int64)
    return value


def shape_of(shape: tuple[int | BatchSize, ...], attributes: Attributes) -> Array:
    """What ONNX Shape returns for a tensor of ``shape``, with the batch axis first."""
    part = list(shape)[attributes.get("start", 0) : attributes.get("end")]
    value = np.empty(len(part), object)
    value[:] = part
    return value if any(isinstance(v, BatchSize) for v in part) else value.astype(np.int64)


def tensor_array(tensor: onnx.TensorProto) -> Array:
    """The array of a TensorProto. Raises :class:`FoldError` if it is not numeric or is malformed."""
    if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        raise FoldError("it holds no numbers")
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise FoldError(str(error)) from None


def _constant(call: Call) -> Array:
    kinds: dict[str, npt.DTypeLike] = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    for name, dtype in kinds.items():
        if name in call.attributes:
            return np.asarray(call.attributes[name], dtype)
    if "value" not in call.attributes:
        raise FoldError("it holds no numbers")
    return tensor_array(call.attributes["value"])


def _constant_of_shape(call: Call) -> Array:
    shape = integers(call.data())
    call.bounded(math.prod(shape))
    fill = call.attributes.get("value")
    return np.full(shape, np.float32(0) if fill is None else tensor_array(fill).ravel()[0])


def _gather(call: Call) -> Array:
    data, index = call.data(), call.data(1)
    axis = call.attributes.get("axis", 0)
    call.bounded(data.size // max(data.shape[axis], 1) * index.size)
    return np.asarray(data[(slice(None),) * (axis % data.ndim) + (index,)])


def _unsqueeze(call: Call) -> Array:
    return np.expand_dims(call.data(), call.ints("axes", 1) or ())


def _squeeze(call: Call) -> Array:
    return np.squeeze(call.data(), call.ints("axes", 1))


def _concat(call: Call) -> Array:
    parts = [call.data(i) for i in range(len(call.inputs))]
    call.bounded(sum(part.size for part in parts))
    return np.concatenate(parts, axis=call.attributes["axis"])


def _slice(call: Call) -> Array:
    data = call.data()
    starts, stops = call.ints("starts", 1) or (), call.ints("ends", 2) or ()
    axes = call.ints("axes", 3) or tuple(range(len(starts)))
    steps = call.ints("steps", 4) or (1,) * len(starts)
    index = [slice(None)] * data.ndim
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        # counting down to a stop before the first element has no spelling but None
        end = None if step < 0 and stop < -data.shape[axis] else stop
        index[axis] = slice(start, end, step)
    return np.asarray(data[tuple(index)])


def _cast(call: Call) -> Array:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(call.attributes["to"])
    if call.data().dtype == object:
        if not np.issubdtype(dtype, np.integer):
            raise FoldError("it depends on the batch size")
        return call.data()
    return call.data().astype(dtype)


def _reshape(call: Call) -> Array:
    data, target = call.data(), integers(call.data(1))
    if not call.attributes.get("allowzero", 0):
        target = tuple(data.shape[i] if n == 0 else n for i, n in enumerate(target))
    return data.reshape(target)


def _range(call: Call) -> Array:
    start, stop, step = (call.data(i).item() for i in range(3))
    call.bounded(math.ceil((stop - start) / step))
    return np.asarray(np.arange(start, stop, step))


def _expand(call: Call) -> Array:
    shape = np.broadcast_shapes(call.data().shape, integers(call.data(1)))
    call.bounded(math.prod(shape))
    return np.broadcast_to(call.data(), shape)


def _transpose(call: Call) -> Array:
    return call.data().transpose(call.attributes.get("perm"))


def _divide(a: Array, b: Array) -> Array:
    if a.dtype == object or b.dtype == object:
        return np.asarray(a // b)
    if np.issubdtype(a.dtype, np.integer):
        # ONNX truncates, NumPy rounds down
        return np.asarray(np.where((a < 0) != (b < 0), -(abs(a) // abs(b)), a // b), a.dtype)
    return np.asarray(a / b)


def _binary(function: Callable[[Array, Array], Any]) -> Callable[[Call], Array]:
    def fold(call: Call) -> Array:
        a, b = call.data(), call.data(1)
        call.bounded(math.prod(np.broadcast_shapes(a.shape, b.shape)))
        return np.asarray(function(a, b))

    return fold


def _unary(function: Callable[[Array], Any]) -> Callable[[Call], Array]:
    return lambda call: np.asarray(function(call.data()))


def _reduce_prod(call: Call) -> Array:
    keep = bool(call.attributes.get("keepdims", 1))
    return np.asarray(np.prod(call.data(), axis=call.ints("axes", 1), keepdims=keep))


FOLDABLE: dict[str, Callable[[Call], Array]] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(_divide),
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _unary(lambda x: x),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "Pow": _binary(np.power),
    "Range": _range,
    "ReduceProd": _reduce_prod,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""ONNX ops that are evaluated when all their inputs are constant."""
