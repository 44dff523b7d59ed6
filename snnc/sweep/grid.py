"""What to compile: every combination of presets, weight bits and steps, checked before any is run."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from snnc import spec
from snnc.diagnostics import Diagnostic, SnncError, UsageError
from snnc.driver import Request, build_passes
from snnc.passes.base import Pass


@dataclasses.dataclass(frozen=True)
class Point:
    """One compilation: the passes of a preset, with bits and steps filled in where they were given."""

    preset: str
    bits: int | None
    T: int | None
    passes: tuple[Pass, ...]

    @property
    def pipeline(self) -> str:
        """The text of the passes, which says all that the compiled network depends on beside the data."""
        return ",".join(map(spec.to_text, self.passes))

    @property
    def label(self) -> str:
        """For people: ``ecc, bits=8, T=16``."""
        given = {"bits": self.bits, "T": self.T}
        return ", ".join([self.preset, *(f"{k}={v}" for k, v in given.items() if v is not None)])


def grid(
    request: Request, presets: Sequence[str], bits: Sequence[int], steps: Sequence[int]
) -> tuple[Point, ...]:
    """Every combination, bits changing fastest; no ``bits`` or ``steps`` leave them to the presets.

    ``request`` holds what is the same for all. Raises UsageError with the problems of all combinations
    together: unknown presets, options that contradict one another or are out of range, nothing to do.
    """
    if request.input == "events":
        raise UsageError.of("SNNC0154", "events have their own T: compile for it instead of a sweep")
    if not presets:
        raise UsageError.of("SNNC0154", "the sweep is empty: no preset is given")
    points: list[Point] = []
    problems: list[Diagnostic] = []
    for preset, T, b in itertools.product(dict.fromkeys(presets), steps or (None,), bits or (None,)):
        try:
            passes = build_passes(dataclasses.replace(request, preset=preset, bits=b, T=T))
        except SnncError as error:
            problems += [d for d in error.diagnostics if d not in problems]
            continue
        points.append(Point(preset, b, T, passes))
    if problems:
        raise UsageError(problems)
    return tuple(points)
