"""NIR's neurons as populations: IF, LIF without leak, and the explicit soft reset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from snnc.frontend.builder import Rejected
from snnc.frontend.nir_weights import Array, finite, per_channel
from snnc.interop.metadata import Metadata
from snnc.ir.constants import Constant

DT = 1e-4
"""Seconds per step in files that do not say it: what tools assume when they write LIF."""

_NO_LEAK = 2.0**-24
"""dt/τ below which a leak is nothing in float32."""


@dataclasses.dataclass(frozen=True)
class Reset:
    """The explicit soft reset of an integrator: V loses −``scale`` where ``threshold`` was passed."""

    threshold: str
    feedback: str
    scale: Array


@dataclasses.dataclass(frozen=True)
class Neurons:
    """What a population is made of."""

    threshold: Constant
    reset: Literal["subtract", "zero"]
    compare: Literal["ge", "gt"]
    unit: Constant = dataclasses.field(default_factory=lambda: Constant(1.0))
    origin: tuple[str, ...] = ()
    source: str = ""


def explicit_resets(nodes: Mapping[str, Any], edges: list[tuple[str, str]]) -> dict[str, Reset]:
    """By integrator: I → Threshold → Scale → I, the feedback going nowhere else."""
    found = {}
    into: dict[str, list[str]] = {}
    out: dict[str, list[str]] = {}
    for source, target in edges:
        into.setdefault(target, []).append(source)
        out.setdefault(source, []).append(target)
    for name, node in nodes.items():
        targets = out.get(name, [])
        if type(node).__name__ != "I" or len(targets) != 1 or (np.asarray(node.r) != 1).any():
            continue
        (threshold,) = targets
        loops = [s for s in into.get(name, []) if out.get(s) == [name] and into.get(s) == [threshold]]
        kinds = [type(nodes[s]).__name__ for s in loops if s in nodes]
        if threshold in nodes and type(nodes[threshold]).__name__ == "Threshold" and kinds == ["Scale"]:
            found[name] = Reset(threshold, loops[0], np.asarray(nodes[loops[0]].scale, np.float64))
    return found


def neurons(
    name: str, node: Any, resets: Mapping[str, Reset], shape: tuple[int, ...], metadata: Metadata | None
) -> Neurons:
    """The population of a node. Raises :class:`Rejected` for what populations cannot be."""
    if type(node).__name__ == "Threshold":
        passed = finite(node.threshold, "thresholds")
        reset = next((r for r in resets.values() if r.threshold == name), None)
        if reset is None:
            raise Rejected("SNNC0110", "a Threshold without an integrator and its reset is not supported")
        threshold = _positive(per_channel(-finite(reset.scale, "resets"), shape, "a reset"))
        passed = per_channel(passed, shape, "a threshold")
        if metadata is None and (passed != threshold).any():
            raise Rejected("SNNC0111", "its threshold differs from what its reset subtracts")
        if metadata is None:
            return Neurons(Constant(threshold), "subtract", "gt", origin=(reset.feedback,))
    else:
        threshold = _positive(per_channel(_charge(node), shape, "a threshold"))
        if metadata is None:
            return Neurons(Constant(threshold), "zero", "gt")
        if metadata.reset == "zero":
            threshold = threshold + (0.5 if metadata.compare == "ge" else -0.5)
    return _of_snnc(name, threshold, metadata)


def _of_snnc(name: str, threshold: Array, metadata: Metadata) -> Neurons:
    """The population that snnc wrote."""
    described = metadata.populations.get(name)
    if not isinstance(described, Mapping) or (threshold != np.rint(threshold)).any():
        raise Rejected("SNNC0137", "the file's snnc metadata do not describe this population")
    unit = np.asarray(described["unit"], np.float64)
    return Neurons(
        threshold=Constant(threshold.astype(np.int64)),
        reset=metadata.reset,
        compare=metadata.compare,
        unit=Constant(unit[0] if len(unit) == 1 else unit),
        origin=tuple(map(str, described["origin"])),
        source=str(described["source"]),
    )


def _charge(node: Any) -> Array:
    """The charge at which a neuron fires: θ over what one step makes of a unit of current.

    IF's v̇ = r·I leaves open how long a step is; tools write r = 1 or r = 1/dt and mean v += I by both.
    """
    threshold = finite(node.v_threshold, "thresholds")
    resistance = finite(node.r, "resistances")
    rest = getattr(node, "v_reset", None)
    if rest is not None and finite(rest, "reset potentials").any():
        raise Rejected("SNNC0111", "a reset to another potential than 0 is not supported")
    if type(node).__name__ == "IF":
        if not (resistance == resistance.flat[0]).all() or resistance.flat[0] <= 0:
            raise Rejected("SNNC0111", "resistances that differ between neurons are not supported")
        return threshold
    tau = finite(node.tau, "time constants")
    if finite(node.v_leak, "leak potentials").any() or (tau <= 0).any() or (DT / tau > _NO_LEAK).any():
        raise Rejected(
            "SNNC0111",
            "a LIF neuron with a leak is not supported",
            "train with IF, or with a time constant beyond 2^24 steps",
        )
    gain = resistance * DT / tau
    if (gain <= 0).any():
        raise Rejected("SNNC0114", "resistances must be positive")
    # r = τ/dt is stored in float32
    return np.asarray(threshold / np.where(np.abs(gain - 1) < 1e-6, 1.0, gain))


def _positive(threshold: Array) -> Array:
    if threshold.min() <= 0:
        raise Rejected("SNNC0114", "thresholds must be positive")
    return threshold
