"""How many weights one spike meets: the adjoint of the address map applied to a map's fan-out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.model import (
    AddressStep,
    Netlist,
    Pad,
    Projection,
    Reshape,
    Shape,
    Slice,
    SumPool,
    Transpose,
)

Ints = npt.NDArray[np.int64]


def fanout(projection: Projection, netlist: Netlist) -> Ints:
    """The number of synapses of every neuron of the projection's source, int64 of its shape.

    A synapse is one weight and one membrane that it is added to: borders are excluded, an identity
    skip is one, a neuron that reaches a weight through two windows of a pool counts it twice, and a
    pool's multiplicity does not count (docs/semantics.md §9). Into a max gate there are none.
    """
    shapes = [netlist.nodes[projection.source].shape]
    for step in projection.address:
        shapes.append(step.result(shapes[-1]))
    synapses = _weighted_fanout(projection, shapes[-1])
    for step, shape in zip(reversed(projection.address), reversed(shapes[:-1]), strict=True):
        synapses = adjoint(step, synapses, shape)
    return synapses


def _weighted_fanout(projection: Projection, shape: Shape) -> Ints:
    if projection.kind == "none":
        return np.zeros(shape, np.int64)
    if projection.kind == "scale":
        return np.ones(shape, np.int64)
    assert projection.weights is not None
    outputs, _, *kernel = (*projection.weights.shape, 1)[: 4 if projection.kind == "conv" else 2]
    if projection.kind == "dense":
        return np.full(shape, outputs, np.int64)
    rows, columns = (
        _windows_over(
            shape[1 + axis],
            projection.pads[axis],
            projection.pads[axis + 2],
            range(0, kernel[axis] * projection.dilations[axis], projection.dilations[axis]),
            projection.strides[axis],
        )
        for axis in (0, 1)
    )
    reached = np.outer(rows, columns) * (outputs // projection.groups)
    return np.broadcast_to(reached, shape).copy()


def _windows_over(size: int, before: int, after: int, taps: Sequence[int], stride: int) -> Ints:
    """How many (window, tap) pairs read each of ``size`` positions along one axis."""
    windows = (size + before + after - taps[-1] - 1) // stride + 1
    read = np.zeros(size, np.int64)
    for tap in taps:
        places = np.arange(windows) * stride + tap - before
        # within one tap the places are distinct
        read[places[(places >= 0) & (places < size)]] += 1
    return read


def adjoint(step: AddressStep, synapses: Ints, shape: Shape) -> Ints:
    """What reaches an operand of ``shape``, given the synapses behind each element of the result."""
    match step:
        case Reshape():
            return synapses.reshape(shape)
        case Transpose():
            return synapses.transpose(np.argsort(step.perm))
        case Slice():
            reached = np.zeros(shape, np.int64)
            bounds = zip(step.starts, step.stops, step.steps, strict=True)
            reached[tuple(slice(*b) for b in bounds)] = synapses
            return reached
        case Pad():
            inside = zip(step.before, shape, strict=True)
            return synapses[tuple(slice(before, before + size) for before, size in inside)]
        case SumPool():
            return _unpool(step, synapses, shape)


def _unpool(step: SumPool, synapses: Ints, shape: Shape) -> Ints:
    top, left, bottom, right = step.pads
    padded = np.zeros((shape[0], shape[1] + top + bottom, shape[2] + left + right), np.int64)
    height, width = synapses.shape[1:]
    down, across = step.strides
    for u, v in np.ndindex(*step.kernel):
        rows = slice(u, u + (height - 1) * down + 1, down)
        columns = slice(v, v + (width - 1) * across + 1, across)
        padded[:, rows, columns] += synapses
    return padded[:, top : top + shape[1], left : left + shape[2]]


def fan_in(projection: Projection) -> int:
    """Inputs of one neuron through this projection's map, borders included; 0 for a plain skip."""
    if projection.weights is None or projection.is_identity:
        return 0
    return 1 if projection.kind == "scale" else math.prod(projection.weights.shape[1:])
