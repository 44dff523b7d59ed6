"""Builds designs from netlists and runs several of them in one simulation."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

from snnc.backends import netlist as netlist_backend
from snnc.backends.netlist.record import record
from snnc.backends.verilog import Verilog, folder
from snnc.backends.verilog.memories import path, roms
from snnc.backends.verilog.testbench import testbench
from snnc.backends.verilog.top import top
from snnc.diagnostics import Diagnostics
from snnc.passes.legalize import Legalize

RTL = sorted((pathlib.Path(folder.__file__).parent / "rtl").glob("*.v"))
TB = sorted((pathlib.Path(folder.__file__).parent / "tb").glob("snn_*.v"))


class Context:
    """All that legalize asks for."""

    def __init__(self):
        self.diagnostics = Diagnostics()


def need(*programs):
    """Skip unless all programs are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: iverilog, verilator, yosys, nextpnr-ice40)")


def lower(network, **options):
    """The netlist of a network whose widths are not proved yet."""
    return netlist_backend.lower(Legalize(**options).apply(network, Context()))


def write(root, name, backend: Verilog, netlist, samples):
    """A design called ``name`` below ``root``, with paths of its own."""
    design, recording = backend.design(netlist), record(netlist, samples)
    files = {f"rtl/{name}.v": top(design, name).encode()}
    files |= {path(rom.name): rom.content for rom in roms(design)}
    files |= testbench(design, recording, name)
    for file, content in files.items():
        target = root / name / file
        target.parent.mkdir(parents=True, exist_ok=True)
        text = content.decode()
        target.write_text(re.sub('"(mem|tb)/', rf'"{name}/\1/', text) if file.endswith(".v") else text)
    return design


def sources(root):
    """All Verilog of the designs below ``root``."""
    return [str(p) for p in (*RTL, *TB, *sorted(root.glob("*/rtl/*.v")), *sorted(root.glob("*/tb/*.v")))]


def together(root, names, stream):
    """A module that runs the benches of all designs and says which of them failed."""
    wires = [f"wire [{len(names) - 1}:0] done, failed;"]
    wires += [
        f"{name}_bench #(.STREAM({stream})) b{k} (.done(done[{k}]), .failed(failed[{k}]));"
        for k, name in enumerate(names)
    ]
    wires.append('always @* if (&done) begin #1 $display("VERDICT %b", failed); $finish; end')
    (root / "all.v").write_text("`timescale 1ns / 1ns\nmodule all;\n" + "\n".join(wires) + "\nendmodule\n")


def icarus(root, names, stream=0):
    """Run all designs; returns what the benches said."""
    together(root, names, stream)
    build = ["iverilog", "-g2005", "-s", "all", "-o", "sim", "all.v", *sources(root)]
    subprocess.run(build, cwd=root, check=True, capture_output=True, text=True)
    return subprocess.run(
        ["vvp", "-n", "sim"], cwd=root, check=True, capture_output=True, text=True, timeout=300
    ).stdout


def verilator(root, names, stream=0):
    """The same with Verilator."""
    together(root, names, stream)
    build = ["verilator", "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-O1"]
    build += ["--top-module", "all", "--Mdir", "obj", "-o", "../sim", "all.v", *sources(root)]
    subprocess.run(build, cwd=root, check=True, capture_output=True, text=True)
    return subprocess.run(["./sim"], cwd=root, check=True, capture_output=True, text=True, timeout=300).stdout


def passed(output, names):
    """Whether every bench was content."""
    return f"VERDICT {'0' * len(names)}\n" in output
