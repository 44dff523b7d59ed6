"""NIR's linear nodes as ops of the IR."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.ir.ops import Conv2d, Dense, Scale, SumPool

Array = npt.NDArray[Any]
Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Weights:
    """An op's class, weights, bias, shift, and the window of a convolution."""

    kind: type[Conv2d] | type[Dense] | type[Scale]
    weight: Array
    bias: Array | None
    shift: int = 0
    window: dict[str, Any] = dataclasses.field(default_factory=dict)


def weights(node: Any, shape: tuple[int, ...], *, exact: bool) -> Weights:
    """The weighted op of a node whose operand has ``shape``; ``exact`` asks for integers and a shift.

    Raises :class:`Rejected` for values and forms that cannot be read.
    """
    kind = type(node).__name__
    array = finite(node.scale if kind == "Scale" else node.weight, "weights")
    given = getattr(node, "bias", None)
    bias = None if given is None else finite(given, "biases")
    window_fields: dict[str, Any] = {}
    op: type[Conv2d] | type[Dense] | type[Scale] = Dense
    if kind == "Conv2d":
        op, window_fields = Conv2d, _convolution(node, array)
    elif kind == "Scale":
        op, array = Scale, per_channel(array, shape, "a scale")
    elif array.ndim != 2:
        raise Rejected("SNNC0113", f"weights of shape {list(array.shape)} are not [M, K]")
    if not exact:
        return Weights(op, array, bias, 0, window_fields)
    codes, shift = _integers(array)
    return Weights(op, codes, None if bias is None else _whole(bias), shift, window_fields)


def window(node: Any) -> dict[str, Any]:
    """Kernel, strides and pads of a pool."""
    top, left = _pair(node.padding, least=0)
    return {
        "kernel": _pair(node.kernel_size),
        "strides": _pair(node.stride),
        "pads": (top, left, top, left),
    }


def as_pool(node: Any) -> SumPool | None:
    """The sum pool that snnc wrote as a convolution: one rectangle of ones for each channel on itself."""
    if type(node).__name__ != "Conv2d" or node.weight.shape[0] != node.weight.shape[1]:
        return None
    pattern = node.weight[0, 0] != 0
    eye = np.eye(len(node.weight))[:, :, None, None]
    if not pattern.any() or not np.array_equal(node.weight, eye * pattern) or np.asarray(node.bias).any():
        return None
    rows, columns = np.flatnonzero(pattern.any(axis=1)), np.flatnonzero(pattern.any(axis=0))
    (up, left), size = _pair(node.padding, least=0), pattern.shape
    pads = (
        up - rows[0],
        left - columns[0],
        up - (size[0] - 1 - rows[-1]),
        left - (size[1] - 1 - columns[-1]),
    )
    if min(pads) < 0 or _pair(node.dilation) != (1, 1):
        return None
    top, start, bottom, end = (int(p) for p in pads)
    return SumPool(
        kernel=(len(rows), len(columns)), strides=_pair(node.stride), pads=(top, start, bottom, end)
    )


def finite(value: Any, what: str) -> Array:
    """The array as float64. Raises :class:`Rejected` if it is empty, not numbers or not finite."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise Rejected("SNNC0114", f"the {what} are not numbers") from None
    if not array.size:
        raise Rejected("SNNC0114", f"the {what} are empty")
    if not np.isfinite(array).all():
        raise Rejected("SNNC0114", f"the {what} hold NaN or infinite values")
    return array


def per_channel(array: Array, shape: tuple[int, ...], what: str) -> Array:
    """A parameter of a population as [] or [C]. Raises :class:`Rejected` if it differs between positions."""
    if array.size == 1 or (array == array.flat[0]).all():
        return np.array(array.flat[0])
    rows = array.reshape(len(array), -1)
    if len(array) != shape[0] or (rows != rows[:, :1]).any():
        raise Rejected("SNNC0111", f"{what} that differs between positions of a channel is not supported")
    return np.array(rows[:, 0])


def _convolution(node: Any, array: Array) -> dict[str, Any]:
    if array.ndim != 4:
        raise Rejected("SNNC0113", f"weights of shape {list(array.shape)} are not [M, C, kh, kw]")
    dilations, strides = _pair(node.dilation), _pair(node.stride)
    named = isinstance(node.padding, bytes | str)
    padding = str(node.padding, "ascii") if isinstance(node.padding, bytes) else node.padding
    if named and padding == "same":
        extents = [d * (k - 1) for k, d in zip(array.shape[2:], dilations, strict=True)]
        before = [e // 2 for e in extents]
        pads = (*before, *(e - b for e, b in zip(extents, before, strict=True)))
    elif named and padding == "valid":
        pads = (0, 0, 0, 0)
    else:
        pads = _pair(padding, least=0) * 2
    return {"strides": strides, "pads": pads, "dilations": dilations, "groups": int(np.asarray(node.groups))}


def _pair(value: Any, least: int = 1) -> Pair:
    """One or two integers as two. Raises :class:`Rejected`."""
    try:
        array = np.asarray(value)
        numbers = [int(n) for n in array.ravel()]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < least or (array != array.astype(np.int64)).any():
        raise Rejected("SNNC0111", f"{value} is not one or two integers of at least {least}")
    return numbers[0], numbers[-1]


def _whole(array: Array) -> Array:
    rounded = np.rint(array)
    if (rounded != array).any() or np.abs(rounded).max(initial=0) >= 1 << 31:
        raise Rejected("SNNC0114", "the file says that its numbers are integers, and they are not")
    return rounded.astype(np.int64)


def _integers(array: Array) -> tuple[Array, int]:
    """Integers W·2^shift in the smallest dtype that holds W."""
    codes = _whole(array)
    union = int(np.bitwise_or.reduce(np.abs(codes), axis=None))
    shift = (union & -union).bit_length() - 1 if union else 0
    codes >>= shift
    most = int(np.abs(codes).max())
    dtype = next(t for t in (np.int8, np.int16, np.int32) if most <= np.iinfo(t).max)
    return codes.astype(dtype), shift
