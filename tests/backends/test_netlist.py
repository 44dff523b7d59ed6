"""The netlist means what the int-level network means, and its files hold all of it."""

import json
import pathlib
import subprocess
import sys
import tempfile

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import MAKERS, Builder, make, random_chain, samples

from snnc.backends import netlist as backend
from snnc.backends.base import Activity
from snnc.backends.netlist import executor, memory
from snnc.backends.netlist.model import Pad, Projection
from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.ops import Conv2d, IfNeuron, Readout
from snnc.ir.verify import verify

SCHEMA = json.loads(pathlib.Path(backend.__file__).with_name("netlist.schema.json").read_text("utf-8"))


def emit(netlist):
    return backend.NetlistFiles().emit(netlist, Activity())


def write(network, folder):
    for name, content in emit(backend.lower(network)).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def rewrite(folder, **changes):
    path = folder / "netlist.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize("name", MAKERS)
def test_executor_equals_the_reference_engine_at_every_step(name, tmp_path):
    spikes = compare_with_engine(make(name), tmp_path)
    assert any(x.any() for x in spikes.values())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_executor_equals_the_reference_engine_on_random_networks(seed):
    with tempfile.TemporaryDirectory() as folder:
        compare_with_engine(random_chain(seed), pathlib.Path(folder))


def compare_with_engine(network, folder):
    verify(network)
    inputs = samples(network)
    expected = ReferenceEngine().simulate(network, inputs, record=True)
    found = executor.run(executor.load(write(network, folder)), inputs, record=True)
    position = {node: f"p{i}" for i, node in enumerate(network.nodes)}
    assert_same(found["outputs"], expected.outputs)
    for kind in ("counts", "spikes", "membranes"):
        assert_same(found[kind], {position[n]: x for n, x in getattr(expected, kind).items()})
    return found["spikes"]


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert (found[name] == array).all(), name


@pytest.mark.parametrize("name", ["plain-rate", "gates-layerwise", "signed-phase"])
def test_executor_does_not_depend_on_blocks_or_recording(name, tmp_path, monkeypatch):
    network = make(name)
    net, inputs = executor.load(write(network, tmp_path)), samples(network, 5)
    whole = executor.run(net, inputs, record=True)
    monkeypatch.setattr(executor, "BLOCK", 1)
    small = executor.run(net, inputs)
    assert_same(small["outputs"], whole["outputs"])
    assert_same(small["counts"], whole["counts"])


@pytest.mark.parametrize("name", ["plain-rate", "residual-layerwise", "gates-phase", "two_ends-rate"])
def test_simulate_py_runs_alone(name, tmp_path):
    network = make(name)
    inputs = samples(network)
    expected = ReferenceEngine().simulate(network, inputs)
    folder = write(network, tmp_path / "artifact")
    np.savez(tmp_path / "data.npz", **inputs)
    done = simulate(folder, tmp_path, "data.npz", "--out", "result.npz")
    assert done.returncode == 0, done.stderr
    first = next(iter(expected.outputs.values()))[:, -1]
    assert done.stdout.split() == [str(k) for k in first.argmax(axis=1)]
    saved = np.load(tmp_path / "result.npz")
    nodes = {f"p{i}": node for i, node in enumerate(network.nodes)}
    for key in saved.files:
        kind, _, population = key.partition("_")
        if kind == "count":
            assert (saved[key] == expected.counts[nodes[population]]).all()
    membranes = [saved[key] for key in saved.files if key.startswith("membrane_")]
    assert all(map(np.array_equal, membranes, expected.outputs.values()))


def simulate(folder, cwd, *arguments):
    command = [sys.executable, "-I", str(folder / "simulate.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("absent.npy", "No such file"),
        ("wide.npy", "[N, [7, 8, 2]]"),
        ("nan.npy", "NaN"),
        ("many.npz", "choose one of its arrays with :KEY: a, b"),
        ("many.npz:c", "many.npz:c"),
    ],
)
def test_simulate_py_refuses_data_that_do_not_fit(argument, message, tmp_path):
    x = np.zeros((2, 7, 8, 2))
    np.save(tmp_path / "wide.npy", x[:, 1:])
    np.save(tmp_path / "nan.npy", x * np.nan)
    np.savez(tmp_path / "many.npz", a=x, b=x)
    folder = write(make("plain-rate"), tmp_path / "artifact")
    done = simulate(folder, tmp_path, argument)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert simulate(folder, tmp_path, "many.npz:b").returncode == 0


