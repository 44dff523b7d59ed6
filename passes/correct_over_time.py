"""Forward temporal bias correction (FTBC, Wu et al. 2024): a bias for every channel and step.

While the first spikes are on their way, layers say too little, and while early excesses are worked off,
too much. With ā_c the ANN's mean activation of channel c, and s_c(t) the spikes of step t averaged over
samples and positions,

    b_c(t) ← b_c(t) + α·(ā_c − λ·s_c(t))·θ/λ                  (error=step, as published)
    b_c(t) ← b_c(t) + α·(t·ā_c − λ·Σ_{k ≤ t} s_c(k))·θ/λ      (error=total)

step after step, each with those before already corrected. With the error of the running total, what one
step misses the next ones make up. A readout, which does not fire, takes the mean error of its current.
For ``rate`` only: elsewhere a bias enters as its sum. Signed populations and other variants stay as they are.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, align
from snnc.ir.context import Context, Drive
from snnc.ir.groups import group_means
from snnc.ir.network import Network
from snnc.ir.ops import Level, Readout
from snnc.ir.schedule import Schedule
from snnc.ir.statistics import round_up
from snnc.passes.base import Pass, Promise
from snnc.passes.tuning import Tunable, membrane_units, tuned, with_bias


@dataclasses.dataclass(frozen=True)
class CorrectOverTime(Pass):
    """Make every channel's mean response that of the ANN at every step (FTBC, Wu 2024)."""

    name: ClassVar[str] = "correct-over-time"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "int"

    samples: int = 64
    alpha: float = 1.0
    error: Literal["step", "total"] = "total"

    def check_options(self) -> None:
        """At least one sample, and a positive gain."""
        if self.samples < 1 or not self.alpha > 0:
            raise CompileError.of(
                "SNNC0154",
                f"correct-over-time needs samples ≥ 1 and alpha > 0, not {self.samples}, {self.alpha}",
            )

    def check_schedule(self, schedule: Schedule, steps: int) -> None:
        """``rate`` alone."""
        if schedule != "rate":
            raise CompileError.of("SNNC0155", f"correct-over-time is for the schedule rate, not {schedule}")

    def apply(self, network: Network, context: Context) -> Network:
        """The corrected network; the same network where there are no data."""
        self.require_level(network)
        self.require_schedule(network)

        def put(op: Tunable, extra: Floats) -> Tunable:
            return with_bias(op, membrane_units(op, extra), network.full_count)

        return tuned(self, self.samples, network, context, self._find, put)

    def _find(self, op: Tunable, drive: Drive) -> Floats:
        """The correction [T, C] in the ANN's units."""
        goal = drive.expected.mean(axis=(0, 2))
        if isinstance(op, Readout):
            return np.asarray(goal - drive.current.mean(axis=(0, 3)) * op.unit)
        steps, channels = drive.current.shape[1:3]
        extra = np.zeros((steps, channels))
        if op.signed or op.reset != "subtract" or op.compare != "ge":
            return extra
        unit = np.broadcast_to(op.unit.array, channels)
        threshold = align(op.threshold.array, drive.expected[0])
        v = np.zeros(drive.expected.shape) + align(op.v_init.array, drive.expected[0])
        said = np.zeros(channels)
        for t in range(steps):
            u = v + drive.current[:, t]
            missing = goal * (t + 1) - said if self.error == "total" else goal
            error = missing - unit * (u >= threshold).mean(axis=(0, 2))
            extra[t] = round_up(self.alpha * group_means(op, error[None])[0])
            u = u + membrane_units(op, extra[t])[:, None]
            spikes = u >= threshold
            said = said + unit * spikes.mean(axis=(0, 2))
            v = u - threshold * spikes
        return extra
