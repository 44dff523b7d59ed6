"""How many cycles a design takes from the first event of a sample to its class, waiting included."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.model import InputPort
from snnc.backends.netlist.record import Recording
from snnc.backends.verilog import clockwork, vectors
from snnc.backends.verilog.plan import Design, Unit

Ints = npt.NDArray[np.int64]

_KINDS = {"if": clockwork.NEURONS, "max": clockwork.GATE, "readout": clockwork.READOUT}
_ENDS = 1
"""The testbench sees the class a cycle late."""


def latency(design: Design, recording: Recording) -> Ints:
    """Cycles of each sample as the testbench counts them, int64 [N]; samples do not overlap."""
    samples = range(len(next(iter(recording.codes.values()))))
    return np.array([_sample(design, recording, sample) for sample in samples], np.int64)


def _sample(design: Design, recording: Recording, sample: int) -> int:
    inputs = design.netlist.inputs
    sent = {port.name: _entering(design, port, recording.codes[port.name][sample]) for port in inputs}
    sent |= {name: _fired(design, spikes[sample]) for name, spikes in recording.spikes.items()}
    nodes = {name: position for position, name in enumerate(design.links)}
    reaches = []
    for unit in design.units:
        for port in unit.ports:
            events = sent[port.projection.source]
            reaches.append(np.where(events < 0, clockwork.TOKEN, port.updates.ravel()[events]))
    leaves = [_leaves(design, unit, recording, sample) for unit in design.units]
    events = np.array([len(sent[port.name]) for port in inputs], np.int64)
    units, ports = _units(design, nodes, _starts(leaves)), _ports(design, nodes, _starts(reaches))
    flow = np.concatenate(reaches), np.concatenate(leaves)
    return int(clockwork.run(units, ports, *flow, events, design.fifo, design.rate)) + _ENDS


def _entering(design: Design, port: InputPort, codes: Ints) -> Ints:
    """The neurons that an input's words name, in order, -1 for a token; ``codes`` are [A, …]."""
    parts: list[Ints] = []
    for frame in codes.reshape(vectors.tokens(design, port), -1, math.prod(port.shape)):
        _, hot = frame.nonzero()
        sent = np.repeat(hot, frame[frame != 0]) if port.coding == "events" else hot
        parts += [sent, np.array([-1])]
    return np.concatenate(parts).astype(np.int64)


def _fired(design: Design, spikes: Ints) -> Ints:
    """The same of a population's events in the order of its scans; ``spikes`` are [T, …]."""
    parts = []
    for step, frame in enumerate(spikes):
        order = vectors.in_order(np.arange(frame.size).reshape(frame.shape))
        parts.append(order[vectors.in_order(frame) != 0])
        if design.rate or step == len(spikes) - 1:
            parts.append(np.array([-1]))
    return np.concatenate(parts).astype(np.int64)


def _leaves(design: Design, unit: Unit, recording: Recording, sample: int) -> Ints:
    """How many words leave at each word of each scan: spikes, or of a readout the lanes of the last one."""
    if unit.population.kind != "readout":
        spikes = np.abs(recording.spikes[unit.name][sample])
        return np.asarray(unit.geometry.by_word(spikes).sum(axis=-1).ravel(), np.int64)
    found = np.zeros((_scans(design, unit), unit.geometry.words), np.int64)
    found[-1] = unit.geometry.by_word(np.ones(unit.population.shape, np.int64)).sum(axis=-1)
    return found.ravel()


def _scans(design: Design, unit: Unit) -> int:
    return 1 if unit.population.kind == "readout" and not design.rate else design.netlist.steps


def _starts(parts: Sequence[Ints]) -> Ints:
    return np.cumsum([0, *map(len, parts)])[:-1].astype(np.int64)


def _units(design: Design, nodes: dict[str, int], leaves: Ints) -> Ints:
    table = np.zeros((len(design.units), clockwork.UNIT_COLUMNS), np.int64)
    table[:, [clockwork.WORD, clockwork.X, clockwork.Y]] = -1
    ports = 0
    for row, unit, first in zip(table, design.units, leaves, strict=True):
        row[clockwork.KIND] = _KINDS[unit.population.kind]
        row[clockwork.NODE] = nodes[unit.name]
        row[clockwork.WORDS] = unit.geometry.words
        row[clockwork.SCANS] = _scans(design, unit)
        row[clockwork.LEAVES] = first
        row[clockwork.PORT], row[clockwork.PORTS] = ports, len(unit.ports)
        ports += len(unit.ports)
    return table


def _ports(design: Design, nodes: dict[str, int], reaches: Ints) -> Ints:
    ports = [(unit, port) for unit in design.units for port in unit.ports]
    table = np.zeros((len(ports), clockwork.PORT_COLUMNS), np.int64)
    for row, (unit, port), first in zip(table, ports, reaches, strict=True):
        row[clockwork.SOURCE] = nodes[port.projection.source]
        row[clockwork.HELD] = port.held
        # a max gate takes addresses, without weights on the way
        row[clockwork.STAGES] = 1 if unit.population.kind == "max" else 3
        row[clockwork.REACHES] = first
    return table
