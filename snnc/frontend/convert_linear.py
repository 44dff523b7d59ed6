"""Converters of weighted layers: Conv, ConvTranspose, Gemm, MatMul and batch normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.frontend.window import Pads, Pair, Plane
from snnc.ir.ops import BatchNorm, Conv2d, Dense, Pad, Slice

Array = npt.NDArray[Any]


def conv(node: OnnxNode) -> int:
    """Conv on one or two spatial axes, with groups, dilations and any pads."""
    plane = Plane.of(node)
    weight = _kernel(plane, node.weight(1, "weight"))
    kernel = plane.pair("kernel_shape", 1) if node.attribute("kernel_shape") else weight.shape[2:]
    if kernel != weight.shape[2:]:
        raise Rejected("SNNC0113", f"kernel_shape {list(kernel)} is not that of the weight {weight.shape}")
    strides, dilations = plane.pair("strides", 1), plane.pair("dilations", 1)
    return plane.emit(
        Conv2d,
        weight=weight,
        bias=node.optional_weight(2, "bias"),
        strides=strides,
        pads=plane.pads(kernel, strides, dilations),
        dilations=dilations,
        groups=node.attribute("group", 1),
    )


def _kernel(plane: Plane, weight: Array) -> Array:
    """A weight [M, C/groups, kh, kw]; the lifted axis has extent 1."""
    if weight.ndim != plane.axes + 2:
        raise Rejected(
            "SNNC0113", f"a weight of shape {list(weight.shape)} does not fit {plane.axes} spatial axes"
        )
    return weight if plane.axes == 2 else weight[:, :, None]


def conv_transpose(node: OnnxNode) -> int:
    """ConvTranspose: the convolution, with the kernel turned around, of its operand spread by the strides.

    Between neighbours lie s − 1 zeros; the pads are d·(k − 1) − p, and what is negative crops.
    """
    plane = Plane.of(node)
    weight = _kernel(plane, node.weight(1, "weight"))
    groups, dilations = node.attribute("group", 1), plane.pair("dilations", 1)
    strides, more = plane.pair("strides", 1), plane.pair("output_padding", 0)
    if min(*strides, *dilations, groups) < 1 or min(more) < 0 or weight.shape[0] % groups:
        raise Rejected("SNNC0113", "strides, dilations, group or output_padding do not fit")
    reach = [(k - 1) * d for k, d in zip(weight.shape[2:], dilations, strict=True)]
    cut = _transposed_pads(plane, reach, strides, more)
    before = [reach[a] - cut[a] for a in (0, 1)]
    # spreading leaves s − 1 zeros behind the last element
    after = [reach[a] - cut[a + 2] + more[a] - (strides[a] - 1) for a in (0, 1)]
    spread = _cropped(node, _spread(node, plane.x, strides), before, after)
    split = weight.reshape(groups, -1, *weight.shape[1:])
    turned = split.transpose(0, 2, 1, 3, 4)[..., ::-1, ::-1]
    y = node.emit(
        Conv2d,
        spread,
        weight=np.ascontiguousarray(turned.reshape(-1, *turned.shape[2:])),
        bias=node.optional_weight(2, "bias"),
        pads=tuple(max(n, 0) for n in (*before, *after)),
        dilations=dilations,
        groups=groups,
    )
    return plane.lowered(y)


def _transposed_pads(plane: Plane, reach: list[int], strides: Pair, more: Pair) -> Pads:
    """What is cut off the full result: the pads, or what output_shape and auto_pad leave to choose."""
    mode, wanted = plane.node.attribute("auto_pad", "NOTSET"), plane.node.attribute("output_shape")
    full = [(n - 1) * s + r + 1 + o for n, s, r, o in zip(plane.extent, strides, reach, more, strict=True)]
    if wanted:
        extent = plane.pair("output_shape", 1)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        extent = (plane.extent[0] * strides[0], plane.extent[1] * strides[1])
    else:
        return (0, 0, 0, 0) if mode == "VALID" else plane.quad("pads")
    total = [f - e for f, e in zip(full, extent, strict=True)]
    # the odd one is cut at the beginning unless SAME_UPPER; what is missing is added at the end
    ends = [t - t // 2 if mode == "SAME_UPPER" else t // 2 if t > 0 else t for t in total]
    return (total[0] - ends[0], total[1] - ends[1], ends[0], ends[1])


def _spread(node: OnnxNode, x: int, strides: Pair) -> int:
    """``x`` [C, H, W] as [C, H·s, W·s] with each element followed by s − 1 zeros."""
    if strides == (1, 1):
        return x
    channels, height, width = node.builder.shape(x)
    x = node.builder.reshape(x, (channels, height, 1, width, 1), node.origin)
    x = node.emit(Pad, x, before=(0,) * 5, after=(0, 0, strides[0] - 1, 0, strides[1] - 1))
    return node.builder.reshape(x, (channels, height * strides[0], width * strides[1]), node.origin)


def _cropped(node: OnnxNode, x: int, before: list[int], after: list[int]) -> int:
    """``x`` without what negative pads cut off."""
    if min(*before, *after) >= 0:
        return x
    shape = node.builder.shape(x)
    starts = (0, *(max(-n, 0) for n in before))
    stops = (shape[0], *(n - max(-cut, 0) for n, cut in zip(shape[1:], after, strict=True)))
    return node.emit(Slice, x, starts=starts, stops=stops, steps=(1, 1, 1))


def gemm(node: OnnxNode) -> int:
    """α·x·B + β·C with constant B and C."""
    if not isinstance(node.value(0), int) or node.attribute("transA", 0):
        raise Rejected("SNNC0111", "Gemm of a transposed or constant first operand mixes samples")
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
    """x·B with constant B [K, M] on the last axis, or A·x with constant A [M, K] on the one before it."""
    left = not isinstance(node.value(0), int)
    weight, x = node.weight(1 - left, "weight"), node.tensor(int(left))
    shape = node.builder.shape(x)
    while weight.ndim > 2 and weight.shape[0] == 1 and weight.ndim <= len(shape) + 1:
        weight = weight[0]
    if weight.ndim != 2 or len(shape) < 1 + left:
        raise Rejected("SNNC0111", f"MatMul of {['N', *shape]} and a constant of shape {list(weight.shape)}")
    return _product(node, x, weight if left else weight.T, len(shape) - 1 - left)


def _product(node: OnnxNode, x: int, weight: Array, axis: int) -> int:
    """``weight`` [M, K] applied along one axis of ``x``: a dense layer, or a 1×1 convolution."""
    shape = node.builder.shape(x)
    if shape[axis] != weight.shape[1]:
        raise Rejected("SNNC0113", f"{shape[axis]} elements do not fit a weight of shape {weight.shape}")
    if len(shape) == 1:
        return node.emit(Dense, x, weight=weight)
    perm = (axis, *(a for a in range(len(shape)) if a != axis))
    front = node.builder.transpose(x, perm, node.origin)
    moved = node.builder.shape(front)
    plane = moved if len(moved) == 3 else (moved[0], 1, int(np.prod(moved[1:])))
    flat = node.builder.reshape(front, plane, node.origin)
    y = node.emit(Conv2d, flat, weight=weight[:, :, None, None])
    y = node.builder.reshape(y, (weight.shape[0], *moved[1:]), node.origin)
    return node.builder.transpose(y, tuple(int(a) for a in np.argsort(perm)), node.origin)


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