@pytest.mark.parametrize("name", MAKERS)
def test_files_follow_the_schema_and_hold_the_whole_netlist(name, tmp_path):
    network = make(name)
    netlist = backend.lower(network)
    folder = write(network, tmp_path)
    jsonschema.validate(json.loads((folder / "netlist.json").read_text("ascii")), SCHEMA)
    again = backend.load_netlist(folder)
    assert again == netlist
    assert emit(again) == emit(backend.lower(make(name)))


def test_file_names_come_from_snnc_alone():
    files = emit(backend.lower(make("two_ends-rate")))
    assert {name.split("/")[0] for name in files} == {"netlist.json", "simulate.py", "mem"}
    assert all(name.isascii() and " " not in name for name in files)


def test_a_concatenation_becomes_padded_parts_that_share_their_weights():
    netlist = backend.lower(make("concat-rate"))
    middle = netlist.populations[2]
    parts: list[Projection] = list(netlist.incoming(middle.name))
    places = [p.address[-2] for p in parts]
    assert places == [
        Pad((0, 0, 0), (5, 0, 0)),
        Pad((3, 0, 0), (3, 0, 0)),
        Pad((5, 0, 0), (0, 0, 0)),
    ]
    assert len({id(p.weights) for p in parts}) == 1


@given(st.integers(1, 64).flatmap(lambda b: st.tuples(st.just(b), st.lists(words(b)))))
def test_memories_come_back(case):
    bits, values = case
    array = np.array(values, np.int64)
    text = memory.encode(array, bits)
    assert (memory.decode(text, bits, len(values), "m") == array).all()
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "mem").mkdir()
        (pathlib.Path(folder) / "mem" / "m.mem").write_bytes(text)
        entry = {"bits": bits, "shape": [len(values)]}
        assert (executor._memory(pathlib.Path(folder), "m", entry) == array).all()
    assert text.decode("ascii").splitlines() == [
        format(v % (1 << bits), f"0{(bits + 3) // 4}x") for v in values
    ]


def words(bits):
    return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@pytest.mark.parametrize("text", [b"7f\n0g\n", b"7f\n00", b"7f\n0A\n", b"7f 00\n", b"ff\n00\n"])
def test_a_damaged_memory_is_refused(text):
    with pytest.raises(CompileError, match="SNNC0161"):
        memory.decode(text, 7, 2, "w.mem")


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"format": "other"}, {"populations": [{}]}, {"memories": {"../x": {"bits": 1}}}],
)
def test_a_damaged_netlist_is_refused(changes, tmp_path):
    folder = write(make("plain-rate"), tmp_path)
    rewrite(folder, **changes)
    with pytest.raises(CompileError, match="SNNC0161"):
        backend.load_netlist(folder)


def test_the_executor_refuses_another_version(tmp_path):
    folder = write(make("plain-rate"), tmp_path)
    rewrite(folder, version=2)
    with pytest.raises(executor.ExecutionError, match="not snnc-netlist version 1"):
        executor.load(folder)


def test_a_missing_memory_is_refused(tmp_path):
    folder = write(make("plain-rate"), tmp_path)
    next((folder / "mem").iterdir()).unlink()
    with pytest.raises(CompileError, match=r"SNNC0161.*cannot read"):
        backend.load_netlist(folder)
    with pytest.raises(executor.ExecutionError, match="no readable network"):
        executor.load(folder)


def edited(kind, **changes):
    network = make("plain-rate")
    node = next(network.of(kind))
    network.set(node, network.op(node).replace(**changes))
    return network


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (edited(IfNeuron, acc_bits=64), "SNNC0130"),
        (edited(IfNeuron, amplitude=Constant(2.0)), "amplitude"),
        (edited(Readout, bias=Constant(np.zeros((5, 4), np.int64))), "covers 5 steps, the network runs 6"),
        (edited(Conv2d, shift=-1), "shift of -1"),
    ],
)
def test_networks_that_are_not_in_form_are_refused(network, problem):
    with pytest.raises(CompileError, match=problem):
        backend.lower(network)


def test_all_problems_of_form_are_reported_together():
    b = Builder()
    x = b.input(2, 4, 4)
    twice = b.conv(b.conv(x, 2), 2, (1, 1))
    network = b.read(b.fire(twice), bias=Constant(0.5))
    with pytest.raises(CompileError) as raised:
        backend.lower(network)
    messages = [d.message for d in raised.value.diagnostics]
    assert messages == ["conv2d stands before conv2d", "the bias is not integer"]
    assert {d.code for d in raised.value.diagnostics} == {"SNNC0155"}


def test_a_network_before_quantize_is_refused():
    network = make("plain-rate")
    network.steps = network.schedule = None
    with pytest.raises(CompileError, match="at the int level, not ann"):
        backend.lower(network)
