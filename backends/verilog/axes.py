"""What one coordinate of an event reaches: address maps and windows as lists of offsets.

An address map sends the place of a neuron to the places of the operand that it touches. Nearly all maps
fall apart into the axes of the source: the operand's place is a sum of what each coordinate contributes,

    place = Σ_a f_a(coordinate a),

so that a convolution's k² taps are k entries of the row and k of the column. What does not (a slice of a
flattened map, say) is traced with the neuron's whole address as the only axis, which always works.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.model import (
    AddressStep,
    Pad,
    Reshape,
    Shape,
    Slice,
    SumPool,
    Transpose,
)

Vector = tuple[int, ...]


class Hit(NamedTuple):
    """A coordinate's share of one combination: offsets of weight and target, and a multiplicity."""

    weight: int
    target: int
    gain: int = 1


HitList = tuple[tuple[Hit, ...], ...]
"""By coordinate."""


class Place(NamedTuple):
    """A coordinate's share of a place, and how often the place is counted."""

    vector: Vector
    gain: int = 1


Component = Callable[[int], Sequence[Hit]]


@dataclasses.dataclass(frozen=True)
class Trace:
    """Places on the way through an address map; ``axes[a][i]`` are the shares of coordinate i of axis a."""

    shape: Shape
    axes: tuple[tuple[tuple[Place, ...], ...], ...]

    def owner(self, component: int) -> int | None:
        """The only axis that moves a component of the place; None if there are several."""
        moving = {
            a
            for a, lists in enumerate(self.axes)
            if any(place.vector[component] for places in lists for place in places)
        }
        return None if len(moving) > 1 else next(iter(moving), 0)

    def each(self, change: Callable[[Vector], Vector], shape: Shape) -> Trace:
        """Every share changed by a linear map."""
        axes = tuple(
            tuple(tuple(Place(change(p.vector), p.gain) for p in places) for places in lists)
            for lists in self.axes
        )
        return Trace(shape, axes)

    def expand(self, axis: int, component: int, options: Callable[[int], Sequence[tuple[int, int]]]) -> Trace:
        """One component replaced by every (value, factor of the gain) that ``options`` gives for it."""
        lists = tuple(
            tuple(
                Place((*p.vector[:component], value, *p.vector[component + 1 :]), p.gain * gain)
                for p in places
                for value, gain in options(p.vector[component])
            )
            for places in self.axes[axis]
        )
        return dataclasses.replace(self, axes=(*self.axes[:axis], lists, *self.axes[axis + 1 :]))


def start(shape: Shape) -> Trace:
    """The places of a source's neurons, one axis for each of its own."""
    axes = tuple(
        tuple((Place(tuple(i if k == axis else 0 for k in range(len(shape)))),) for i in range(size))
        for axis, size in enumerate(shape)
    )
    return Trace(shape, axes)


def start_whole(shape: Shape, addresses: npt.NDArray[np.int64]) -> Trace:
    """The same with one axis; ``addresses`` [*shape] are the coordinates on it, the rest reaches nothing."""
    lists: list[tuple[Place, ...]] = [()] * (int(addresses.max()) + 1)
    for place in np.ndindex(*shape):
        lists[addresses[place]] = (Place(place),)
    return Trace(shape, (tuple(lists),))


def follow(trace: Trace, steps: Sequence[AddressStep]) -> Trace | None:
    """Through an address map; None if it does not fall apart into the trace's axes."""
    found: Trace | None = trace
    for step in steps:
        if found is None:
            return None
        found = _follow(found, step)
    return found


def _follow(trace: Trace, step: AddressStep) -> Trace | None:
    shape = step.result(trace.shape)
    match step:
        case Transpose():
            return trace.each(lambda v: tuple(v[axis] for axis in step.perm), shape)
        case Reshape():
            return _reshape(trace, shape)
        case Pad():
            moved = trace
            for component, before in enumerate(step.before):
                moved = _shift(moved, component, before) if before else moved
            return dataclasses.replace(moved, shape=shape)
        case Slice():
            return _slice(trace, step, shape)
        case SumPool():
            return _pool(trace, step, shape)


def _reshape(trace: Trace, shape: Shape) -> Trace | None:
    if _without_ones(trace.shape) == _without_ones(shape):
        kept = [k for k, size in enumerate(trace.shape) if size > 1]
        places = [k for k, size in enumerate(shape) if size > 1]

        def move(vector: Vector) -> Vector:
            moved = [0] * len(shape)
            for old, new in zip(kept, places, strict=True):
                moved[new] = vector[old]
            return tuple(moved)

        return trace.each(move, shape)
    flat = trace.each(lambda v: (_dot(v, _strides(trace.shape)),), (math.prod(shape),))
    if len(shape) == 1:
        return flat
    if len(trace.axes) > 1:
        return None
    return flat.each(lambda v: tuple(int(k) for k in np.unravel_index(v[0], shape)), shape)


