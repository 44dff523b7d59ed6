"""The Verilog backend: the netlist as an event-driven design that spikes bit for bit."""

from __future__ import annotations

from snnc.backends.verilog.backend import Verilog

__all__ = ["Verilog"]
