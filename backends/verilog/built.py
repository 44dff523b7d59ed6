"""What synthesis and place-and-route made of a design, read from what ``make pnr`` left in build/."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

from snnc import files

DEVICES = ("hx8k", "up5k")

_BYTES = 1 << 25
_CELL = re.compile(r"^ +SB_(LUT4|DFF\w*|RAM40_4K) +(\d+)$", re.MULTILINE)


def built(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """By device ``luts``, ``flip_flops`` and ``block_rams`` (Yosys), ``logic_cells``, ``fmax_mhz`` (nextpnr).

    A device that was not built is left out, and so are figures that its tools did not write as expected.
    """
    found = {device: _cells(folder, device) | _placed(folder, device) for device in DEVICES}
    return {device: figures for device, figures in found.items() if figures}


def _cells(folder: pathlib.Path, device: str) -> dict[str, Any]:
    """The counts of ``stat``, whose last table is that of the whole design."""
    count = {"LUT4": 0, "DFF": 0, "RAM40_4K": 0}
    for kind, number in _CELL.findall(_text(folder, f"build/{device}/cells.txt").rpartition("===")[2]):
        count["DFF" if kind.startswith("DFF") else kind] += int(number)
    if not count["LUT4"]:
        return {}
    return {"luts": count["LUT4"], "flip_flops": count["DFF"], "block_rams": count["RAM40_4K"]}


def _placed(folder: pathlib.Path, device: str) -> dict[str, Any]:
    try:
        report = json.loads(_text(folder, f"build/{device}/pnr.json"))
        clocks = [float(clock["achieved"]) for clock in report["fmax"].values()]
        cells = int(report["utilization"]["ICESTORM_LC"]["used"])
        return {"logic_cells": cells, "fmax_mhz": min(clocks)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _text(folder: pathlib.Path, name: str) -> str:
    try:
        return files.read_inside(folder, name, limit=_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
