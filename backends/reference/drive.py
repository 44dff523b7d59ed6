"""`drive`: everything between two populations, linear and without state, for all steps at once.

A signal that is constant in time is kept once per sample, [N, …]; any other has a time axis,
[N, S, …]. Under ``rate`` S = T. Under integrate-then-fire S = 1 and the one entry is the sum over the
run, so that a constant current x counts N·x and a population's entry is its code (docs/semantics.md §4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import encode
from snnc.backends.reference.kernels import weigh
from snnc.diagnostics import UsageError
from snnc.ir.address import ADDRESS_OPS, apply_address
from snnc.ir.network import Network
from snnc.ir.ops import Add, Delay, Input, Op, Weighted
from snnc.ir.types import Real, TensorType

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Clock:
    """The time axis of a run: ``length`` entries, each of which counts up to ``gain`` spikes.

    ``delays`` tells whether entries are single steps that a delay can move.
    """

    length: int
    gain: int
    delays: bool

    @classmethod
    def of(cls, network: Network) -> Clock:
        """T single steps under ``rate``, one sum over the run under integrate-then-fire."""
        assert network.steps is not None
        if network.schedule == "rate":
            return cls(network.steps, 1, delays=True)
        return cls(1, network.full_count, delays=False)


@dataclasses.dataclass(frozen=True)
class Signal:
    """``array`` is [N, S, …] if ``timed``, else [N, …]."""

    array: Array
    timed: bool

    def over(self, clock: Clock) -> Array:
        """The signal with its time axis, [N, S, …]."""
        if self.timed:
            return self.array
        x = self.array[:, None] * clock.gain if clock.gain != 1 else self.array[:, None]
        return np.broadcast_to(x, (x.shape[0], clock.length, *x.shape[2:]))


def encode_inputs(network: Network, inputs: Mapping[str, Array]) -> dict[int, Array]:
    """Every input as :func:`encode` makes it. Raises UsageError for missing or misshapen arrays."""
    arrays: dict[int, Array] = {}
    for node in network.of(Input):
        op = network.op(node)
        assert isinstance(op, Input)
        if op.name not in inputs:
            raise UsageError.of("SNNC0162", f"no array is given for the input {op.name!r}")
        x = np.asarray(inputs[op.name])
        timed = op.coding != "current" and x.shape[2:] == op.shape and x.shape[1:2] >= (network.steps or 1,)
        if x.shape[1:] != op.shape and not timed:
            raise UsageError.of(
                "SNNC0162", f"the input {op.name!r} takes [N, {_extents(op.shape)}], not {list(x.shape)}"
            )
        arrays[node] = encode(op, x, network.steps)
    if len({len(x) for x in arrays.values()}) > 1:
        raise UsageError.of("SNNC0162", "the inputs differ in the number of samples")
    return arrays


def input_signal(op: Input, x: Array, clock: Clock) -> Signal:
    """What an input injects: a constant current, or its events at each entry of the time axis."""
    if op.coding != "events":
        return Signal(x, False)
    counts = x if clock.delays else x.sum(axis=1, keepdims=True)
    return Signal(counts if op.amplitude == 1 else counts * op.amplitude, True)


def event_counts(network: Network, inputs: Mapping[int, Array]) -> dict[int, Array]:
    """How many events came in on each neuron of an input of events, int64 [N, …] by node."""
    coded = (n for n in network.of(Input) if isinstance(op := network.op(n), Input) and op.coding == "events")
    return {node: inputs[node].sum(axis=1) for node in coded}


def _extents(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def peak(kind: TensorType) -> int:
    """The largest magnitude of an integer element; 0 for a real one."""
    element = kind.element
    return 0 if isinstance(element, Real) else max(-element.lo, element.hi)


def transmit(network: Network, node: int, operands: Sequence[Signal], clock: Clock) -> Signal:
    """The result of a weighted op, a join, an address op or a delay."""
    op = network.op(node)
    kinds = network.operand_types(node)
    if isinstance(op, Weighted):
        return _weighted(op, operands[0], kinds[0], clock)
    if isinstance(op, Add):
        if not any(x.timed for x in operands):
            return Signal(_total([x.array for x in operands]), False)
        return Signal(_total([x.over(clock) for x in operands]), True)
    if isinstance(op, Delay):
        return _delayed(op, operands[0].over(clock), clock)
    assert isinstance(op, ADDRESS_OPS), op.mnemonic
    timed = any(x.timed for x in operands)
    arrays = [x.over(clock) if timed else x.array for x in operands]
    return Signal(apply_address(op, arrays, len(kinds[0].shape)), timed)


def _weighted(op: Weighted, x: Signal, kind: TensorType, clock: Clock) -> Signal:
    steps = clock.gain if x.timed else 1
    y = weigh(op, x.array, len(kind.shape), peak(kind) * steps)
    if op.bias is not None:
        y = y + steps * per_channel(op.bias.array, len(y.shape) - (2 if x.timed else 1))
    return Signal(y, x.timed)


def per_channel(value: Array, rank: int) -> Array:
    """A [], [C] or full array that broadcasts over tensors of that rank."""
    return value.reshape(value.shape + (1,) * (rank - value.ndim)) if value.ndim else value


def _total(arrays: Sequence[Array]) -> Array:
    total = arrays[0]
    for array in arrays[1:]:
        total = total + array
    return total


def _delayed(op: Delay, x: Array, clock: Clock) -> Signal:
    if not clock.delays:
        return Signal(x, True)
    late = np.zeros_like(x)
    late[:, op.steps :] = x[:, : max(0, x.shape[1] - op.steps)]
    return Signal(late, True)


def linear(op: Op) -> bool:
    """Whether :func:`transmit` computes the op."""
    return isinstance(op, (Weighted, Add, Delay, *ADDRESS_OPS))
