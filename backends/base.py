"""What simulators share: how inputs are encoded and what a run returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.ir.network import Network
from snnc.ir.ops import Input, Output, Readout
from snnc.ir.types import Int

Array = npt.NDArray[Any]


@dataclasses.dataclass
class Trace:
    """What one run of N samples produced; node numbers are those of the network.

    ``outputs[name]`` is [N, A, …]: the readout's membrane after each of A = T steps under ``rate``, or
    once, A = 1, under integrate-then-fire. ``counts[node]`` is int64 [N, …], the spikes of each neuron
    over the run, negative ones subtracted; ``events[node]`` counts those of either sign and is there
    for signed populations only. ``spikes[node]`` (int8) and ``membranes[node]`` are [N, T, …], the
    membrane after the reset, and are filled only if asked for.
    """

    outputs: dict[str, Array] = dataclasses.field(default_factory=dict)
    counts: dict[int, Array] = dataclasses.field(default_factory=dict)
    events: dict[int, Array] = dataclasses.field(default_factory=dict)
    spikes: dict[int, Array] = dataclasses.field(default_factory=dict)
    membranes: dict[int, Array] = dataclasses.field(default_factory=dict)

    def emitted(self) -> dict[int, Array]:
        """How many spikes of either sign each neuron emitted, int64 [N, …] by node."""
        return self.counts | self.events


class Engine(Protocol):
    """A simulator of spiking networks, at the snn level in float64 and at the int level exactly."""

    name: str

    def simulate(self, network: Network, inputs: Mapping[str, Array], *, record: bool = False) -> Trace:
        """Run all T steps on a batch; ``inputs`` are in the user's layout with a batch axis.

        ``record`` asks for spikes and membranes at every step.
        """


def encode(op: Input, x: Array) -> Array:
    """A batch in the user's layout as the network's constant current, [N, …] in the op's shape.

    float64 at the snn level; int64 codes at the int level (docs/semantics.md §5).
    """
    if op.perm:
        x = x.transpose(0, *(1 + a for a in op.perm))
    if not op.bits:
        return np.asarray(x, np.float64)
    element = Int(op.bits, op.signed)
    return fixedpoint.quantize_input(x, op.scale, element.lo, element.hi)[0]


def decode(network: Network, trace: Trace) -> dict[str, npt.NDArray[np.float64]]:
    """The outputs in the ANN's units: V(t)·unit/t under ``rate``, V·unit/N otherwise; [N, A, …]."""
    assert network.steps is not None
    result = {}
    for node in network.of(Output):
        op = network.op(node)
        readout = network.op(network.operands(node)[0])
        assert isinstance(op, Output)
        assert isinstance(readout, Readout)
        membrane = np.asarray(trace.outputs[op.name], np.float64)
        answers = membrane.shape[1]
        steps = np.arange(1, answers + 1) if answers > 1 else np.array([network.steps])
        shape = (1, answers) + (1,) * (membrane.ndim - 2)
        result[op.name] = membrane * readout.unit / steps.reshape(shape)
    return result
