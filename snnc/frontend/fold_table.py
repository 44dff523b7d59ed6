"""The ONNX ops that are evaluated where all of their inputs are constant."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from snnc.frontend.fold import (
    Array,
    Attributes,
    Call,
    FoldError,
    code_range,
    integers,
    sparse_array,
    tensor_array,
)


def evaluate(op_type: str, inputs: Sequence[Array | None], attributes: Attributes, limit: int) -> list[Array]:
    """The results of a node whose inputs are all constant.

    ``limit`` bounds their number of elements. Raises :class:`FoldError`; see :data:`FOLDABLE`.
    """
    try:
        with np.errstate(divide="raise", invalid="raise"):
            found = FOLDABLE[op_type](Call(inputs, attributes, limit))
            return [_plain(np.asarray(value)) for value in (found if isinstance(found, list) else [found])]
    except FoldError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
        symbolic = any(x is not None and x.dtype == object for x in inputs)
        raise FoldError("it depends on the batch size" if symbolic else str(error)) from None


def _plain(value: Array) -> Array:
    """``value`` as integers where no element depends on the batch size any more."""
    if value.dtype == object and all(isinstance(v, int) for v in value.ravel().tolist()):
        return value.astype(np.int64)
    return value


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
    if "sparse_value" in call.attributes:
        return sparse_array(call.attributes["sparse_value"], call.limit)
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


def _dequantize(call: Call) -> Array:
    """(q − z)·s, with s and z for the whole tensor, for each index of an axis, or for each block of it."""
    data = call.data()
    scale, zero = (_spread(call, i, data) for i in (1, 2))
    # in float64 the product is exact, so that the codes can be found again
    return np.asarray((data.astype(np.float64) - zero) * scale)


def _quantize(call: Call) -> Array:
    """clip(⌊x/s⌉ + z), rounded half to even."""
    data = call.data()
    scale, zero = (_spread(call, i, data) for i in (1, 2))
    offset = call.inputs[2] if len(call.inputs) > 2 else None
    limits = code_range(offset, call.attributes.get("output_dtype", 0))
    if limits is None:
        raise FoldError("only quantization to integers is supported")
    ratio = data.astype(np.float32) / scale.astype(np.float32)
    return np.asarray(np.clip(np.rint(ratio) + zero, *limits), np.int32)


def _spread(call: Call, index: int, data: Array) -> Array:
    """A scale or zero point, 0 if absent, that broadcasts over ``data``."""
    value = call.inputs[index] if index < len(call.inputs) else None
    if value is None:
        return np.zeros(())
    value = value.astype(np.float64)
    axis, block = call.attributes.get("axis", 1), call.attributes.get("block_size", 0)
    if block:
        if not 0 < block <= data.shape[axis]:
            raise FoldError(f"blocks of {block} do not fit axis {axis}")
        wide = np.repeat(value, block, axis)
        return np.asarray(wide[tuple(slice(n) for n in data.shape)])
    if value.size == 1:
        return value.reshape(())
    return value.reshape([-1 if a == axis % data.ndim else 1 for a in range(data.ndim)])


def _split(call: Call) -> list[Array]:
    data, axis = call.data(), call.attributes.get("axis", 0)
    sizes = call.ints("split", 1)
    if sizes is None:
        raise FoldError("its number of parts is not given")
    return np.split(data, np.cumsum(sizes)[:-1], axis)


def _tile(call: Call) -> Array:
    repeats = integers(call.data(1))
    call.bounded(call.data().size * math.prod(repeats))
    return np.tile(call.data(), repeats)


def _pad(call: Call) -> Array:
    data, pads = call.data(), call.ints("pads", 1) or ()
    if call.attributes.get("mode", "constant") != "constant" or len(pads) != 2 * data.ndim:
        raise FoldError("only constant pads of every axis")
    pairs = list(zip(pads, pads[data.ndim :], strict=False))
    call.bounded(math.prod(n + a + b for n, (a, b) in zip(data.shape, pairs, strict=True)))
    fill = call.inputs[2] if len(call.inputs) > 2 else None
    return np.pad(data, pairs, constant_values=0 if fill is None else fill.item())


def _flatten(call: Call) -> Array:
    data, axis = call.data(), call.attributes.get("axis", 1)
    rows = math.prod(data.shape[: axis if axis >= 0 else axis + data.ndim])
    return data.reshape(rows, -1)


def _where(call: Call) -> Array:
    parts = [call.data(i) for i in range(3)]
    call.bounded(math.prod(np.broadcast_shapes(*(part.shape for part in parts))))
    return np.where(parts[0], parts[1], parts[2])


def _variadic(function: Callable[[Array, Array], Any]) -> Callable[[Call], Array]:
    def fold(call: Call) -> Array:
        parts = [call.data(i) for i in range(len(call.inputs))]
        call.bounded(math.prod(np.broadcast_shapes(*(part.shape for part in parts))))
        return np.asarray(functools.reduce(function, parts))

    return fold


def _binary(function: Callable[[Array, Array], Any]) -> Callable[[Call], Array]:
    def fold(call: Call) -> Array:
        a, b = call.data(), call.data(1)
        call.bounded(math.prod(np.broadcast_shapes(a.shape, b.shape)))
        return np.asarray(function(a, b))

    return fold


def _unary(function: Callable[[Array], Any]) -> Callable[[Call], Array]:
    return lambda call: np.asarray(function(call.data()))


def _reduction(function: Callable[..., Any]) -> Callable[[Call], Array]:
    def fold(call: Call) -> Array:
        keep = bool(call.attributes.get("keepdims", 1))
        return np.asarray(function(call.data(), axis=call.ints("axes", 1), keepdims=keep))

    return fold


FOLDABLE: dict[str, Callable[[Call], Array | list[Array]]] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Div": _binary(_divide),
    "Equal": _binary(np.equal),
    "Exp": _unary(np.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "Greater": _binary(np.greater),
    "Identity": _unary(lambda x: x),
    "Less": _binary(np.less),
    "Max": _variadic(np.maximum),
    "Min": _variadic(np.minimum),
    "Mod": _binary(np.mod),
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or),
    "Pad": _pad,
    "Pow": _binary(np.power),
    "QuantizeLinear": _quantize,
    "Range": _range,
    "Reciprocal": _unary(np.reciprocal),
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Sum": _variadic(np.add),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""ONNX ops that are evaluated when all their inputs are constant."""
