"""Simulators and emitters; each declares whether it takes a network or a netlist."""
