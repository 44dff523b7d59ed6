"""Simulators and emitters; each declares whether it takes a network or a netlist."""

if __name__ != "snnc.backends":
    raise ImportError("import snnc.backends: this folder is that package, 'backends' would be a second copy")
