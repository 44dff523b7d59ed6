"""The hardware of a netlist in numbers: what every module instance is made with.

A population becomes one unit that works on ``lanes`` neurons at a time, each projection a port of its
target. Everything that is printed, stored or counted is derived from here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.backends.netlist.model import InputPort, Memory, Netlist, Population, Projection, SumPool
from snnc.backends.verilog.geometry import Geometry, Link, address_bits
from snnc.backends.verilog.ports import Port, plan_port
from snnc.ir.schedule import spike_values

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a population as rows of ``lanes`` words; see rtl/snn_parameter.v.

    ``rows`` is [steps · rows of one step, lanes]; ``span`` is 0 for one value, 1 per channel, 2 per neuron.
    """

    span: int
    steps: int
    rows: Ints

    @property
    def bits(self) -> int:
        """The width of a value."""
        return fixedpoint.signed_bits(int(self.rows.min()), int(self.rows.max()))


@dataclasses.dataclass(frozen=True)
class Unit:
    """One population. ``bits`` is the width of a membrane in memory, 0 for a max gate."""

    population: Population
    geometry: Geometry
    ports: tuple[Port, ...]
    parameters: Mapping[str, Parameter]
    bits: int

    @property
    def name(self) -> str:
        """The population's name."""
        return self.population.name

    @property
    def held(self) -> tuple[bool, ...]:
        """For each port, whether it keeps a constant current over the sample."""
        return tuple(port.held for port in self.ports)


@dataclasses.dataclass(frozen=True)
class Design:
    """A netlist as hardware."""

    netlist: Netlist
    lanes: int
    fifo: int

    @property
    def rate(self) -> bool:
        """Whether populations fire after every step, not after the whole sample."""
        return self.netlist.schedule == "rate"

    @property
    def phases(self) -> int:
        """The number of steps if a spike's worth depends on its step, else 0."""
        return self.netlist.steps if self.netlist.schedule == "phase" else 0

    @property
    def spike_values(self) -> tuple[int, ...]:
        """What a spike of each step counts."""
        return spike_values(self.netlist.schedule, self.netlist.steps)

    @functools.cached_property
    def links(self) -> Mapping[str, Link]:
        """The events of every input and every population that fires."""
        return {name: self._link(node) for name, node in self.netlist.nodes.items()}

    def _link(self, node: InputPort | Population) -> Link:
        if isinstance(node, InputPort) and node.coding == "current":
            return Link(node.bits + (not node.signed), node.shape)
        return Link(1 + (address_bits(self.phases) if self.phases > 1 else 0), node.shape)

    @functools.cached_property
    def units(self) -> tuple[Unit, ...]:
        """In the order of the populations."""
        return tuple(self._unit(population) for population in self.netlist.populations)

    def _unit(self, population: Population) -> Unit:
        geometry = Geometry(population.shape, self.lanes)
        ports = tuple(
            plan_port(self, population, projection, position)
            for position, projection in enumerate(self.netlist.incoming(population.name))
        )
        total = None if self.rate else self.spike_values
        parameters = {
            field: _parameter(memory, geometry, fill, total if field == "bias" else None)
            for field, fill in (("v_init", 0), ("bias", 0), ("threshold", 1))
            if (memory := getattr(population, field)) is not None
        }
        return Unit(population, geometry, ports, parameters, self._membrane_bits(population))

    def _membrane_bits(self, population: Population) -> int:
        """The proven width; one that saturates is first summed exactly, at the width of V + Z + b."""
        if not population.saturates:
            return population.acc_bits
        assert population.bias is not None
        most = sum(self._reach(p) for p in self.netlist.incoming(population.name))
        runs = 1 if self.rate else sum(self.spike_values)
        most += runs * int(np.abs(population.bias.values).max())
        most += fixedpoint.symmetric_limit(population.acc_bits)
        return fixedpoint.signed_bits(-most, most)

    def _reach(self, projection: Projection) -> int:
        """The greatest magnitude of what a projection adds between two scans."""
        assert projection.weights is not None
        weights = np.abs(projection.weights.values.astype(np.int64))
        rows = weights.reshape(len(weights) if weights.ndim else 1, -1).sum(axis=1)
        operand = 1 if self.rate else sum(self.spike_values)
        source = self.netlist.nodes[projection.source]
        if isinstance(source, InputPort):
            operand *= source.max_count if source.coding == "events" else 1 << source.bits
        for step in projection.address:
            if isinstance(step, SumPool):
                times = 1 if step.multiplicity is None else int(step.multiplicity.values.max())
                operand *= step.kernel[0] * step.kernel[1] * times
        return int(rows.max()) * operand << projection.shift

    def gate_inputs(self, unit: Unit) -> Geometry:
        """Where a max gate keeps the counts of its inputs."""
        return Geometry(self.netlist.operand_shape(unit.ports[0].projection), self.lanes)

    def feeds(self, node: str) -> tuple[Port, ...]:
        """The ports that take a node's events."""
        return tuple(port for unit in self.units for port in unit.ports if port.projection.source == node)


def _parameter(memory: Memory, geometry: Geometry, fill: int, total: tuple[int, ...] | None) -> Parameter:
    """``total``: the spike values of a schedule that adds the whole run's bias at once."""
    values, rank = memory.values.astype(np.int64), len(geometry.shape)
    timed = values.ndim in (2, 4)
    if total is not None:
        values = values.sum(axis=0) if timed else values * sum(total)
        timed = False
    values = values if timed else values[None]
    channels = geometry.channels
    if values[0].size == 1 and (fill or not values.any() or channels % geometry.lanes == 0):
        spread = np.broadcast_to(values.reshape(-1, 1), (len(values), geometry.lanes))
        return Parameter(0, len(values), np.ascontiguousarray(spread))
    if values.ndim == 2 or rank == 1:
        flat = np.broadcast_to(values.reshape(len(values), -1), (len(values), channels))
        return Parameter(1, len(values), _lanes(flat, geometry, fill))
    flat = np.broadcast_to(values, (len(values), *geometry.shape)).transpose(0, 2, 3, 1)
    return Parameter(2, len(values), _lanes(flat, geometry, fill))


def _lanes(values: Ints, geometry: Geometry, fill: int) -> Ints:
    """[…, C] as rows of ``lanes`` channels; lanes beyond the last channel hold ``fill``."""
    spare = geometry.groups * geometry.lanes - geometry.channels
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, spare)], constant_values=fill)
    return padded.reshape(-1, geometry.lanes)
