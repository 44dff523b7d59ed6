"""How many cycles every unit works, from the spikes alone: the formulas that the RTL obeys.

With W words of LANES neurons, per sample (docs/hardware.md):

    clear    W + 3                                  max gate: max(W, words of its inputs)
    gather   Σ over events of the words they reach, + 1 a step        max gate: twice that, + 1 a step
    scan     W + 4 + Σ_w max(0, s_w − 1) + [s_last > 0]   for s_w spikes of word w   max gate: W + 3 + …
    token    1                                      readout: one cycle a neuron at the end, and its class

A unit that waits for another one does not work: see :mod:`snnc.backends.verilog.latency`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.record import Recording
from snnc.backends.verilog.latency import latency
from snnc.backends.verilog.memories import block_rams, rams, roms
from snnc.backends.verilog.plan import Design, Unit
from snnc.backends.verilog.ports import Port

Ints = npt.NDArray[np.int64]


def work(design: Design, recording: Recording) -> dict[str, Ints]:
    """Cycles of work of every unit, int64 [N] for N samples."""
    return {unit.name: _work(design, unit, recording) for unit in design.units}


def _work(design: Design, unit: Unit, recording: Recording) -> Ints:
    words, steps = unit.geometry.words, design.netlist.steps
    gathers = steps if design.rate else 1
    total = updates(unit, recording) * (2 if unit.population.kind == "max" else 1) + gathers
    match unit.population.kind:
        case "readout":
            # the last scan takes a cycle for each neuron instead of one for each word
            return total + (words + 3) + gathers * (words + 4) + unit.population.size - words + 1
        case "if":
            return total + (words + 3) + steps * (words + 4) + _stalls(unit, recording) + gathers
        case "max":
            clear = max(words, design.gate_inputs(unit).words)
            return total + clear + steps * (words + 3) + _stalls(unit, recording) + gathers


def updates(unit: Unit, recording: Recording) -> Ints:
    """Membrane words that are added to, int64 [N]."""
    return np.asarray(sum(_updates(port, recording) for port in unit.ports), np.int64)


def _updates(port: Port, recording: Recording) -> Ints:
    source = port.projection.source
    if port.valued:
        events = (recording.codes[source][:, 0] != 0).astype(np.int64)
    else:
        spikes = {**recording.codes, **recording.spikes}[source]
        events = np.abs(spikes).sum(axis=1, dtype=np.int64)
    return np.asarray((events * port.updates).reshape(len(events), -1).sum(axis=1))


def _stalls(unit: Unit, recording: Recording) -> Ints:
    """Cycles that scans wait for spikes to leave one by one, int64 [N]."""
    found = unit.geometry.by_word(np.abs(recording.spikes[unit.name])).sum(axis=-1)
    waits = np.maximum(found - 1, 0).sum(axis=(1, 2)) + (found[:, :, -1] > 0).sum(axis=1)
    return np.asarray(waits, np.int64)


def section(design: Design, recording: Recording, clock_mhz: float, *, calibrated: bool) -> dict[str, Any]:
    """What the report says: cycles of the testbench's samples, memories, widths."""
    cycles = work(design, recording)
    means = {name: float(found.mean()) for name, found in cycles.items()}
    taken = float(latency(design, recording).mean())
    return {
        "lanes": design.lanes,
        "clock_mhz": clock_mhz,
        "samples": len(next(iter(cycles.values()))),
        "calibrated": calibrated,
        "units": {unit.name: _unit(design, unit, recording, means) for unit in design.units},
        "cycles_per_inference": taken,
        "latency_ms": taken / clock_mhz / 1e3,
        "busiest_cycles": max(means.values()),
        "all_cycles": sum(means.values()),
        "memory": _memory(design),
    }


def _unit(design: Design, unit: Unit, recording: Recording, means: Mapping[str, float]) -> dict[str, Any]:
    weighted = [port for port in unit.ports if port.weights.size]
    return {
        "cycles": means[unit.name],
        "updates": float(updates(unit, recording).mean()),
        "lane_utilisation": _utilisation(design, unit, recording),
        "membrane_bits": unit.bits,
        "proved_bits": unit.population.acc_bits,
        "saturates": unit.population.saturates,
        "weight_bits": max((port.weight_bits for port in weighted), default=0),
    }


def _utilisation(design: Design, unit: Unit, recording: Recording) -> float | None:
    """The share of the lanes that belong to channels the event reaches, over all updates."""
    used = total = 0.0
    for port in unit.ports:
        added = float(_updates(port, recording).sum())
        width = 1 if port.single else unit.geometry.channels / port.projection.groups / port.words
        used, total = used + added * min(width, design.lanes), total + added * design.lanes
    return used / total if total else None


def _memory(design: Design) -> dict[str, Any]:
    stored = {m.name: (m.bits, m.rows) for m in roms(design)}
    written = {m.name: (m.bits, m.rows) for m in rams(design)}
    return {
        "rom_bits": sum(bits * rows for bits, rows in stored.values()),
        "ram_bits": sum(bits * rows for bits, rows in written.values()),
        "ice40_block_rams": sum(block_rams(*size) for size in (stored | written).values()),
        "memories": {name: {"bits": b, "rows": r} for name, (b, r) in (stored | written).items()},
    }
