"""What a simulator and what an emitter is, and what simulators share: encoding and what a run returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.diagnostics import Diagnostics
from snnc.ir.network import Network
from snnc.ir.ops import Input, Output, Readout
from snnc.ir.types import Int

Array = npt.NDArray[Any]
Subject = TypeVar("Subject")


@dataclasses.dataclass
class Trace:
    """What one run of N samples produced; node numbers are those of the network.

    ``outputs[name]`` is [N, A, …]: the readout's membrane after each of A = T steps under ``rate``, or
    once, A = 1, under integrate-then-fire. ``counts[node]`` is [N, …], the spikes of each neuron
    over the run, negative ones subtracted and each by its value (2^(T−k) at step k of ``phase``): the
    n of a = λ·n/N. ``events[node]`` is how many were emitted, of either sign, and is there where that
    differs: for signed populations, and under ``phase``. Both are integers of any width.
    ``spikes[node]`` (int8) and ``membranes[node]`` are [N, T, …], the membrane after the reset, and are
    filled only if asked for.
    """

    outputs: dict[str, Array] = dataclasses.field(default_factory=dict)
    counts: dict[int, Array] = dataclasses.field(default_factory=dict)
    events: dict[int, Array] = dataclasses.field(default_factory=dict)
    spikes: dict[int, Array] = dataclasses.field(default_factory=dict)
    membranes: dict[int, Array] = dataclasses.field(default_factory=dict)

    def emitted(self) -> dict[int, Array]:
        """How many spikes of either sign each neuron emitted, integers [N, …] by node."""
        return self.counts | self.events


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a network did on N samples: ``inputs[name]`` is [N, …] in the user's layout."""

    inputs: Mapping[str, Array]
    trace: Trace

    def first(self, count: int) -> Ran:
        """The same of the first so many samples."""
        kept = {
            field.name: {key: x[:count] for key, x in getattr(self.trace, field.name).items()}
            for field in dataclasses.fields(Trace)
        }
        return Ran({name: x[:count] for name, x in self.inputs.items()}, Trace(**kept))

    def renumbered(self, nodes: Mapping[int, int]) -> Ran:
        """The same of a network that has these nodes, by their old numbers."""
        kept = {
            field.name: {nodes[node]: x for node, x in getattr(self.trace, field.name).items()}
            for field in dataclasses.fields(Trace)
            if field.name != "outputs"
        }
        return Ran(self.inputs, Trace(self.trace.outputs, **kept))


class Engine(Protocol):
    """A simulator of spiking networks, at the snn level in float64 and at the int level exactly."""

    name: str

    def simulate(self, network: Network, inputs: Mapping[str, Array], *, record: bool = False) -> Trace:
        """Run all T steps on a batch; ``inputs`` are in the user's layout with a batch axis.

        ``record`` asks for spikes and membranes at every step.
        """


@dataclasses.dataclass(frozen=True)
class Activity:
    """What a network was seen doing on a few calibration samples; empty without calibration data.

    ``samples[input]`` is [N, …] in the user's layout; ``counts[population]``, named as in the netlist,
    is float64 in the population's shape: the spikes of each neuron, mean over the samples.
    """

    samples: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Backend(Generic[Subject]):
    """Makes files of a compiled network. Subclasses are frozen dataclasses whose fields are its options.

    ``takes`` says what the methods are given: the integer network, or the netlist it lowers to;
    ``takes_events`` whether inputs may be events. The text
    ``name{option=value}``, help and defaults derive from the fields.
    """

    name: ClassVar[str]
    takes: ClassVar[Literal["network", "netlist"]] = "netlist"
    takes_events: ClassVar[bool] = False

    def validate(self, subject: Subject, diagnostics: Diagnostics) -> None:
        """Report as errors all that this backend cannot build: the layer, the limit and what would help."""

    def emit(self, subject: Subject, activity: Activity) -> Mapping[str, bytes]:
        """The files by path, with slashes, in the artifact; the driver writes them.

        Called after :meth:`validate` found nothing. The same subject and activity give the same bytes.
        """
        raise NotImplementedError

    def cost(self, subject: Subject, activity: Activity) -> Mapping[str, Any]:
        """What the report says of this backend, as JSON values; nothing if empty."""
        return {}


def frames(op: Input, x: Array) -> Array:
    """What an ANN takes of a batch [N, …]: events [N, T, …] are summed over their steps."""
    return x.sum(axis=1) if x.shape[2:] == op.shape and x.ndim == len(op.shape) + 2 else x


def encode(op: Input, x: Array, steps: int | None = None) -> Array:
    """A batch in the user's layout as the network's input in the op's shape (docs/semantics.md §5).

    A constant current [N, …], float64 at the snn level and int64 codes at the int level; or, for events,
    int64 counts [N, T, …]. Frames for an input of events are spread evenly over the steps.
    """
    if op.coding == "events":
        assert steps is not None
        if x.ndim == len(op.shape) + 1:
            ends = np.arange(1, steps + 1).reshape(1, -1, *(1,) * len(op.shape))
            x = np.diff(np.floor(x[:, None] * (ends / steps) + 1e-9), axis=1, prepend=0)
        counts = np.clip(x[:, :steps], 0, op.max_count).astype(np.int64)
        return counts.transpose(0, 1, *(2 + a for a in op.perm)) if op.perm else counts
    x = frames(op, x)
    if op.perm:
        x = x.transpose(0, *(1 + a for a in op.perm))
    if not op.bits:
        return np.asarray(x, np.float64)
    element = Int(op.bits, op.signed)
    return fixedpoint.quantize_input(x, op.scale, element.lo, element.hi)[0]


def decode(network: Network, trace: Trace) -> dict[str, npt.NDArray[np.float64]]:
    """The outputs in the ANN's units: V(t)·unit/t under ``rate``, V·unit/N otherwise; [N, A, …]."""
    result = {}
    for node in network.of(Output):
        op = network.op(node)
        readout = network.op(network.operands(node)[0])
        assert isinstance(op, Output)
        assert isinstance(readout, Readout)
        membrane = np.asarray(trace.outputs[op.name], np.float64)
        answers = membrane.shape[1]
        steps = np.arange(1, answers + 1) if answers > 1 else np.array([network.full_count])
        shape = (1, answers) + (1,) * (membrane.ndim - 2)
        result[op.name] = membrane * readout.unit / steps.reshape(shape)
    return result


def last_answers(network: Network, trace: Trace) -> dict[str, npt.NDArray[np.float64]]:
    """What :func:`decode` has at the end of the run, [N, …] by output name."""
    return {name: x[:, -1] for name, x in decode(network, trace).items()}
