"""From a compiled network to files and costs: the netlist, and the backends that were asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Activity, Backend
from snnc.diagnostics import Diagnostics
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, MaxGate

if TYPE_CHECKING:
    from snnc.backends.costs import CostReport
    from snnc.backends.netlist import Netlist

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Emission:
    """``files`` by path in the artifact; ``costs``, what the report says of each backend, by name.

    ``netlist`` is what they were made from; None if nothing was.
    """

    netlist: Netlist | None = None
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    costs: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def emit(network: Network, backends: Sequence[Backend[Any]], activity: Activity) -> Emission:
    """What ``backends`` make of an int-level network.

    Raises CompileError with all that any of them refuses, before anything is emitted.
    """
    from snnc.backends import netlist

    subjects: dict[str, Any] = {"network": network, "netlist": netlist.lower(network)}
    found = Diagnostics()
    events = any(port.coding == "events" for port in subjects["netlist"].inputs)
    for backend in backends:
        if events and not backend.takes_events:
            remedy = "use --input current, or the backend netlist alone"
            found.error("SNNC0131", f"the backend {backend.name} takes no input of events", remedy=remedy)
            continue
        backend.validate(subjects[backend.takes], found)
    found.raise_errors()
    files: dict[str, bytes] = {}
    costs: dict[str, Mapping[str, Any]] = {}
    for backend in backends:
        made = backend.emit(subjects[backend.takes], activity)
        assert not made.keys() & files.keys(), f"{backend.name} writes what another backend wrote"
        files.update(made)
        if section := backend.cost(subjects[backend.takes], activity):
            costs[backend.name] = section
    return Emission(subjects["netlist"], files, costs)


def netlist_files(network: Network) -> dict[str, bytes]:
    """What the netlist backend emits; nothing before the network counts in integers."""
    from snnc.backends.netlist import NetlistFiles

    return {} if network.level != "int" else dict(emit(network, [NetlistFiles()], Activity()).files)


def network_costs(
    network: Network, counts: Mapping[int, Array], lowered: Netlist | None = None
) -> CostReport:
    """The costs of an int-level network whose neurons fire ``counts[node]`` times per sample, else never.

    ``lowered`` is its netlist, if there is one already.
    """
    from snnc.backends import netlist
    from snnc.backends.costs import cost_report

    names = population_names(network)
    none = {names[n]: np.zeros(network.type(n).shape) for n in network.of(IfNeuron, MaxGate, Input)}
    lowered = lowered or netlist.lower(network)
    return cost_report(lowered, none | {names[node]: c for node, c in counts.items()})


def population_names(network: Network) -> dict[int, str]:
    """The netlist's name of every node: its position in the network's order."""
    return {node: f"p{position}" for position, node in enumerate(network.nodes)}
