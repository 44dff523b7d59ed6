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
class Arithmetic:
    """The integers of a chip with neurons of its own kind (docs/loihi.md).

    A synapse adds weight·2^exponent to the membrane from bit ``synapse_shift`` on, one step after the
    spike and up to ``delay_most`` more; membranes saturate at ``membrane_bits``. A threshold is a mantissa
    of ``threshold_bits`` from bit ``threshold_shift`` on and must be exceeded; a bias a signed mantissa of
    ``bias_bits`` and an exponent.
    """

    source: str
    synapse_shift: int
    weight_exponent_most: int
    membrane_bits: int
    threshold_shift: int
    threshold_bits: int
    bias_bits: int
    bias_exponent_most: int
    delay_most: int
    signed_spikes: bool


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a chip of many cores holds; a limit that is None is not known.

    There are ``cores`` on a chip and ``chips`` in the largest system. A core has ``neurons``, ``in_axons``,
    ``out_axons``, ``synapse_bits``, and so many ``thresholds``, ``synapse_formats`` and ``profiles`` of
    compartments that differ; a neuron with soft reset takes ``compartments_per_neuron`` of its neurons, and
    if these are two also a synapse from one to the other. The synapses of one axon are stored in blocks of
    ``block_synapses``, each a head of ``block_head_bits`` and its synapses, filled up to words of
    ``word_bits``. A synapse is a weight of ``weight_bits`` and the shortest index of ``index_bits`` that
    reaches its neuron.
    """

    source: str
    cores: int
    chips: int
    neurons: int
    compartments_per_neuron: int
    synapse_bits: int
    block_synapses: int
    block_head_bits: int
    word_bits: int
    weight_bits: int
    index_bits: tuple[int, ...]
    in_axons: int | None = None
    out_axons: int | None = None
    thresholds: int | None = None
    synapse_formats: int | None = None
    profiles: int | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """What hardware can hold; widths are inclusive ranges (least, most) in bits.

    ``arithmetic`` and ``chip`` are those of a neuromorphic chip, None for others.
    """

    name: str
    description: str
    weight_bits: tuple[int, int]
    input_bits: tuple[int, int]
    membrane_bits: tuple[int, int]
    arithmetic: Arithmetic | None = None
    chip: Chip | None = None


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
        arithmetic=Arithmetic(**limits["arithmetic"]) if "arithmetic" in limits else None,
        chip=_chip(limits["chip"]) if "chip" in limits else None,
    )


def _chip(limits: dict[str, Any]) -> Chip:
    return Chip(**limits | {"index_bits": tuple(limits["index_bits"])})


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
