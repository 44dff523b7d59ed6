"""The memory files of a design: what each holds, how wide and how deep it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from snnc.backends.verilog import words
from snnc.backends.verilog.plan import Design
from snnc.backends.verilog.ports import Port

AXES = ("channel", "row", "column")


@dataclasses.dataclass(frozen=True)
class Rom:
    """A memory of constants and its file's content."""

    name: str
    bits: int
    rows: int
    content: bytes


def path(name: str) -> str:
    """Where a memory is, from the bundle's folder."""
    return f"mem/{name}.mem"


def roms(design: Design) -> Iterator[Rom]:
    """Every memory of constants in the order of the top module."""
    for unit in design.units:
        for port in unit.ports:
            yield from _port_roms(port)
        for field, parameter in unit.parameters.items():
            content = words.encode_lanes(parameter.rows, parameter.bits)
            width = design.lanes * parameter.bits
            yield Rom(f"{unit.name}.{field}", width, len(parameter.rows), content)


def _port_roms(port: Port) -> Iterator[Rom]:
    for axis, lists in zip(AXES, port.axes, strict=True):
        if lists is None:
            continue
        size = slots(lists)
        count_bits = size.bit_length()
        counts = [len(hits) for hits in lists]
        yield Rom(f"{port.name}.{axis}_counts", count_bits, len(lists), words.encode([(counts, count_bits)]))
        hits = np.zeros((len(lists), size, 3), np.int64)
        for coordinate, found in enumerate(lists):
            hits[coordinate, : len(found)] = np.array(found, np.int64).reshape(-1, 3)
        weights, targets, gains = hits.reshape(-1, 3).T
        fields = [(weights, port.weight_address), (targets, port.target_bits)]
        pair = port.weight_address + port.target_bits
        yield Rom(f"{port.name}.{axis}_list", pair, len(weights), words.encode(fields))
        if port.gain_bits > 1:
            content = words.encode([(gains, port.gain_bits)])
            yield Rom(f"{port.name}.{axis}_gains", port.gain_bits, len(gains), content)
    if port.weights.size:
        content = words.encode_lanes(port.weights, port.weight_bits)
        yield Rom(
            f"{port.name}.weights", port.weights.shape[1] * port.weight_bits, len(port.weights), content
        )


def slots(lists: tuple[tuple[object, ...], ...]) -> int:
    """The room for every list of an axis: a power of two."""
    longest = max(map(len, lists), default=1)
    return 1 << (max(longest, 1) - 1).bit_length()


@dataclasses.dataclass(frozen=True)
class Ram:
    """A memory that is written; ``bits`` is the width of a word."""

    name: str
    bits: int
    rows: int


def rams(design: Design) -> Iterator[Ram]:
    """Queues, membranes, constant currents, and the counts of max gates and of rectified neurons."""
    for unit in design.units:
        for port in unit.ports:
            yield Ram(f"{port.name}.queue", port.link.width, design.fifo)
        words, lanes = unit.geometry.words, design.lanes
        if unit.population.kind == "max":
            count = sum(design.spike_values).bit_length()
            yield Ram(f"{unit.name}.counts", lanes * count, design.gate_inputs(unit).words)
            yield Ram(f"{unit.name}.maxima", 2 * lanes * count, words)
            continue
        yield Ram(f"{unit.name}.membranes", lanes * unit.bits, words)
        if any(unit.held):
            yield Ram(f"{unit.name}.currents", lanes * unit.bits, words)
        if unit.population.rectified:
            yield Ram(f"{unit.name}.sent", lanes * design.netlist.steps.bit_length(), words)


LOGIC_BITS = 1024
"""Memories of at most so many bits become logic, larger ones block RAM; as rtl/snn_rom.v says."""


def block_rams(bits: int, rows: int) -> int:
    """The 4-kbit blocks of an iCE40 that a memory takes: 256 × 16, 512 × 8, 1024 × 4 or 2048 × 2."""
    if bits * rows <= LOGIC_BITS:
        return 0
    return min(-(-rows // (256 << k)) * -(-bits // (16 >> k)) for k in range(4))
