"""Thresholds that change with time (ATIF-nu, Castagnetti 2023 §3.4), found after training.

With ReLUs of currents z ~ N(0, σ²) that are constant over the run, and n(z; θ(1) … θ(T)) the spikes that z
leads to, θ(t) and the value c of a spike are those of the greatest SQNR (Castagnetti, Eq. 8)

    max E[z²] / E[(z − c·n(z))²]  over z > 0,    θ(t) = σ·g(t),    λ ← N·c

The paper solves equations for T = 4; here every trial is simulated, so that no level is assumed which no
current reaches, and c is the best for it: E[z·n]/E[n²]. ``thresholds=constant`` keeps one g (ATIF-u).
The search counts in integers, so that all machines find the same g. Signed populations and input encoders
stay as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, Ints
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Level
from snnc.ir.schedule import Schedule
from snnc.passes.base import Pass, Promise
from snnc.passes.inject_tre import is_encoder

MOST_STEPS = 16
"""The search tries one step's threshold at a time; with more steps there is little left to gain."""

ONE_SIGMA = 1 << 12
"""σ in the units of the search."""
CURRENTS = 512


@dataclasses.dataclass(frozen=True)
class VaryThresholds(Pass):
    """Give each step the threshold of greatest SQNR for constant Gaussian currents (Castagnetti 2023).

    ``sigma`` is the σ of currents as a share of λ: 0.32 where λ is the 99.9th percentile.
    """

    name: ClassVar[str] = "vary-thresholds"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "snn"

    sigma: float = 0.32
    thresholds: Literal["varying", "constant"] = "varying"

    def check_options(self) -> None:
        """A positive share."""
        if not 0 < self.sigma < math.inf:
            raise CompileError.of("SNNC0154", f"vary-thresholds needs sigma > 0, not {self.sigma}")

    def check_schedule(self, schedule: Schedule, steps: int) -> None:
        """``rate`` alone, and not too many steps to search for a threshold of each."""
        if schedule != "rate" or steps > MOST_STEPS:
            raise CompileError.of(
                "SNNC0155",
                f"vary-thresholds is for the schedule rate and at most {MOST_STEPS} steps, "
                f"not {schedule} and T={steps}",
            )

    def apply(self, network: Network, context: Context) -> Network:
        """The network with other thresholds and amplitudes."""
        self.require_level(network)
        self.require_schedule(network)
        pattern, value = optimum(network.full_count, varying=self.thresholds == "varying")
        result = network.copy()
        for node in network.of(IfNeuron):
            op = network.op(node)
            assert isinstance(op, IfNeuron)
            if op.signed or is_encoder(network, node):
                continue
            sigma = self.sigma * op.unit.array
            unit = Constant(network.full_count * value * sigma)
            row = sigma.reshape(1, -1)
            theta = Constant(pattern[:, None] * row if self.thresholds == "varying" else pattern[0] * sigma)
            result.set(node, op.replace(threshold=theta, amplitude=unit, unit=unit))
        return result


@functools.cache
def optimum(steps: int, *, varying: bool) -> tuple[Floats, float]:
    """The thresholds g [T] and the value c of a spike, both in units of σ."""
    z = _currents()
    uniform = max(range(ONE_SIGMA // 4, 4 * ONE_SIGMA, ONE_SIGMA // 32), key=lambda g: _power(z, [g] * steps))
    pattern = [uniform] * steps
    if varying:
        slopes = (np.linspace(a, 2 - a, steps) * uniform for a in (0.5, 1.0, 1.5))
        pattern = max((_refined(z, [int(g) for g in start]) for start in slopes), key=lambda g: _power(z, g))
    n = counts(z, pattern)
    return np.array(pattern) / ONE_SIGMA, float((z * n).sum() / (n * n).sum() / ONE_SIGMA)


def counts(z: Ints, pattern: list[int]) -> Ints:
    """The spikes of neurons with constant currents ``z`` and the thresholds ``pattern``."""
    v, n = np.zeros_like(z), np.zeros_like(z)
    for theta in pattern:
        v = v + z
        fires = v >= theta
        v, n = v - theta * fires, n + fires
    return n


def _currents() -> npt.NDArray[np.int64]:
    """Quantiles of |z|, each as probable as the others."""
    normal = statistics.NormalDist(sigma=ONE_SIGMA)
    return np.array([round(normal.inv_cdf(0.5 + (k + 0.5) / (2 * CURRENTS))) for k in range(CURRENTS)])


def _power(z: Ints, pattern: list[int]) -> float:
    """Σ (c·n)² with the best c: Σ z² less the least error."""
    n = counts(z, pattern)
    return int((z * n).sum()) ** 2 / max(int((n * n).sum()), 1)


def _refined(z: Ints, pattern: list[int]) -> list[int]:
    """``pattern`` with one step after the other changed as long as that helps, by less and less."""
    best, share = _power(z, pattern), 1 / 4
    while share > 1 / 512:
        helped = False
        for t in range(len(pattern)):
            for factor in (1 + share, 1 - share):
                trial = [*pattern[:t], max(1, round(pattern[t] * factor)), *pattern[t + 1 :]]
                power = _power(z, trial)
                if power > best:
                    pattern, best, helped = trial, power, True
        share = share if helped else share / 2
    return pattern