def _shift(trace: Trace, component: int, by: int) -> Trace:
    # a sum is moved by moving one of its terms
    return trace.expand(trace.owner(component) or 0, component, lambda p: [(p + by, 1)])


def _slice(trace: Trace, step: Slice, shape: Shape) -> Trace | None:
    for component, bounds in enumerate(zip(step.starts, step.stops, step.steps, strict=True)):
        if bounds == (0, trace.shape[component], 1):
            continue
        axis, kept = trace.owner(component), range(*bounds)
        if axis is None:
            return None
        trace = trace.expand(axis, component, lambda p, k=kept: [(k.index(p), 1)] if p in k else [])  # type: ignore[misc]
    return dataclasses.replace(trace, shape=shape)


def _pool(trace: Trace, step: SumPool, shape: Shape) -> Trace | None:
    rows, columns = trace.owner(1), trace.owner(2)
    if rows is None or columns is None:
        return None
    factors = None
    if step.multiplicity is not None:
        factors = _outer(step.multiplicity.values)
    if step.multiplicity is not None and factors is None and rows != columns:
        return None
    ones = (np.ones(shape[1], np.int64), np.ones(shape[2], np.int64))
    for component, axis in ((1, rows), (2, columns)):
        gains = (factors or ones)[component - 1]
        windows = _windows(step.kernel[component - 1], step.strides[component - 1], step.pads[component - 1])
        trace = trace.expand(
            axis,
            component,
            lambda p, w=windows, g=gains, n=shape[component]: [(o, int(g[o])) for o, _ in w(p, n)],  # type: ignore[misc]
        )
    if step.multiplicity is not None and factors is None:
        assert len(trace.axes) == 1
        trace = _weighted(trace, step.multiplicity.values)
    return dataclasses.replace(trace, shape=shape)


def _weighted(trace: Trace, multiplicity: npt.NDArray[np.int64]) -> Trace:
    lists = (
        tuple(Place(p.vector, p.gain * int(multiplicity[p.vector[1:]])) for p in places)
        for places in trace.axes[0]
    )
    return dataclasses.replace(trace, axes=(tuple(lists),))


def _outer(matrix: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Integer vectors whose outer product is ``matrix``, if there are any; those of a pool always are."""
    rows = np.gcd.reduce(matrix, axis=1)
    columns = matrix[0] // rows[0]
    return (rows, columns) if (np.outer(rows, columns) == matrix).all() else None


def _windows(
    kernel: int, stride: int, pad: int, dilation: int = 1
) -> Callable[[int, int], Iterator[tuple[int, int]]]:
    """(output, tap) of every window of ``n`` that holds a position."""

    def around(position: int, n: int) -> Iterator[tuple[int, int]]:
        for tap in range(kernel):
            output, rest = divmod(position + pad - tap * dilation, stride)
            if not rest and 0 <= output < n:
                yield output, tap

    return around


def window_hits(
    kernel: int, stride: int, pad: int, dilation: int, n: int, *, tap: int, output: int
) -> Component:
    """What a position reaches through a window over ``n`` outputs.

    ``tap`` and ``output`` are what one step of either adds to the offsets of weight and target.
    """
    around = _windows(kernel, stride, pad, dilation)
    return lambda position: [Hit(k * tap, o * output) for o, k in around(position, n)]


def combine(trace: Trace, components: Sequence[Component]) -> tuple[HitList, ...] | None:
    """The lists of every axis where ``components[k]`` says what component k of a place reaches.

    None if a component is moved by several axes.
    """
    owners = [trace.owner(k) for k in range(len(components))]
    if None in owners:
        return None
    return tuple(
        tuple(
            tuple(
                hit
                for place in places
                for hit in _products(
                    place, [c for c, owner in enumerate(owners) if owner == axis], components
                )
            )
            for places in lists
        )
        for axis, lists in enumerate(trace.axes)
    )


def _products(place: Place, owned: Sequence[int], components: Sequence[Component]) -> Iterator[Hit]:
    for hits in itertools.product(*(components[c](place.vector[c]) for c in owned)):
        gain = place.gain * math.prod(h.gain for h in hits)
        yield Hit(sum(h.weight for h in hits), sum(h.target for h in hits), gain)


def linear(trace: Trace, hit: Callable[[Vector], Hit]) -> tuple[HitList, ...]:
    """The lists where weight and target are linear in the place."""
    return tuple(
        tuple(tuple(hit(p.vector)._replace(gain=p.gain) for p in places) for places in lists)
        for lists in trace.axes
    )


def _strides(shape: Shape) -> Vector:
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))


def _dot(left: Vector, right: Vector) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size > 1)
