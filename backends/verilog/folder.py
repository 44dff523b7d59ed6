"""The folder that an engineer gets: modules, memories, constraints, Makefile and a README."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator

from snnc.backends.verilog.board import board
from snnc.backends.verilog.memories import path, roms
from snnc.backends.verilog.plan import Design
from snnc.backends.verilog.top import top


def files(design: Design, device: str) -> dict[str, bytes]:
    """Everything but the testbench of this design, by path."""
    found = {"rtl/snn.v": top(design, "snn").encode("ascii")}
    if (text := board(design)) is not None:
        found["board/board.v"] = text.encode("ascii")
    for part in ("rtl", "tb", "board"):
        found |= {f"{part}/{name}": content for name, content in _shipped(part)}
    found |= {path(rom.name): rom.content for rom in roms(design)}
    makefile = dict(_shipped("bundle"))["Makefile"]
    found["Makefile"] = makefile.replace(b"@DEVICE@", device.encode("ascii"))
    found["README.md"] = dict(_shipped("bundle"))["README.md"]
    return found


def _shipped(part: str) -> Iterator[tuple[str, bytes]]:
    entries = importlib.resources.files("snnc.backends.verilog").joinpath(part).iterdir()
    for entry in sorted(entries, key=lambda e: e.name):
        yield entry.name, entry.read_bytes()
