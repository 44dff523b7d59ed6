"""Reads a netlist back from the folder it was written to."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from snnc.backends.netlist import memory
from snnc.backends.netlist.emit import ADDRESS_STEPS, FORMAT, VERSION
from snnc.backends.netlist.model import (
    InputPort,
    Memory,
    Netlist,
    OutputPort,
    Population,
    Projection,
    Register,
    Window,
)
from snnc.diagnostics import CompileError
from snnc.files import read_inside

_MEMORY_FIELDS = ("threshold", "bias", "v_init", "weights", "multiplicity")
_LIMIT = 1 << 32
_MOST_BYTES = 1 << 28


def load_netlist(folder: pathlib.Path) -> Netlist:
    """The netlist in ``folder``: netlist.json and mem/*.mem.

    Raises CompileError (SNNC0161) if they are missing, damaged or of another version.
    """
    path = folder / "netlist.json"
    try:
        content = json.loads(read_inside(folder, path.name, limit=_MOST_BYTES), parse_constant=_refuse)
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise CompileError.of("SNNC0161", f"{path} is not {FORMAT} version {VERSION}")
        memories = {name: _memory(folder, name, entry) for name, entry in content["memories"].items()}
        return _netlist(content, memories)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else f"{folder}: {error}"
        raise CompileError.of("SNNC0161", f"cannot read {what}") from None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CompileError.of("SNNC0161", f"{path} is damaged: {error!r}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _memory(folder: pathlib.Path, name: str, entry: Mapping[str, Any]) -> Memory:
    bits, shape = entry["bits"], tuple(entry["shape"])
    size = int(np.prod(shape, dtype=object))
    if not re.fullmatch("[a-z0-9_]+", name) or not 1 <= bits <= 64 or not 0 <= size < _LIMIT:
        raise ValueError(f"memory {name!r} of {size} words of {bits} bits")
    if "values" in entry:
        values = np.array(entry["values"], np.int64)
    else:
        path = folder / "mem" / f"{name}.mem"
        # digits and a newline for each word, and one byte more to notice a longer file
        most = size * ((bits + 3) // 4 + 1) + 1
        values = memory.decode(read_inside(folder, f"mem/{path.name}", limit=most), bits, size, str(path))
    return Memory(name, values.reshape(shape))


def _netlist(content: Mapping[str, Any], memories: Mapping[str, Memory]) -> Netlist:
    def build(kind: type, entry: Mapping[str, Any]) -> Any:
        fields = {name: _tuples(value) for name, value in entry.items()}
        fields |= {f: memories[fields[f]] for f in _MEMORY_FIELDS if f in fields}
        for name, part in (("window", Window), ("register", Register)):
            if name in fields:
                fields[name] = build(part, fields[name])
        if "address" in fields:
            fields["address"] = tuple(build_step(step) for step in fields["address"])
        return kind(**fields)

    def build_step(entry: Mapping[str, Any]) -> Any:
        return build(ADDRESS_STEPS[entry["op"]], {k: v for k, v in entry.items() if k != "op"})

    return Netlist(
        name=content["name"],
        steps=content["steps"],
        schedule=content["schedule"],
        inputs=tuple(build(InputPort, e) for e in content["inputs"]),
        populations=tuple(build(Population, e) for e in content["populations"]),
        projections=tuple(build(Projection, e) for e in content["projections"]),
        outputs=tuple(build(OutputPort, e) for e in content["outputs"]),
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
