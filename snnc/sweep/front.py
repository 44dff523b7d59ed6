"""Which rows no other row beats: the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from snnc.sweep.bench import Row


def quality(row: Row) -> tuple[str, float]:
    """What tells how good a row is, and its value: top-1, without labels agreement, else SQNR in dB."""
    name = next(n for n in ("snn_top1", "agreement", "sqnr_db") if row[n] is not None or n == "sqnr_db")
    return name, float("inf") if row[name] is None else row[name]


def priced(row: Row, energy: str) -> float:
    """The picojoules of an entry of the energy table: a lower bound where a term has no price."""
    return float(sum(row["energy"][energy]["picojoules"].values()))


def objectives(energy: str) -> Mapping[str, Callable[[Row], float]]:
    """Costs by the names of ``--front``, less is better; ``energy`` is an entry of the energy table."""
    return {
        "accuracy": lambda row: -quality(row)[1],
        "latency": lambda row: row["latency_steps"],
        "sops": lambda row: row["sops"],
        "energy": lambda row: priced(row, energy),
        "memory": lambda row: row["memory_bits"],
    }


def front(rows: Sequence[Row], costs: Sequence[Callable[[Row], float]]) -> list[bool]:
    """For every row whether no other is as good in all ``costs`` and better in one."""
    points = [tuple(cost(row) for cost in costs) for row in rows]
    return [not any(_beats(other, point) for other in points) for point in points]


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
