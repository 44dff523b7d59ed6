"""Runs the testbench of a bundle in a Verilog simulator and reads what it says."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import subprocess
from typing import Literal

import numpy as np

from snnc.backends.verilog.plan import Design, Unit
from snnc.diagnostics import CompileError, Diagnostics, UsageError

Simulator = Literal["icarus", "verilator"]

PROGRAMS: dict[Simulator, dict[str, str]] = {
    "icarus": {"make": "make", "iverilog": "iverilog", "vvp": "iverilog"},
    "verilator": {"make": "make", "verilator": "verilator", "g++": "g++"},
}
"""The programs that a simulator needs, each with its Debian package."""

_EVENT = re.compile(
    r"DIFFERENCE (?P<unit>\w+) sample (?P<sample>\d+) step (?P<step>\d+) channel (?P<channel>\d+) "
    r"row (?P<row>\d+) column (?P<column>\d+) expected (?P<expected>-?\d+) found (?P<found>-?\d+)"
)
_WORD = re.compile(
    r"DIFFERENCE (?P<unit>\w+) (?P<what>membranes|results) (?P<index>\d+) "
    r"expected (?P<expected>[0-9a-fxz]+) found (?P<found>[0-9a-fxz]+)"
)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Where hardware and netlist part first; ``step`` counts from 0, -1: no single neuron is to blame."""

    sample: int
    step: int
    unit: str
    neuron: tuple[int, ...]
    expected: str
    found: str

    def __str__(self) -> str:
        place = f"neuron {list(self.neuron)} of {self.unit}" if self.neuron else self.unit
        return (
            f"sample {self.sample}, step {self.step}, {place}: expected {self.expected}, found {self.found}"
        )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """``cycles`` of each sample from its first event to its class; ``work`` of each unit over all samples.

    ``predicted`` and ``foretold`` are what the formulas say of them.
    """

    cycles: tuple[int, ...]
    predicted: tuple[int, ...]
    work: dict[str, int]
    foretold: dict[str, int]
    difference: Difference | None


def require(simulator: Simulator) -> None:
    """Raise UsageError (SNNC0163) with the packages to install if a program is missing."""
    found = Diagnostics()
    for program, package in PROGRAMS[simulator].items():
        if shutil.which(program) is None:
            found.error("SNNC0163", f"{program} is not installed", remedy=f"apt-get install {package}")
    found.raise_errors(UsageError)


def simulate(folder: pathlib.Path, design: Design, simulator: Simulator) -> Outcome:
    """Run ``make sim`` in a bundle. Raises CompileError (SNNC0166) if the simulator gives no verdict."""
    require(simulator)
    done = subprocess.run(
        ["make", "sim", f"SIMULATOR={simulator}"], cwd=folder, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    if not {"PASS", "FAIL"} & set(lines):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise CompileError.of("SNNC0166", f"{simulator} did not finish", context=tail)
    outcome = read(lines, design)
    as_foretold = outcome.work == outcome.foretold and outcome.cycles == outcome.predicted
    if "FAIL" in lines and outcome.difference is None and as_foretold:
        raise CompileError.of("SNNC0166", "the testbench failed and does not say why", context=done.stdout)
    return outcome


def read(lines: list[str], design: Design) -> Outcome:
    """What the lines of a testbench say; of several differences the first in sample, step and layer."""
    order = {unit.name: position for position, unit in enumerate(design.units)}
    found = [d for line in lines if line.startswith("DIFFERENCE") for d in [_difference(line, design)]]
    work = [line.split() for line in lines if line.startswith("WORK ")]
    cycles = [line.split() for line in lines if line.startswith("CYCLES ")]
    return Outcome(
        cycles=tuple(int(measured) for _, measured, _, _ in cycles),
        predicted=tuple(int(foretold) for _, _, _, foretold in cycles),
        work={unit: int(cycles) for _, unit, cycles, _, _ in work},
        foretold={unit: int(cycles) for _, unit, _, _, cycles in work},
        difference=min(found, key=lambda d: (d.sample, d.step, order.get(d.unit, 0)), default=None),
    )


def _difference(line: str, design: Design) -> Difference:
    if match := _EVENT.fullmatch(line):
        unit = match["unit"]
        rank = len(design.links[unit].shape)
        place = tuple(int(match[key]) for key in ("channel", "row", "column"))[:rank]
        sample, step = int(match["sample"]), int(match["step"])
        return Difference(sample, step, unit, place, match["expected"], match["found"])
    if match := _WORD.fullmatch(line):
        units = {unit.name: unit for unit in design.units}
        return _word(match, units[match["unit"]], design.netlist.steps)
    # the stream ended early or went on: after all that could be compared
    name = line.split()[1].split("_")[0].rstrip(":")
    return Difference(
        1 << 30, design.netlist.steps - 1, name, (), "a whole stream", line[len("DIFFERENCE ") :]
    )


def _word(match: re.Match[str], unit: Unit, steps: int) -> Difference:
    """A row of membranes or a result: the neuron and its two values."""
    geometry, index = unit.geometry, int(match["index"])
    if match["what"] == "results":
        sample, position = divmod(index, unit.population.size + 1)
        values = tuple(_signed(match[k], 0, unit.bits) for k in ("expected", "found"))
        if position == unit.population.size:
            return Difference(sample, steps - 1, unit.name, (), "another class", match["found"])
        return Difference(sample, steps - 1, unit.name, _neuron(unit, position), *values)
    sample, word = divmod(index, geometry.words)
    lanes = range(geometry.lanes)
    pairs = [tuple(_signed(match[k], n * unit.bits, unit.bits) for k in ("expected", "found")) for n in lanes]
    lane = next((n for n in lanes if pairs[n][0] != pairs[n][1]), 0)
    pixel, group = divmod(word, geometry.groups)
    position = pixel * geometry.channels + group * geometry.lanes + lane
    expected, found = pairs[lane]
    return Difference(
        sample, steps - 1, unit.name, _neuron(unit, position), f"membrane {expected}", f"membrane {found}"
    )


def _neuron(unit: Unit, position: int) -> tuple[int, ...]:
    """The place of a neuron from its position in the order of a scan."""
    rows, columns = unit.geometry.sizes
    row, column, channel = np.unravel_index(position, (rows, columns, unit.geometry.channels))
    return (int(channel), int(row), int(column))[: len(unit.geometry.shape)]


def _signed(digits: str, shift: int, bits: int) -> str:
    """The value of ``bits`` bits above ``shift``; unknown bits of a simulation stay digits."""
    if set(digits) & set("xz"):
        return digits
    value = int(digits, 16) >> shift & ((1 << bits) - 1)
    return str(value - (value >> (bits - 1) << bits))
