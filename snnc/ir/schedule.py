"""How spikes are timed, and what a spike of each step counts (docs/semantics.md §4).

``rate`` fires while its input arrives. ``layerwise`` and ``phase`` are one rule, integrate, then fire:
a population adds up all its input and then emits the code of its membrane over T steps.
"""

from __future__ import annotations

from typing import Literal

Schedule = Literal["rate", "layerwise", "phase"]
SCHEDULES: tuple[Schedule, ...] = ("rate", "layerwise", "phase")

MOST_PHASES = 16
"""The most steps of ``phase``: with more, codes would be wider than any weight."""

DEFAULT_STEPS: dict[Schedule, int] = {"rate": 128, "layerwise": 128, "phase": 8}


def spike_values(schedule: Schedule, steps: int) -> tuple[int, ...]:
    """What a spike of step k = 1 … T counts: 2^(T−k) under ``phase``, else 1."""
    if schedule == "phase":
        return tuple(1 << (steps - k) for k in range(1, steps + 1))
    return (1,) * steps


def full_count(schedule: Schedule, steps: int) -> int:
    """N, what a neuron counts that fires at every step: T, or 2^T − 1 under ``phase``."""
    return sum(spike_values(schedule, steps))
