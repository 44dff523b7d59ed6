"""A netlist as files: netlist.json, mem/*.mem and simulate.py."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from typing import Any

from snnc.backends.base import Activity, Backend
from snnc.backends.netlist import memory
from snnc.backends.netlist.model import Memory, Netlist, Pad, Reshape, Slice, SumPool, Transpose

FORMAT = "snnc-netlist"
VERSION = 1
ADDRESS_STEPS: dict[str, type] = {
    "reshape": Reshape,
    "transpose": Transpose,
    "slice": Slice,
    "pad": Pad,
    "sum_pool": SumPool,
}
_STEP_NAMES = {kind: name for name, kind in ADDRESS_STEPS.items()}


@dataclasses.dataclass(frozen=True)
class NetlistFiles(Backend[Netlist]):
    """netlist.json, mem/*.mem and simulate.py, which runs the folder with nothing but NumPy.

    Memories of one word are written into netlist.json, all others to ``mem/<name>.mem``.
    """

    name = "netlist"
    takes_events = True

    def emit(self, netlist: Netlist, activity: Activity) -> dict[str, bytes]:
        """See :class:`snnc.backends.base.Backend`."""
        files = {"netlist.json": _dump(describe(netlist)), "simulate.py": _simulator()}
        for name, stored in netlist.memories.items():
            if stored.values.size != 1:
                files[f"mem/{name}.mem"] = memory.encode(stored.values, stored.bits)
        return files


def describe(netlist: Netlist) -> dict[str, Any]:
    """The content of netlist.json; see netlist.schema.json."""
    fields = {f.name: _plain(getattr(netlist, f.name)) for f in dataclasses.fields(netlist)}
    memories = {name: _describe_memory(stored) for name, stored in netlist.memories.items()}
    return {"format": FORMAT, "version": VERSION, **fields, "memories": memories}


def _describe_memory(stored: Memory) -> dict[str, Any]:
    entry: dict[str, Any] = {"bits": stored.bits, "shape": list(stored.shape)}
    return entry | ({"values": stored.values.ravel().tolist()} if stored.values.size == 1 else {})


def _plain(value: Any) -> Any:
    """JSON for a field: memories by name, fields that are None left out."""
    if isinstance(value, Memory):
        return value.name
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    plain = {name: _plain(field) for name, field in fields.items() if field is not None}
    return plain | ({"op": _STEP_NAMES[type(value)]} if type(value) in _STEP_NAMES else {})


def _dump(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return f"{text}\n".encode("ascii")


def _simulator() -> bytes:
    return importlib.resources.files("snnc.backends.netlist").joinpath("executor.py").read_bytes()
