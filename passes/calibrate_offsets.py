"""Shifts initial potentials by the spikes that neurons send too few or too many (Hao et al. 2023).

The residual potential tells whether a neuron has sent what its charge is worth ("offset spikes"): below 0 it
fired too early and sent too many, at θ or above it sent too few. The paper runs the network twice for every
input, and between the runs shifts V(0) of each neuron so that it fires once more or once less. Repeated until
no offset is left, that gives the counts of the schedule ``layerwise``, and as there, a layer must have seen
its whole input before it can answer. Within one run of ``rate``, what can be known before is the mean, over
the calibration samples and the positions of channel c:

    v_init,c ← v_init,c + θ·mean(clip(⌊(V(0) + Σ_t Z(t))/θ⌋, 0, N) − n)

Layers are calibrated in order, each on the spikes of those already calibrated, and several times, as a shift
may move less than its mean; of all shifts a channel keeps that of least error. No ANN activation is aimed at,
unlike in ``calibrate-bias``: what a layer gets wrong in its input stays. Signed populations and other
variants stay as they are.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, TypeGuard

import numpy as np

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, align
from snnc.ir.constants import Constant
from snnc.ir.context import Context, Drive
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Level, has_time
from snnc.ir.schedule import Schedule
from snnc.passes.base import Pass, Promise
from snnc.passes.form_projections import aligned
from snnc.passes.tuning import Tunable, mean_error, settled, tuned


@dataclasses.dataclass(frozen=True)
class CalibrateOffsets(Pass):
    """Make every channel's mean count what its charge is worth, by initial potentials (Hao 2023)."""

    name: ClassVar[str] = "calibrate-offsets"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "int"

    samples: int = 64

    def check_options(self) -> None:
        """At least one sample."""
        if self.samples < 1:
            raise CompileError.of("SNNC0154", f"calibrate-offsets needs samples ≥ 1, not {self.samples}")

    def check_schedule(self, schedule: Schedule, steps: int) -> None:
        """``rate`` alone."""
        if schedule != "rate":
            raise CompileError.of(
                "SNNC0155",
                f"neurons fire once all has arrived under {schedule}: there are no offset spikes",
                remedy="use the schedule rate, or leave calibrate-offsets out",
            )

    def apply(self, network: Network, context: Context) -> Network:
        """The calibrated network; the same network where there are no data."""
        self.require_level(network)
        self.require_schedule(network)

        def find(op: Tunable, drive: Drive) -> Floats:
            channels = drive.expected.shape[1]
            if not _plain(op):
                return np.zeros(channels)
            worth, unit = counts_worth(op, drive, network.full_count), op.unit.array

            def attempt(offset: Floats) -> tuple[Floats, Floats]:
                said = drive.respond(_shifted(op, offset)) * network.full_count
                error = mean_error(worth - said / align(unit, said[0]), drive)
                return error, error

            return settled(channels, attempt)

        return tuned(self, self.samples, network, context, find, _shifted)


def counts_worth(op: IfNeuron, drive: Drive, full: int) -> Floats:
    """clip(⌊(V(0) + Σ_t Z(t))/θ⌋, 0, N): the spikes [N, C, P] that the charge of each neuron is worth."""
    charge = drive.current.sum(axis=1) + align(op.v_init.array, drive.expected[0])
    return np.asarray(np.clip(np.floor(charge / align(op.threshold.array, drive.expected[0])), 0, full))


def _plain(op: Tunable) -> TypeGuard[IfNeuron]:
    """Whether an op is a population whose counts a charge decides."""
    return (
        isinstance(op, IfNeuron)
        and not op.signed
        and (op.reset, op.compare) == ("subtract", "ge")
        and not has_time(op.threshold)
    )


def _shifted(op: Tunable, offset: Floats) -> Tunable:
    """The op with θ times ``offset``, in spikes, added to its initial potential."""
    if not _plain(op):
        return op
    charge = fixedpoint.round_half_even(offset * op.threshold.array)
    return op.replace(v_init=Constant(np.add(*aligned(op.v_init.array, charge))))
