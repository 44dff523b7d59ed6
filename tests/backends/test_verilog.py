"""The Verilog spikes as its netlist does, bit for bit, in as many cycles as the formulas say."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_networks import MAKERS, Builder, make, random_chain, samples
from verilog_tools import RTL, icarus, lower, need, passed, verilator, write

from snnc.backends.base import Activity
from snnc.backends.netlist.record import record
from snnc.backends.verilog import Verilog
from snnc.backends.verilog.built import built
from snnc.backends.verilog.memories import block_rams
from snnc.cli import run
from snnc.diagnostics import Diagnostics
from snnc.ir.constants import Constant
from snnc.ir.ops import Dense, Input, Output, Readout, Reshape, Slice, SumPool

REFUSED = ["variants-rate", "saturating-rate", "leading-rate", "rectified_gates-rate"]
"""Delays, currents rounded into a register, max pools that pass their leading input or lessen a count."""
BATCH = 20


def variants(schedule):
    """Reset to zero, strict comparison, thresholds in time, membranes that saturate."""
    b = Builder(schedule)
    x = b.input(1, 4, 4)
    a = b.fire(b.conv(x, 2), reset="zero", threshold=b.ints(20, 40, 6, 2))
    c = b.fire(b.conv(a, 2, (2, 2), pads=(1, 1, 0, 0)), compare="gt")
    d = b.fire(b.conv(c, 2, (1, 1)), b.conv(c, 2, (1, 1)), signed=True, reset="zero")
    narrow = b.fire(b.conv(d, 3, (2, 2)), threshold=b.ints(20, 30, 3), acc_bits=6, saturates=True)
    return b.read(narrow, acc_bits=6, saturates=True)


def tangled(schedule):
    """An address map that does not fall apart into axes, and pools that overlap."""
    b = Builder(schedule)
    a = b.fire(b.conv(b.input(1, 5, 5), 2, (2, 2)))
    flat = b.reshape(a, (32,))
    part = b.add(Slice(starts=(3,), stops=(27,), steps=(2,)), flat)
    square = b.add(Reshape(shape=(3, 2, 2)), part)
    multiplicity = Constant(np.array([[2, 1], [1, 3]]))
    pooled = b.add(SumPool(kernel=(2, 2), pads=(1, 1, 0, 0), multiplicity=multiplicity), square)
    return b.read(b.fire(b.conv(pooled, 3, (2, 2))))


def designs(root, networks, seed=0, **options):
    """Every network as a design of its own, with lanes and queues drawn from a seed."""
    rng = np.random.default_rng(seed)
    names = []
    for position, network in enumerate(networks):
        names.append(f"n{position}")
        chosen = {"lanes": int(rng.choice([1, 2, 4, 8])), "fifo": int(rng.choice([2, 4, 16]))} | options
        write(root, names[-1], Verilog(**chosen), lower(network), samples(network, 2))
    return names


SHORT = [
    "signed-phase",
    "rectified-rate",
    "rectified_gates-layerwise",
    "saturating-layerwise",
    "gates-layerwise",
    "concat-rate",
    "events-rate",
]


def test_some_forms_of_a_network_equal_their_netlists(tmp_path):
    need("iverilog", "vvp")
    networks = [*map(make, SHORT), variants("rate"), tangled("rate")]
    names = designs(tmp_path, networks)
    output = icarus(tmp_path, names)
    assert passed(output, names), output


@pytest.mark.slow
@pytest.mark.parametrize("stream", [0, 1])
def test_every_form_of_a_network_equals_its_netlist(tmp_path, stream):
    need("iverilog", "vvp")
    networks = [make(name) for name in MAKERS if name not in REFUSED]
    networks += [tangled(schedule) for schedule in ("layerwise", "phase")]
    names = designs(tmp_path, networks, seed=stream)
    output = icarus(tmp_path, names, stream)
    assert passed(output, names), output


def extreme():
    """Layers that −8 or 7 as input drive to their ends: −8 the first one, 7 the others."""
    b = Builder("rate", 8)
    x = b.add(Input(name="x", shape=(1,), coding="current", bits=4, signed=True))
    eager = {"threshold": Constant(1), "bias": Constant(0), "v_init": Constant(0)}
    first = b.fire(b.add(Dense(weight=Constant(np.array([[1]]))), x), **eager)
    second = b.fire(b.add(Dense(weight=Constant(np.array([[-8], [8]]))), first), **eager)
    last = b.add(Dense(weight=Constant(np.array([[0, -8]]))), second)
    b.add(Output(name="y"), b.add(Readout(bias=Constant(0)), last))
    return b.network


@pytest.mark.parametrize(
    # T·(−8) is the most negative word of 7 bits: none is to spare; with 5 bits u stops at −15
    ("acc_bits", "width", "lowest"),
    [(0, (7, False), -64), (5, (5, True), -15)],
)
def test_the_worst_case_fills_every_accumulator_and_overflows_none(acc_bits, width, lowest, tmp_path):
    need("iverilog", "vvp")
    netlist, inputs = lower(extreme(), acc_bits=acc_bits), {"x": np.array([[-8.0], [7.0]])}
    recording = record(netlist, inputs)
    assert [(p.acc_bits, p.saturates) for p in netlist.populations] == [width] * 3
    assert [int(recording.membranes[p.name].min()) for p in netlist.populations] == [lowest] * 3
    write(tmp_path, "n0", Verilog(lanes=2), netlist, inputs)
    output = icarus(tmp_path, ["n0"])
    assert passed(output, ["n0"]), output


def check_random(seed, simulate, count=BATCH):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        chains = [random_chain(seed * BATCH + k, events=k % 3 == 0) for k in range(count)]
        names = designs(root, chains, seed)
        output = simulate(root, names, stream=seed % 2)
        assert passed(output, names), output


def test_random_networks_equal_their_netlists():
    need("iverilog", "vvp")
    check_random(1, icarus, count=5)


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32))
def test_200_random_networks_equal_their_netlists(seed):
    need("iverilog", "vvp")
    check_random(seed, icarus)


@pytest.mark.slow
def test_random_networks_equal_their_netlists_in_verilator():
    need("verilator", "g++", "make")
    check_random(7, verilator)


@pytest.mark.parametrize("name", ["plain-rate", "gates-phase", "signed-rate", "rectified-rate"])
def test_lint_finds_nothing(name, tmp_path):
    need("verilator")
    (design,) = designs(tmp_path, [make(name)])
    command = ["verilator", "--lint-only", "-Wall", "--top-module", design, *map(str, RTL)]
    done = subprocess.run(
        [*command, f"{design}/rtl/{design}.v"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def compiled(digits, tmp_path_factory):
    """The digits example with Verilog, few steps."""
    out = tmp_path_factory.mktemp("verilog") / "digits.snnc"
    options = ["--bits", "8", "--T", "4", "--backend", "verilog{lanes=2}", "-o", str(out)]
    assert run(["compile", str(digits.model), "--calib", str(digits.data), *options]) == 0
    return out


@pytest.mark.parametrize("name", ["icarus", pytest.param("verilator", marks=pytest.mark.slow)])
def test_cosimulation_of_digits(compiled, digits, name, capsys):
    need("make", *({"icarus": ("iverilog", "vvp"), "verilator": ("verilator", "g++")}[name]))
    command = ["cosim", str(compiled), "--data", str(digits.data), "--limit", "2"]
    assert run([*command, "--simulator", name]) == 0
    assert "every spike equal" in capsys.readouterr().out


def test_cosimulation_refuses_a_changed_memory(compiled, digits, tmp_path, capsys):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(compiled), str(copy)], check=True)
    memory = copy / "mem" / "p5_in0.weights.mem"
    memory.write_bytes(memory.read_bytes()[::-1])
    assert run(["cosim", str(copy), "--data", str(digits.data)]) == 1
    assert "mem/p5_in0.weights.mem was changed" in capsys.readouterr().err


def test_cosimulation_names_the_package_of_a_missing_simulator(compiled, digits, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert run(["cosim", str(compiled), "--data", str(digits.data)]) == 2
    assert "apt-get install iverilog" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("printed", "code", "text"),
    [
        ("syntax error", "SNNC0166", "icarus did not finish"),
        ("FAIL", "SNNC0166", "does not say why"),
        ("WORK p5 9 formula 8\nFAIL", "SNNC0132", "p5 worked 9 cycles, the formula says 8"),
        ("CYCLES 9 foretold 8\nFAIL", "SNNC0132", "sample 0 took 9 cycles, the model says 8"),
        ("DIFFERENCE p5_to_p7: events are missing\nFAIL", "SNNC0132", "p5"),
    ],
)
def test_what_a_simulator_says_is_the_verdict(
    compiled, digits, monkeypatch, capsys, tmp_path, printed, code, text
):
    for program in ("make", "iverilog", "vvp"):
        (tmp_path / program).write_text(f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert run(["cosim", str(compiled), "--data", str(digits.data)]) == 1
    said = capsys.readouterr().err
    assert code in said
    assert text in said


def test_the_bundle_runs_without_snnc_and_says_what_differs(compiled, tmp_path):
    need("make", "iverilog", "vvp")
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(compiled), str(copy)], check=True)
    make_sim = ["make", "-C", str(copy), "sim"]
    assert "\nPASS\n" in subprocess.run(make_sim, check=True, capture_output=True, text=True).stdout
    threshold = copy / "mem" / "p5.threshold.mem"
    threshold.write_text("0" * 5 + threshold.read_text()[5:])
    done = subprocess.run(make_sim, check=False, capture_output=True, text=True)
    assert done.returncode
    assert "DIFFERENCE p5 sample 0 step 0 channel" in done.stdout
    assert {p.name for p in copy.iterdir()} - {p.name for p in compiled.iterdir()} == {"build"}
    assert run(["verify", str(compiled)]) == 0


def test_the_report_has_a_hardware_section(compiled):
    section = json.loads((compiled / "report.json").read_bytes())["backends"]["verilog"]
    assert section["units"]["p5"]["cycles"] == section["busiest_cycles"]
    predicted = int((compiled / "tb/cycles.mem").read_text(), 16)
    assert section["cycles_per_inference"] == predicted > section["busiest_cycles"]
    assert section["units"]["p5"]["lane_utilisation"] == 1.0
    assert section["memory"]["memories"]["p5_in0.weights"] == {"bits": 16, "rows": 2304}
    assert section["memory"]["ice40_block_rams"] == 26


def test_the_report_shows_the_hardware(compiled, capsys):
    assert run(["report", str(compiled)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Verilog, 2 lanes: " in shown
    assert "cycles per inference" in shown
    assert "26 block RAMs of an iCE40" in shown
    assert "built for" not in shown


CELLS = """=== part ===
     SB_LUT4                         9
