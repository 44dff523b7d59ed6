"""The netlist: populations and projections in PyNN's sense, all numbers integers.

It is what every hardware backend, the cost model and the emitted simulator are made from. Arrays
have no batch axis; shapes are [C] or [C, H, W]. One step of a population computes

    Z(t) = Σ_g r_g((W_g · a_g(s_g(t − d_g))) · 2^shift_g),    u = V(t−1) + Z(t) + b(t)

with a_g the address map of projection g, d_g its delay, r_g the register of the target, if any, and
s_g the spikes, or the constant codes, of its source (docs/semantics.md §2-§4).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.ir.schedule import Schedule, full_count

Shape = tuple[int, ...]
PopulationKind = Literal["if", "max", "readout"]
ProjectionKind = Literal["conv", "dense", "scale", "none"]


def volume(shape: Shape) -> tuple[int, int, int]:
    """[C, H, W] of a shape; a vector has one position."""
    channels, height, width = (*shape, 1, 1)[:3]
    return channels, height, width


class Memory:
    """A read-only array of integers that hardware stores: weights or parameters.

    ``name`` is unique in the netlist and made by snnc alone; memories are equal by name and content.
    """

    def __init__(self, name: str, values: npt.ArrayLike) -> None:
        """``values`` are copied; they must be integers."""
        array = np.array(values, order="C", copy=True)
        assert array.dtype.kind == "i", array.dtype
        array.setflags(write=False)
        self.name = name
        self.values: npt.NDArray[Any] = array

    @functools.cached_property
    def bits(self) -> int:
        """The width of the narrowest two's-complement word that holds every value."""
        if not self.values.size:
            return 1
        return fixedpoint.signed_bits(int(self.values.min()), int(self.values.max()))

    @property
    def shape(self) -> Shape:
        """The array's shape."""
        return self.values.shape

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Memory):
            return NotImplemented
        return self.name == other.name and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Memory({self.name!r}, i{self.bits}{list(self.shape)})"


@dataclasses.dataclass(frozen=True)
class Reshape:
    """The same elements in row-major order."""

    shape: Shape

    def result(self, shape: Shape) -> Shape:
        """The new shape."""
        return self.shape


@dataclasses.dataclass(frozen=True)
class Transpose:
    """Axis k of the result is axis ``perm[k]``."""

    perm: tuple[int, ...]

    def result(self, shape: Shape) -> Shape:
        """The permuted shape."""
        return tuple(shape[axis] for axis in self.perm)


@dataclasses.dataclass(frozen=True)
class Slice:
    """x[start:stop:step] on every axis, steps positive."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    def result(self, shape: Shape) -> Shape:
        """The sliced shape."""
        return tuple(len(range(*b)) for b in zip(self.starts, self.stops, self.steps, strict=True))


@dataclasses.dataclass(frozen=True)
class Pad:
    """Zeros around the operand; also the place of one part in a concatenation."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def result(self, shape: Shape) -> Shape:
        """The padded shape."""
        return tuple(map(sum, zip(self.before, shape, self.after, strict=True)))


