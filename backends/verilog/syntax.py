"""Verilog text. Every name that is printed was made by snnc; no text of a model is."""

from __future__ import annotations

from collections.abc import Mapping

Value = int | str


def instance(module: str, name: str, parameters: Mapping[str, Value], ports: Mapping[str, str]) -> str:
    """A module instance; parameters that are text are printed as they are."""
    values = ",\n".join(f"        .{key}({value})" for key, value in parameters.items())
    wires = ",\n".join(f"        .{key}({wire})" for key, wire in ports.items())
    head = f"    {module} #(\n{values}\n    ) {name} (" if parameters else f"    {module} {name} ("
    return f"{head}\n{wires}\n    );\n"


def wire(name: str, bits: int = 1) -> str:
    """A declaration."""
    return f"    wire {vector(bits)}{name};\n"


def vector(bits: int) -> str:
    """The range of a signal of ``bits``, with a blank behind it; nothing for a single bit."""
    return f"[{bits - 1}:0] " if bits > 1 else ""


def joined(names: list[str]) -> str:
    """A concatenation whose first element is the least significant."""
    return names[0] if len(names) == 1 else "{" + ", ".join(reversed(names)) + "}"