=== board ===
     SB_DFF                        338
     SB_DFFESR                     187
     SB_LUT4                      3191
     SB_RAM40_4K                    28
"""
PLACED = {"fmax": {"clk": {"achieved": 69.628}}, "utilization": {"ICESTORM_LC": {"used": 4898}}}


def test_the_report_shows_what_was_built(compiled, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(compiled, copy)
    for device in ("hx8k", "up5k"):
        (copy / "build" / device).mkdir(parents=True)
        (copy / "build" / device / "cells.txt").write_text(CELLS)
    (copy / "build/hx8k/pnr.json").write_text(json.dumps(PLACED))
    (copy / "build/up5k/pnr.json").write_text("{")
    assert run(["report", str(copy), "--json", str(tmp_path / "report.json")]) == 0
    cells = {"luts": 3191, "flip_flops": 525, "block_rams": 28}
    assert json.loads((tmp_path / "report.json").read_text())["built"] == {
        "hx8k": {**cells, "logic_cells": 4898, "fmax_mhz": 69.628},
        "up5k": cells,
    }
    assert run(["report", str(copy)]) == 0
    assert "69.63" in capsys.readouterr().out


@pytest.mark.slow
def test_synthesis_maps_memories_to_block_ram_and_infers_no_latch(compiled, tmp_path):
    need("make", "yosys")
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(compiled), str(copy)], check=True)
    subprocess.run(["make", "-C", str(copy), "synth"], check=True, capture_output=True)
    blocks = built(copy)["hx8k"]["block_rams"]
    section = json.loads((copy / "report.json").read_bytes())["backends"]["verilog"]
    assert blocks == section["memory"]["ice40_block_rams"]


@pytest.mark.parametrize(
    ("bits", "rows", "blocks"), [(16, 64, 0), (16, 256, 1), (17, 256, 2), (2, 2048, 1), (46, 512, 6)]
)
def test_block_rams_of_a_memory(bits, rows, blocks):
    assert block_rams(bits, rows) == blocks


def refusals(backend, netlist):
    found = Diagnostics()
    backend.validate(netlist, found)
    return [(d.code, d.where) for d in found.items]


def test_what_cannot_be_built_is_refused_with_the_layer():
    netlist = lower(make("plain-rate"))
    assert not refusals(Verilog(), netlist)
    assert [code for code, _ in refusals(Verilog(lanes=3, fifo=0), netlist)] == ["SNNC0154"] * 2
    unproved = [dataclasses.replace(p, acc_bits=0) for p in netlist.populations]
    found = refusals(Verilog(), dataclasses.replace(netlist, populations=tuple(unproved)))
    assert found == [("SNNC0130", p.origin) for p in unproved]
    wide = [dataclasses.replace(p, acc_bits=63) for p in netlist.populations]
    found = refusals(Verilog(lanes=64), dataclasses.replace(netlist, populations=tuple(wide)))
    assert found == [("SNNC0131", p.origin) for p in wide]
    for name in REFUSED:
        assert {code for code, _ in refusals(Verilog(), lower(make(name)))} == {"SNNC0131"}


def test_without_calibration_data_the_vectors_are_random_codes():
    netlist = lower(make("plain-rate"))
    one, other = (Verilog().emit(netlist, Activity()) for _ in range(2))
    assert one == other
    assert any(name.endswith(".stimulus.mem") for name in one)
