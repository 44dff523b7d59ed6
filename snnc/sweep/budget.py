"""The cheapest compilation whose loss stays within a budget.

Cheapest means fewest synaptic operations, and of that preset and T the fewest bits of a weight. Steps are
tried in ascending order: more of them cost more, so the first that is good enough ends a preset's turn, and
so does the first that costs as much as the best of the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from snnc.diagnostics import Diagnostics, GateError, SnncError, UsageError
from snnc.driver import Request, build_passes
from snnc.evaluation import losses
from snnc.passes import PRESETS
from snnc.sweep.bench import Row, Workbench
from snnc.sweep.grid import Point, grid

STEPS = {"rate": (8, 16, 32, 64, 128), "layerwise": (8, 16, 32, 64, 128), "phase": (4, 5, 6, 7, 8)}
BITS = 8
FEWEST_BITS = 4


def candidates(request: Request) -> list[str]:
    """The preset that was asked for, or all that the request does not contradict, for its target."""
    if request.preset:
        return [request.preset]
    whole = dataclasses.replace(request, target=request.target or "generic")
    return [name for name in PRESETS if _builds(dataclasses.replace(whole, preset=name))]


def _builds(request: Request) -> bool:
    try:
        build_passes(request)
    except SnncError:
        return False
    return True


def choose(
    workbench: Workbench, request: Request, presets: Sequence[str], points: float, diagnostics: Diagnostics
) -> Row:
    """The row of the cheapest compilation that loses at most ``points`` of top-1, rounded up to samples.

    What ``request`` says of bits and T is kept. A preset that the model cannot take is left out, with a
    note. Raises GateError if nothing stays within the budget, UsageError without labels.
    """
    if workbench.bench.data.labels is None:
        raise UsageError.of("SNNC0154", "--budget-accuracy needs labels: give an array y")
    best: Row | None = None
    nearest = math.inf
    failure: SnncError | None = None
    for preset in presets:
        for point in _ladder(request, preset):
            try:
                row = workbench.measure(point)
            except SnncError as error:
                first, failure = error.diagnostics[0], error
                diagnostics.note(first.code, f"{point.label} is left out: {first.message}", where=first.where)
                break
            nearest = min(nearest, row["loss_points"])
            if best is not None and row["sops"] >= best["sops"]:
                break
            if _within(row, points):
                best = row
                break
    if failure is not None and nearest == math.inf:
        raise failure
    if best is None:
        message = f"no preset stays within {points:g} points; the nearest loses {nearest:.2f}"
        raise GateError.of("SNNC0170", message, remedy="allow more, or give --T, --bits or --preset")
    return best if request.bits else _with_fewer_bits(workbench, request, best, points)


def _within(row: Row, points: float) -> bool:
    lost, allowed = losses(row["loss_points"], points, row["samples"])
    return lost <= allowed


def _ladder(request: Request, preset: str) -> Iterator[Point]:
    """The points of one preset, cheapest first."""
    passes = build_passes(dataclasses.replace(request, preset=preset))
    schedule = next(step.options()["schedule"] for step in passes if "schedule" in step.options())
    steps = (request.T,) if request.T else STEPS[schedule]
    yield from grid(request, [preset], [request.bits or BITS], steps)


def _with_fewer_bits(workbench: Workbench, request: Request, best: Row, points: float) -> Row:
    for bits in range(BITS - 1, FEWEST_BITS - 1, -1):
        (point,) = grid(request, [best["preset"]], [bits], [best["T"]])
        row = workbench.measure(point)
        if not _within(row, points):
            break
        best = row
    return best
