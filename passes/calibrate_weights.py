"""Refits weights to the spikes that they receive.

Counts that are rounded, clipped or mistimed make what a layer is told differ from the ANN's activations,
in ways that partly follow from its other inputs. With x the spikes that the K weights of a kernel meet over
the run, V the charge that their sum and the bias amount to, and V* = N·a·θ/λ the charge that stands for the
ANN's activation a,

    δW = argmin E[(V* − V − δW·(x − E x))²] + μ·|δW|²

over samples and positions, with μ chosen on a quarter of the samples that take no part in the fit; where no μ
lessens the error there, the weights stay. Errors that the neuron does not show, V* and V both below 0 or both
above full rate, count as 0. Layers are refitted in order, each on the spikes of those already refitted. This
is the objective of weight calibration (Li et al. 2021, "A free lunch from ANN", advanced pipeline), layer by
layer and in closed form instead of by gradients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, Ints, align
from snnc.ir.constants import Constant
from snnc.ir.context import Context, Drive
from snnc.ir.network import Network
from snnc.ir.ops import Conv2d, Dense, IfNeuron, Level, Op
from snnc.passes.base import Pass, Promise
from snnc.passes.least_squares import ridge_solutions
from snnc.passes.tuning import Tunable, mean_threshold, tunable, with_bias

SEEN = 1 << 14
"""About so many windows are fitted to: several for each weight of a kernel."""

EXACT_SPIKES = 0.01
MOST_TIES = 0.01

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""μ, in units of the mean square of an input."""


@dataclasses.dataclass(frozen=True)
class CalibrateWeights(Pass):
    """Refit every layer's weights to the spikes that it receives (Li 2021, in closed form)."""

    name: ClassVar[str] = "calibrate-weights"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "int"

    samples: int = 512

    def check_options(self) -> None:
        """Samples to fit to and to choose by."""
        if self.samples < 4:
            raise CompileError.of("SNNC0154", f"calibrate-weights needs samples ≥ 4, not {self.samples}")

    def apply(self, network: Network, context: Context) -> Network:
        """The refitted network; the same network, with a note, where there are no data."""
        self.require_level(network)
        if not context.has_data:
            context.diagnostics.note(
                "SNNC0127",
                "calibrate-weights is left out: there are no calibration data; statistics hold no weights",
                remedy="give --calib with some training samples",
            )
            return network.copy()

        def adjust(node: int, drive: Drive) -> Mapping[int, Op]:
            return _refitted(network, node, drive)

        return context.tune(network, adjust, self.samples, max(4, SEEN // self.samples))


def _refitted(network: Network, node: int, drive: Drive) -> dict[int, Op]:
    """A population with its bias and the weighted ops into it, refitted."""
    op, found = tunable(network, node), dict[int, Op]()
    if _exact(op, drive, network.full_count):
        return {}
    goal = _Goal.of(op, drive, network.full_count)
    charge = drive.current.sum(axis=1).swapaxes(1, 2) + goal.start
    for weighted, windows in drive.totals().items():
        before = network.op(weighted)
        if not isinstance(before, Conv2d | Dense):
            continue
        step = _step(before.weight.array, windows, goal.missing(charge) * 2.0**-before.shift)
        if step.any():
            found[weighted] = before.replace(weight=Constant(before.weight.array + step))
            charge = charge + (_product(windows, step) << before.shift)
    shift = goal.missing(charge).mean(axis=(0, 1)) / network.full_count
    return {
        **found,
        node: with_bias(op, fixedpoint.round_half_even(shift).astype(np.float64), network.full_count),
    }


def _exact(op: Tunable, drive: Drive, full: int) -> bool:
    """Whether a population says what the ANN says, but for ties: its charges need not agree as well.

    So it is where the ANN was trained with as many levels as the spikes have.
    """
    if not isinstance(op, IfNeuron) or not drive.expected.any():
        return False
    spike = align(op.unit.array, drive.expected[0]) / full
    same = np.abs(drive.respond(op) - drive.expected) <= spike * EXACT_SPIKES
    return bool(same[drive.expected != 0].mean() > 1 - MOST_TIES)


@dataclasses.dataclass(frozen=True)
class _Goal:
    """The charge [N, P, C] that stands for the ANN's activations, and what a neuron makes of charges.

    ``start`` is the charge at the beginning and ``rest`` what is left of it on average, [C]. Charges below
    ``low`` look alike, and so do those above ``high``.
    """

    charge: Floats
    start: Floats
    rest: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, op: Tunable, drive: Drive, steps: int) -> _Goal:
        expected = drive.expected.swapaxes(1, 2)
        none = np.zeros(expected.shape[2])
        if not isinstance(op, IfNeuron):
            return cls(expected * (steps / op.unit), none, none, none - np.inf, none + np.inf)
        threshold = none + mean_threshold(op)
        # spikes are sent from θ on and taken back below 0, or below −θ/2
        rest = threshold * op.shares(0.25 if op.rectified else 0.5, len(none))
        start = none + align(op.v_init.array, none)
        full = steps * threshold
        return cls(expected * (full / op.unit.array), start, rest, -full if op.negative else none, full)

    def missing(self, charge: Floats) -> Floats:
        """What is missing of the charge, 0 where the neuron would not show it."""
        shown = charge - self.rest
        below = (self.charge <= self.low) & (shown <= self.low)
        above = (self.charge >= self.high) & (shown >= self.high)
        return np.where(below | above, 0.0, self.charge - shown)


def _step(codes: Ints, windows: Ints, missing: Floats) -> Ints:
    """What to add to the weights [M, …] that see ``windows`` [N, P, groups, K], so that less is missing.

    ``missing`` is [N, P, M]. No weight grows beyond the largest one. Zeros where nothing is gained.
    """
    fitted = len(windows) * 3 // 4
    ends = windows[fitted:], missing[fitted:]
    best, least = np.zeros_like(codes), _spread(ends[1])
    most = np.abs(codes.astype(np.int64)).max()
    for solution in ridge_solutions(windows[:fitted], missing[:fitted], RIDGES):
        moved = fixedpoint.round_half_even(codes + solution.reshape(codes.shape))
        step = np.clip(moved, -most, most) - codes
        error = _spread(ends[1] - _product(ends[0], step))
        if error < least:
            best, least = step, error
    return best.astype(codes.dtype)


def _spread(missing: Floats) -> float:
    """The mean square of what a bias cannot make up for."""
    return float(np.square(missing - missing.mean(axis=(0, 1))).mean())


def _product(windows: Ints, weights: Any) -> Ints:
    """Σ_k W[g, m, k]·x[…, g, k] as int64 [N, P, M]."""
    samples, positions, groups, size = windows.shape
    x = windows.reshape(-1, groups, size).swapaxes(0, 1)
    y = x.astype(np.float64) @ weights.reshape(groups, -1, size).swapaxes(1, 2).astype(np.float64)
    return fixedpoint.round_half_even(y).swapaxes(0, 1).reshape(samples, positions, -1)
