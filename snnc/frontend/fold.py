"""Constants that are computed: arrays in which the batch size is a symbol.

Exporters compute shapes and pads by chains of small ops that begin at Shape or a Constant. Such a
value is a NumPy array; where it depends on the batch size it is an array of dtype object that mixes
integers with :class:`BatchSize`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

Array = npt.NDArray[Any]
Attributes = Mapping[str, Any]

_MOST_INTEGERS = 1 << 16
"""Shapes, axes and sizes are short; a list of Python integers takes much more than an array."""


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
            raise FoldError(f"it would have {count} elements, more than the {self.limit} left")


def integers(value: Array) -> tuple[int, ...]:
    """The elements as integers. Raises :class:`FoldError` if one depends on the batch size."""
    if value.size > _MOST_INTEGERS:
        raise FoldError(f"it is a list of {value.size} integers, more than {_MOST_INTEGERS}")
    flat = value.ravel().tolist()
    if any(isinstance(v, BatchSize) for v in flat):
        raise FoldError("it depends on the batch size")
    return tuple(int(v) for v in flat)


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
    except KeyError:
        raise FoldError(f"its element type {tensor.data_type} is unknown") from None
    except (ValueError, TypeError) as error:
        raise FoldError(str(error)) from None


def sparse_array(sparse: onnx.SparseTensorProto, limit: int) -> Array:
    """The dense array of a sparse tensor of at most ``limit`` elements. Raises :class:`FoldError`."""
    values, indices = tensor_array(sparse.values), tensor_array(sparse.indices)
    shape = tuple(sparse.dims)
    size = math.prod(shape)
    if size > limit:
        raise FoldError(f"it would have {size} elements, more than {limit}")
    try:
        if indices.ndim == 2:
            indices = np.ravel_multi_index(tuple(indices.T), shape)
        dense = np.zeros(size, values.dtype)
        dense[indices] = values
    except (ValueError, IndexError, TypeError) as error:
        raise FoldError(str(error)) from None
    return dense.reshape(shape)


def code_range(zero: Array | None, output_dtype: int = 0) -> tuple[int, int] | None:
    """The least and greatest code of a quantized tensor; None if its type is not integer.

    The type is the zero point's, else ``output_dtype``, an ONNX number, else uint8.
    """
    name = zero.dtype.name if zero is not None else "uint8"
    if zero is None and output_dtype in onnx.TensorProto.DataType.values():
        name = onnx.TensorProto.DataType.Name(output_dtype).lower() if output_dtype else name
    found = re.fullmatch(r"(u?)int(\d+)", name)
    if found is None:
        return None
    bits = int(found[2])
    return (0, (1 << bits) - 1) if found[1] else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
