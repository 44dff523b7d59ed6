"""The netlist backend: one lowering, from which all hardware backends and simulate.py are made."""

from __future__ import annotations

from snnc.backends.netlist.emit import NetlistFiles
from snnc.backends.netlist.lower import lower
from snnc.backends.netlist.model import Netlist
from snnc.backends.netlist.read import load_netlist

__all__ = ["Netlist", "NetlistFiles", "load_netlist", "lower"]
