"""The content of report.json, as plain JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snnc import fixedpoint
from snnc.backends.costs import CostReport, LayerCost, energy_estimate
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, MaxGate, Op, Readout, Weighted
from snnc.ir.projections import incoming, latency
from snnc.targets import load_energy_prices

FORMAT, VERSION = "snnc-report", 1

_ACTIVITY = ("spikes", "sops", "eq14", "kernel_ops", "mean_rate")
_FIRING = ("spikes", "eq14", "mean_rate")
"""What depends on spikes, and is unknown before any sample was run."""


def build(
    network: Network,
    *,
    costs: CostReport | None,
    sqnr_db: Mapping[int, float | None],
    samples: int,
    passes: Sequence[Mapping[str, Any]],
    backends: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The report of a spiking network.

    ``costs`` are those of its netlist, None if it has none; ``sqnr_db`` is keyed by node; ``samples`` is
    how many calibration samples both were measured on: with 0, spikes and what follows from them are
    null. ``passes`` are the pipeline's records, ``backends`` what each says of its own costs.
    """
    by_population = {layer.population: layer for layer in costs.layers} if costs else {}
    layers = [
        {
            "population": f"p{position}",
            **_structure(network, node),
            **_cost(by_population.get(f"p{position}"), samples),
            "sqnr_db": sqnr_db.get(node),
        }
        for position, node in enumerate(network.nodes)
        if isinstance(network.op(node), IfNeuron | MaxGate | Readout)
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": {
            "name": network.name,
            "T": network.steps,
            "schedule": network.schedule,
            "latency_steps": latency(network),
            "level": network.level,
        },
        "measured_samples": samples,
        "layers": layers,
        "totals": _known(dataclasses.asdict(costs.totals), samples) if costs else None,
        "energy": _energy(costs) if costs and samples else [],
        "passes": [dict(record) for record in passes],
        "backends": {name: dict(section) for name, section in backends.items()},
    }


def _structure(network: Network, node: int) -> dict[str, Any]:
    """What a population is, whatever it does."""
    op, shape = network.op(node), network.type(node).shape
    return {
        "kind": op.mnemonic,
        "origin": list(op.origin),
        "source": op.source,
        "shape": list(shape),
        "neurons": network.type(node).size,
        "weight_bits": _weight_bits(network, node),
        "scale": _number(getattr(op, "scale", None)),
        "threshold": _number(getattr(op, "threshold", None)),
        "unit": _number(getattr(op, "unit", None)),
        "fraction_bits": getattr(op, "fraction_bits", None),
        "membrane_bits": _membrane_bits(op),
        "signed": bool(getattr(op, "signed", False)),
        "rectified": bool(getattr(op, "rectified", False)),
    }


def _cost(layer: LayerCost | None, samples: int) -> dict[str, Any]:
    if layer is None:
        return {}
    described = ("population", "kind", "origin", "source", "projections", "neurons", "weight_bits")
    costs = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer) if f.name not in described}
    if layer.kind == "readout":
        costs.update(dict.fromkeys(_FIRING))
    return _known(costs, samples) | {"weight_memory_bits": layer.weight_bits}


def _energy(costs: CostReport) -> list[dict[str, Any]]:
    """Every entry of the energy table; the total is null where it would hide an unpriced term."""
    return [
        {
            "name": estimate.prices.name,
            "description": estimate.prices.description,
            "source": estimate.prices.source,
            "kind": estimate.prices.kind,
            "picojoules": dict(estimate.picojoules),
            "total_picojoules": estimate.total,
            "unpriced": list(estimate.unpriced),
        }
        for estimate in energy_estimate(costs.totals, load_energy_prices())
    ]


def _known(costs: dict[str, Any], samples: int) -> dict[str, Any]:
    return {k: None if k in _ACTIVITY and not samples else v for k, v in costs.items()}


def _weight_bits(network: Network, node: int) -> int | None:
    """The width of the widest weight into a population; None for a max gate and for real weights."""
    if isinstance(network.op(node), MaxGate):
        return None
    widths = [_width(network.op(source)) for source in incoming(network, node)]
    known = [width for width in widths if width is not None]
    return max(known) if known else None


def _width(op: Op) -> int | None:
    assert isinstance(op, Weighted)
    if not op.weight.is_integer or not op.weight.size:
        return None
    return fixedpoint.signed_bits(int(op.weight.array.min()), int(op.weight.array.max()))


def _membrane_bits(op: Op) -> int | None:
    width = getattr(op, "acc_bits", 0)
    return width or None


def _number(value: Constant | float | None) -> int | float | list[int | float] | None:
    """A scalar parameter, or the least and greatest of those that differ."""
    if value is None or isinstance(value, float):
        return value
    least, most = np.min(value.array).item(), np.max(value.array).item()
    return least if least == most else [least, most]