@dataclasses.dataclass(frozen=True)
class Window:
    """A window over the two spatial axes; ``pads`` are top, left, bottom, right; sizes round down."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]

    def result(self, shape: Shape) -> Shape:
        """[C, H', W']."""
        channels, *sizes = shape
        extents = zip(sizes, self.pads[:2], self.pads[2:], self.kernel, self.strides, strict=True)
        return channels, *((n + p + q - k) // s + 1 for n, p, q, k, s in extents)


@dataclasses.dataclass(frozen=True)
class SumPool(Window):
    """y[c, p] = m[p] · Σ over window p; ``multiplicity`` m is [H', W'], all 1 if None."""

    multiplicity: Memory | None = None


AddressStep = Reshape | Transpose | Slice | Pad | SumPool


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputPort:
    """A constant input: codes x_q = clip(⌊x/scale + ½⌋, lo, hi) of ``bits`` bits; or one of events.

    With the ``coding`` of events, each neuron gets up to ``max_count`` of them at every step.
    ``array_shape`` is the user's array without batch axis, ``perm`` the permutation that leads to
    ``shape`` (empty for none); ``input`` is the name of the model's input.
    """

    name: str
    input: str
    shape: Shape
    array_shape: Shape
    perm: tuple[int, ...]
    dtype: str
    bits: int
    signed: bool
    scale: float
    coding: Literal["current", "events"] = "current"
    max_count: int = 0
    origin: tuple[str, ...] = ()
    source: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Population:
    """Neurons of one kind: integrate-and-fire, max gate, or a readout that never fires.

    ``threshold``, ``bias`` and ``v_init`` are [], [C] or [C, H, W], with a leading time axis where
    their rank is 2 or 4, and None where the kind has none. Membranes count in
    scale·2^−``fraction_bits`` and are ``acc_bits`` wide (0: not proved); if one ``saturates``, u is cut
    to ±(2^(acc_bits−1) − 1) in every step. ``signed`` neurons send −1 where u < 0, ``rectified`` ones where
    u < −θ/2 and the sum of what they sent is positive. N spikes stand for ``unit``. ``window`` and ``gate``
    are the pool of a max gate and what it passes.
    """

    name: str
    kind: PopulationKind
    shape: Shape
    threshold: Memory | None = None
    bias: Memory | None = None
    v_init: Memory | None = None
    signed: bool = False
    rectified: bool = False
    reset: Literal["subtract", "zero"] = "subtract"
    compare: Literal["ge", "gt"] = "ge"
    fraction_bits: int = 0
    acc_bits: int = 0
    saturates: bool = False
    unit: tuple[float, ...] = (1.0,)
    scale: tuple[float, ...] = (1.0,)
    window: Window | None = None
    gate: Literal["count-max", "leading"] | None = None
    origin: tuple[str, ...] = ()
    source: str = ""

    @property
    def size(self) -> int:
        """The number of neurons."""
        return math.prod(self.shape)

    @property
    def memories(self) -> tuple[Memory, ...]:
        """Its parameters."""
        return tuple(m for m in (self.threshold, self.bias, self.v_init) if m is not None)


@dataclasses.dataclass(frozen=True)
class Register:
    """r(y) = clip(⌊y/2^exponent + ½⌋, ±limit)·2^exponent: a current as the host can write it."""

    exponent: int
    limit: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Projection:
    """From ``source`` through ``address`` and at most one weighted map into ``target``.

    ``weights`` are [M, C/groups, kh, kw] (conv, a cross-correlation), [M, K] (dense), [] or [C]
    (scale: [] is the identity skip of a residual block). Projections that came from one weighted op,
    the parts of a concatenation, share one memory. Max gates are entered without weights.
    """

    source: str
    target: str
    kind: ProjectionKind
    address: tuple[AddressStep, ...] = ()
    delay: int = 0
    weights: Memory | None = None
    shift: int = 0
    register: Register | None = None
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    origin: tuple[str, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether the weight is one number for all neurons."""
        return self.kind == "scale" and self.weights is not None and self.weights.shape == ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputPort:
    """A named result: the membrane of a readout; ``activation`` is left to the host."""

    name: str
    population: str
    activation: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Netlist:
    """A whole network; populations stand in an order in which they can be computed within a step."""

    name: str
    steps: int
    schedule: Schedule
    inputs: tuple[InputPort, ...]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    outputs: tuple[OutputPort, ...]

    @property
    def full_count(self) -> int:
        """N, what a neuron counts that fires at every step."""
        return full_count(self.schedule, self.steps)

    @functools.cached_property
    def nodes(self) -> Mapping[str, InputPort | Population]:
        """Inputs and populations by name."""
        found: dict[str, InputPort | Population] = {port.name: port for port in self.inputs}
        return found | {population.name: population for population in self.populations}

    @functools.cached_property
    def memories(self) -> Mapping[str, Memory]:
        """Every memory by name, in order of first use."""
        found = {m.name: m for p in self.populations for m in p.memories}
        for projection in self.projections:
            steps = [s.multiplicity for s in projection.address if isinstance(s, SumPool)]
            found.update({m.name: m for m in (*steps, projection.weights) if m is not None})
        return found

    def incoming(self, population: str) -> Iterator[Projection]:
        """The projections into a population, in order."""
        return (p for p in self.projections if p.target == population)

    def outgoing(self, node: str) -> Iterator[Projection]:
        """The projections from an input or a population, in order."""
        return (p for p in self.projections if p.source == node)

    def operand_shape(self, projection: Projection) -> Shape:
        """The shape that leaves a projection's address map."""
        shape = self.nodes[projection.source].shape
        for step in projection.address:
            shape = step.result(shape)
        return shape
