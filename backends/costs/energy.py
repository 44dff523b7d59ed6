"""Counts × picojoules, with the source of every price and the terms that have none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from snnc.backends.costs.report import Costs
from snnc.targets import EnergyPrices

TERMS = ("sops", "neuron_updates", "spikes", "analog_macs")


@dataclasses.dataclass(frozen=True)
class EnergyEstimate:
    """The energy of one inference by one table entry.

    ``picojoules`` holds the priced terms; ``unpriced`` the terms that occur and have no price, and what
    the prices leave out altogether.
    """

    prices: EnergyPrices
    picojoules: Mapping[str, float]
    unpriced: tuple[str, ...]

    @property
    def total(self) -> float | None:
        """The sum in picojoules, None where a term without a price would be hidden."""
        return None if self.unpriced else sum(self.picojoules.values())


def energy_estimate(counts: Costs, table: Sequence[EnergyPrices]) -> tuple[EnergyEstimate, ...]:
    """What ``counts`` would cost by each entry of ``table``.

    A term that an all-in price covers already is neither priced again nor missing.
    """
    return tuple(_estimate(counts, prices) for prices in table)


def _estimate(counts: Costs, prices: EnergyPrices) -> EnergyEstimate:
    amounts = {term: float(getattr(counts, term)) for term in TERMS}
    priced = {term: amounts[term] * prices.picojoules[term] for term in TERMS if term in prices.picojoules}
    missing = [t for t in TERMS if amounts[t] and t not in priced and t not in prices.covered]
    return EnergyEstimate(prices, priced, (*missing, *prices.omitted))
