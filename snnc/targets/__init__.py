"""Hardware limits, number formats and energy constants, as TOML with sources."""

from __future__ import annotations

import dataclasses
import importlib.resources
import tomllib
from collections.abc import Mapping
from typing import Any, Literal

from snnc.diagnostics import UsageError

_ENERGY = "energy"


@dataclasses.dataclass(frozen=True)
class Target:
    """What hardware can hold; widths are inclusive ranges (least, most) in bits."""

    name: str
    description: str
    weight_bits: tuple[int, int]
    input_bits: tuple[int, int]
    membrane_bits: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class EnergyPrices:
    """Picojoules per operation from one published source.

    ``picojoules`` maps the terms ``sops``, ``neuron_updates``, ``spikes`` and ``analog_macs`` to
    prices; ``covered`` are terms that another price includes; ``omitted`` says what no price includes.
    """

    name: str
    description: str
    source: str
    kind: Literal["simulated", "measured", "all-in"]
    picojoules: Mapping[str, float]
    covered: tuple[str, ...]
    omitted: tuple[str, ...]


def target_names() -> tuple[str, ...]:
    """The names that :func:`load_target` knows, sorted."""
    files = (entry.name for entry in importlib.resources.files("snnc.targets").iterdir())
    names = (name.removesuffix(".toml") for name in files if name.endswith(".toml"))
    return tuple(sorted(name for name in names if name != _ENERGY))


def load_target(name: str) -> Target:
    """The target called ``name``. Raises UsageError (SNNC0153) for an unknown one."""
    if name not in target_names():
        known = ", ".join(target_names())
        raise UsageError.of("SNNC0153", f"unknown target {name!r}", remedy=f"the targets are: {known}")
    limits = _read(name)
    return Target(
        name=name,
        description=limits["description"],
        weight_bits=tuple(limits["weight_bits"]),
        input_bits=tuple(limits["input_bits"]),
        membrane_bits=tuple(limits["membrane_bits"]),
    )


def load_energy_prices() -> tuple[EnergyPrices, ...]:
    """Every entry of energy.toml, in its order."""
    return tuple(
        EnergyPrices(
            name=entry["name"],
            description=entry["description"],
            source=entry["source"],
            kind=entry["kind"],
            picojoules=entry["picojoules"],
            covered=tuple(entry.get("covered", ())),
            omitted=tuple(entry.get("omitted", ())),
        )
        for entry in _read(_ENERGY)["entry"]
    )


def _read(name: str) -> dict[str, Any]:
    text = importlib.resources.files("snnc.targets").joinpath(f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text)
