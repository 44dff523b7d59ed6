"""The versions of snnc and of the formats it writes."""

__version__ = "0.1.0"
IR_FORMAT = "snnc-ir 1"
NETLIST_FORMAT = "snnc-netlist 1"
