"""What one inference costs, per population and in total: exact counts, and the paper's formulas.

The paper's figures (ECC Eq. 13 and 14) and exact synaptic operations are different quantities and
stand side by side (docs/semantics.md §9, §10).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.costs.fanout import fan_in, fanout
from snnc.backends.netlist.model import InputPort, Netlist, Population, Projection

Counts = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProjectionCost:
    """From an input ``analog_macs`` per sample, from a population ``sops`` per sample."""

    source: str
    target: str
    synapses: int
    sops: float
    analog_macs: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """Quantities that add up over layers, per sample where they depend on activity.

    ``sops`` are weights added into membranes because of spikes, exactly; ``analog_macs`` products of
    the constant input, computed once; ``neuron_updates`` neurons × T. ``macs`` is Σ f_in·M of the ANN,
    borders included and skips without weights excluded, ``eq13`` Σ (2 f_in + 1)·M (ECC Eq. 13), and
    ``eq14`` Σ_t Σ_n f_out·s with the layer's mean f_out (ECC Eq. 14). ``kernel_ops`` is what the figures of
    ECC show in MOps: the spikes of a neuron, on average, times the weights of the next layer, each once,
    without the positions of its output. ``state_bits`` are those of membranes and of the counters of max
    gates and rectified neurons.
    """

    neurons: int
    synapses: int
    spikes: float
    sops: float
    analog_macs: int
    neuron_updates: int
    macs: int
    eq13: int
    eq14: float
    kernel_ops: float
    weight_bits: int
    parameter_bits: int
    state_bits: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCost(Costs):
    """A population, the projections into it, and (``spikes``, ``eq14``) what it sends itself."""

    population: str
    kind: str
    origin: tuple[str, ...]
    source: str
    mean_rate: float
    projections: tuple[ProjectionCost, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostReport:
    """Costs per layer, in the netlist's order, and their sum."""

    layers: tuple[LayerCost, ...]
    totals: Costs


def cost_report(netlist: Netlist, counts_per_sample: Counts) -> CostReport:
    """The costs of one inference.

    ``counts_per_sample[p]`` has the shape of population or event input ``p`` and holds how many spikes,
    negative ones included, each neuron sends in one run, as a mean over samples. Readouts send none. Costs
    are linear in counts, so that the mean over samples of the costs is exact.
    """
    outgoing = dict.fromkeys(netlist.nodes, 0)
    into: dict[str, list[ProjectionCost]] = {p.name: [] for p in netlist.populations}
    for projection in netlist.projections:
        cost = _projection_cost(projection, netlist, fanout(projection, netlist), counts_per_sample)
        into[projection.target].append(cost)
        outgoing[projection.source] += cost.synapses
    layers = tuple(
        _layer(netlist, p, tuple(into[p.name]), outgoing[p.name], counts_per_sample)
        for p in netlist.populations
    )
    return CostReport(layers=layers, totals=_total(layers))


def _projection_cost(
    projection: Projection, netlist: Netlist, synapses: npt.NDArray[np.int64], counts: Counts
) -> ProjectionCost:
    total = int(synapses.sum())
    analog = _is_analog(netlist, projection)
    return ProjectionCost(
        source=projection.source,
        target=projection.target,
        synapses=total,
        sops=0.0 if analog else float((synapses * np.abs(counts[projection.source])).sum()),
        analog_macs=total if analog else 0,
    )


def _layer(
    netlist: Netlist,
    population: Population,
    incoming: tuple[ProjectionCost, ...],
    outgoing: int,
    counts: Counts,
) -> LayerCost:
    neurons = population.size
    spikes = 0.0 if population.kind == "readout" else float(np.abs(counts[population.name]).sum())
    # the parts of a concatenation share one memory and count once
    maps = {p.weights.name: p for p in netlist.incoming(population.name) if p.weights is not None}
    inputs = sum(map(fan_in, maps.values()))
    return LayerCost(
        population=population.name,
        kind=population.kind,
        origin=population.origin,
        source=population.source,
        neurons=neurons,
        synapses=sum(p.synapses for p in incoming),
        spikes=spikes,
        mean_rate=spikes / (neurons * netlist.steps),
        sops=sum(p.sops for p in incoming),
        analog_macs=sum(p.analog_macs for p in incoming),
        neuron_updates=neurons * netlist.steps,
        macs=inputs * neurons,
        eq13=(2 * inputs + 1) * neurons if maps else 0,
        eq14=outgoing / neurons * spikes,
        kernel_ops=_kernel_ops(netlist, population, counts),
        weight_bits=sum(p.weights.bits * p.weights.values.size for p in maps.values() if p.weights),
        parameter_bits=sum(m.bits * m.values.size for m in population.memories),
        state_bits=_state_bits(netlist, population),
        projections=incoming,
    )


def _kernel_ops(netlist: Netlist, population: Population, counts: Counts) -> float:
    """Spikes per neuron of what enters through each weight memory, times the weights in it."""
    entering: dict[str, list[Projection]] = {}
    for projection in netlist.incoming(population.name):
        if projection.kind in ("conv", "dense") and not _is_analog(netlist, projection):
            assert projection.weights is not None
            entering.setdefault(projection.weights.name, []).append(projection)
    total = 0.0
    for parts in entering.values():
        spikes = sum(float(np.abs(counts[p.source]).sum()) for p in parts)
        neurons = sum(math.prod(netlist.nodes[p.source].shape) for p in parts)
        total += spikes / neurons * parts[0].weights.values.size if parts[0].weights else 0.0
    return total


def _is_analog(netlist: Netlist, projection: Projection) -> bool:
    source = netlist.nodes[projection.source]
    return isinstance(source, InputPort) and source.coding == "current"


def _state_bits(netlist: Netlist, population: Population) -> int:
    if population.kind != "max":
        counter = netlist.full_count.bit_length() if population.rectified else 0
        return population.size * (population.acc_bits + counter)
    entered = next(netlist.incoming(population.name))
    return math.prod(netlist.operand_shape(entered)) * netlist.full_count.bit_length()


def _total(layers: Iterable[Costs]) -> Costs:
    rows = list(layers)
    return Costs(**{f.name: sum(getattr(row, f.name) for row in rows) for f in dataclasses.fields(Costs)})
