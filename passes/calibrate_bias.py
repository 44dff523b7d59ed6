"""Shifts what every channel says, on average, to what the ANN says there.

A neuron that fires on an early excess cannot take it back, so that activations come out too large, and the
more the deeper the layer. After Li et al. 2021 ("A free lunch from ANN", light pipeline), with
e_c = mean of a − λ·n/N over the samples and positions of channel c:

    b_c ← b_c + e_c·θ/λ                (as=bias)
    v_init,c ← v_init,c + N·e_c·θ/λ    (as=potential; a readout starts at 0 and takes the bias)

Layers are calibrated in order, each on the spikes of those already calibrated. A neuron that is silent or
saturated does not follow its bias, so the step is divided by the share of those that do, and repeated; of
all shifts tried, a channel keeps that of least |e_c|. Where spikes would take long, few samples run; what the
mean over all of them would be follows from their activations in the ANN
(:func:`snnc.passes.tuning.mean_error`).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, align
from snnc.ir.constants import Constant
from snnc.ir.context import Context, Drive
from snnc.ir.groups import group_means
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Level, Readout
from snnc.passes.base import Pass, Promise
from snnc.passes.form_projections import aligned
from snnc.passes.tuning import Tunable, mean_error, membrane_units, settled, tuned, with_bias

LEAST_SHARE = 1 / 20
"""No step is divided by less: of a channel in which hardly a neuron responds, little is known."""


@dataclasses.dataclass(frozen=True)
class CalibrateBias(Pass):
    """Make the mean response of every channel that of the ANN (Li 2021)."""

    name: ClassVar[str] = "calibrate-bias"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "int"

    samples: int = 64
    as_: Literal["bias", "potential"] = "bias"

    def check_options(self) -> None:
        """At least one sample."""
        if self.samples < 1:
            raise CompileError.of("SNNC0154", f"calibrate-bias needs samples ≥ 1, not {self.samples}")

    def apply(self, network: Network, context: Context) -> Network:
        """The calibrated network; the same network where there are no data."""
        self.require_level(network)

        def put(op: Tunable, shift: Floats) -> Tunable:
            extra = membrane_units(op, shift)
            if self.as_ == "bias" or isinstance(op, Readout):
                return with_bias(op, extra, network.full_count)
            charge = fixedpoint.round_half_even(extra * network.full_count)
            return op.replace(v_init=Constant(np.add(*aligned(op.v_init.array, charge))))

        def find(op: Tunable, drive: Drive) -> Floats:
            def attempt(shift: Floats) -> tuple[Floats, Floats]:
                response = drive.respond(put(op, shift))
                error = mean_error(group_means(op, drive.expected - response), drive)
                return error, error / np.maximum(responsive(op, response), LEAST_SHARE)

            return settled(drive.expected.shape[1], attempt)

        return tuned(self, self.samples, network, context, find, put)


def responsive(op: Tunable, response: Floats) -> Floats:
    """The share [C] of a response [N, C, P] that a change of bias moves: neither silent nor saturated."""
    if not isinstance(op, IfNeuron):
        return np.ones(response.shape[1])
    unit = align(op.unit.array, response[0])
    low = -unit if op.negative else 0.0
    return np.asarray(((response > low) & (response < unit)).mean(axis=(0, 2)))
