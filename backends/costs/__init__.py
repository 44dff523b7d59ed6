"""Exact operation counts, the paper's formulas and energy, from a netlist and its spike counts."""

from __future__ import annotations

from snnc.backends.costs.energy import EnergyEstimate, energy_estimate
from snnc.backends.costs.fanout import fanout
from snnc.backends.costs.report import CostReport, Costs, LayerCost, ProjectionCost, cost_report

__all__ = [
    "CostReport",
    "Costs",
    "EnergyEstimate",
    "LayerCost",
    "ProjectionCost",
    "cost_report",
    "energy_estimate",
    "fanout",
]
