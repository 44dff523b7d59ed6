"""Converters of ops that repeat elements: Expand, Tile and nearest-neighbour Resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.frontend.repeat import MOST_COPIES, broadcast, stretch, tile


def expand(node: OnnxNode) -> int:
    """Expand of axes of extent 1, other than the batch."""
    own, shape = node.shape(), node.ints("shape", 1)
    if shape is None:
        raise Rejected("SNNC0111", "Expand has no shape")
    target = (1,) * (len(own) + 1 - len(shape)) + shape
    if len(target) != len(own) + 1 or target[0] not in (1, node.batch):
        raise Rejected("SNNC0111", f"Expand of {['N', *own]} to {list(shape)}: the batch axis must stay")
    try:
        extents = np.broadcast_shapes(own, target[1:])
    except ValueError:
        raise Rejected("SNNC0113", f"{['N', *own]} does not expand to {list(shape)}") from None
    return broadcast(node, node.tensor(), extents)


def tile_(node: OnnxNode) -> int:
    """Tile along axes other than the batch."""
    repeats = node.ints("repeats", 1) or ()
    if len(repeats) != len(node.shape()) + 1 or repeats[0] != 1:
        raise Rejected("SNNC0111", f"Tile of {['N', *node.shape()]} by {list(repeats)}: not of the batch")
    return tile(node, node.tensor(), repeats[1:])


def resize(node: OnnxNode) -> int:
    """Resize and Upsample by whole factors to the nearest neighbour: every element is repeated."""
    shape = node.shape()
    mode, place = node.attribute("mode", "nearest"), node.attribute("coordinate_transformation_mode", "")
    factors = _factors(node, len(shape) + 1)
    if (
        len(factors) != len(shape) + 1
        or factors[0] != 1
        or any(f % 1 or not 1 <= f <= MOST_COPIES for f in factors)
    ):
        raise Rejected("SNNC0111", f"{node.proto.op_type} by {factors}: only by whole factors")
    if mode != "nearest" or not _repeats(place or "half_pixel", node, factors):
        raise Rejected(
            "SNNC0111",
            f"{node.proto.op_type} with mode {mode} and {place or 'default'} coordinates",
            "resize to the nearest neighbour with asymmetric coordinates, or by a transposed convolution",
        )
    return stretch(node, node.tensor(), [int(f) for f in factors[1:]])


def _repeats(place: str, node: OnnxNode, factors: list[float]) -> bool:
    """Whether output i is input ⌊i/k⌋ on every axis: found out by the definition, not by names."""
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    if node.proto.op_type == "Upsample" or node.opset < 11:
        return True
    shape = node.shape()
    return all(_nearest(n, int(k), place, rounding) for n, k in zip(shape, factors[1:], strict=True) if k > 1)


def _nearest(size: int, factor: int, place: str, rounding: str) -> bool:
    out = np.arange(size * factor)
    x: npt.NDArray[Any]
    match place:
        case "asymmetric":
            x = out / factor
        case "half_pixel" | "half_pixel_symmetric":
            x = (out + 0.5) / factor - 0.5
        case "pytorch_half_pixel":
            x = (out + 0.5) / factor - 0.5 if size * factor > 1 else out * 0.0
        case "align_corners":
            x = out * (size - 1) / max(size * factor - 1, 1)
        case _:
            return False
    rounded = {
        "floor": np.floor(x),
        "ceil": np.ceil(x),
        "round_prefer_floor": np.ceil(x - 0.5),
        "round_prefer_ceil": np.floor(x + 0.5),
    }.get(rounding)
    return rounded is not None and bool((np.clip(rounded, 0, size - 1) == out // factor).all())


def _factors(node: OnnxNode, rank: int) -> list[float]:
    """The scale of every axis, batch included; sizes are turned into scales."""
    axes = [axis % rank for axis in node.attribute("axes", range(rank))]
    at = 2 if node.proto.op_type == "Resize" and node.opset >= 11 else 1
    scales = node.attribute("scales") or node.optional_weight(at, "scales")
    if scales is not None and len(scales):
        given = [float(s) for s in scales]
    else:
        sizes = node.ints("sizes", 3) or ()
        extents = (node.batch or 1, *node.shape())
        given = [n / extents[axis] for axis, n in zip(axes, sizes, strict=False)]
    if len(given) != len(axes):
        raise Rejected("SNNC0113", f"{len(given)} scales do not fit {len(axes)} axes")
    found = dict(zip(axes, given, strict=True))
    return [found.get(axis, 1.0) for axis in range(rank)]
