"""NIR as input: snnc's own files come back exactly, others become networks with NIR's neurons."""

import itertools

import numpy as np
import pytest
from integer_networks import samples
from nir_tools import SAYABLE, run, sayable
from pass_tools import context
from verilog_tools import need

from snnc.backends.base import Activity
from snnc.backends.fast.engine import FastEngine
from snnc.backends.netlist import executor, lower
from snnc.backends.reference.engine import ReferenceEngine
from snnc.cli import run as cli
from snnc.diagnostics import CompileError, Diagnostics, SnncError, UsageError
from snnc.emission import population_names
from snnc.frontend import Limits, inspect, load
from snnc.ir.ops import Conv2d, IfNeuron, Input
from snnc.passes.encode_input import EncodeInput
from snnc.passes.legalize import Legalize
from snnc.pipeline import Pipeline

nir = pytest.importorskip("nir", reason="the package nir is missing: pip install 'snnc[nir]'")
h5py = pytest.importorskip("h5py")


FRAMES = np.random.default_rng(2).integers(0, 4, (2, 1, 6, 6)).astype(np.float32)
"""Numbers of events, and currents."""


def exported(network, path, **options):
    from snnc.backends.nir import Nir

    path.write_bytes(Nir(**options).emit(lower(network), Activity())["model.nir"])
    return path


def written(path, nodes, edges, **options):
    nir.write(path, nir.NIRGraph(nodes=nodes, edges=edges, type_check=False, **options))
    return path


def small(path, **changes):
    """conv, average pool, IF, flatten, affine, LIF without leak, linear."""
    rng = np.random.default_rng(0)
    nodes = {
        "in": nir.Input({"input": np.array([1, 6, 6])}),
        "conv": nir.Conv2d(
            (6, 6), rng.normal(0, 1, (2, 1, 3, 3)).astype("f4"), 1, 1, 1, 1, np.array([0.1, 0.2], "f4")
        ),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "if": nir.IF(r=np.ones((2, 3, 3), "f4"), v_threshold=np.full((2, 3, 3), 0.7, "f4")),
        "flat": nir.Flatten({"input": np.array([2, 3, 3])}, 0, -1),
        "fc": nir.Affine(rng.normal(0, 1, (5, 18)).astype("f4"), rng.normal(0, 0.1, 5).astype("f4")),
        "lif": nir.LIF(
            tau=np.full(5, 1e8, "f4"),
            r=np.full(5, 1e12, "f4"),
            v_leak=np.zeros(5, "f4"),
            v_threshold=np.full(5, 1.5, "f4"),
        ),
        "out_w": nir.Linear(rng.normal(0, 1, (3, 5)).astype("f4")),
        "out": nir.Output({"output": np.array([3])}),
    } | changes
    nodes = {name: node for name, node in nodes.items() if node is not None}
    names = list(nodes)
    return written(path, nodes, list(itertools.pairwise(names)))


def imported(path, limits=None):
    diagnostics = Diagnostics()
    return load(path, diagnostics, **({"limits": limits} if limits else {})).network, diagnostics


@pytest.mark.parametrize("name", SAYABLE)
@pytest.mark.parametrize(
    ("options", "reset", "compare"),
    [
        ({"dialect": "explicit-soft-reset"}, "subtract", "ge"),
        ({"dialect": "explicit-soft-reset"}, "subtract", "gt"),
        ({"meaning": "metadata"}, "subtract", "ge"),
        ({}, "zero", "ge"),
        ({"dialect": "lif"}, "zero", "gt"),
    ],
)
def test_what_snnc_wrote_comes_back_with_the_same_spikes(name, options, reset, compare, tmp_path):
    before = sayable(SAYABLE[name](), reset=reset, compare=compare)
    after, diagnostics = imported(exported(before, tmp_path / "model.nir", **options))
    assert diagnostics.items == []
    after = Legalize().apply(after, context())
    inputs = samples(before)
    expected = ReferenceEngine().simulate(before, inputs, record=True)
    found = ReferenceEngine().simulate(after, inputs, record=True)
    for ours, theirs in zip(expected.spikes.values(), found.spikes.values(), strict=True):
        assert np.array_equal(ours, theirs.reshape(ours.shape))
    (ours,), (theirs,) = expected.outputs.values(), found.outputs.values()
    assert np.array_equal(ours, theirs.reshape(ours.shape))
    described = [(after.op(n).origin, after.op(n).source) for n in after.of(IfNeuron)]
    assert all("relu" in origin and source == "activation" for origin, source in described)


def test_another_tools_file_is_what_nir_defines(tmp_path):
    path = small(tmp_path / "model.nir")
    network, diagnostics = imported(path)
    assert [d.severity for d in diagnostics.items] == ["warning"]
    assert "reset to zero" in diagnostics.items[0].message
    assert (network.level, network.steps) == ("snn", 128)
    x = np.random.default_rng(1).normal(0.3, 0.5, (4, 1, 6, 6)).astype(np.float32)
    network = Pipeline("run-as{T=20},fuse-linear,form-projections").run(network, context({"in": x})).network
    trace = ReferenceEngine().simulate(network, {"in": x}, record=True)
    found = run(path.read_bytes(), x, 20)
    for node, name in zip(network.of(IfNeuron), ("if", "lif"), strict=True):
        assert network.op(node).origin[-1] == name
        assert trace.spikes[node].any()
        assert (trace.spikes[node] != found[name].reshape(trace.spikes[node].shape)).mean() < 0.01
    outputs = np.cumsum(found["out"], axis=1).reshape(trace.outputs["out"].shape)
    assert np.allclose(trace.outputs["out"], outputs, rtol=0, atol=0.5)


def test_padding_by_name(tmp_path):
    weight, bias = np.ones((2, 1, 4, 3), "f4"), np.zeros(2, "f4")
    for padding, pads in (("same", (1, 1, 2, 1)), ("valid", (0, 0, 0, 0))):
        nodes = {
            "in": nir.Input({"input": np.array([1, 6, 6])}),
            "conv": nir.Conv2d((6, 6), weight, 1, padding, 1, 1, bias),
            "out": nir.Output({"output": np.array([2, 6, 6])}),
        }
        network, _ = imported(written(tmp_path / "m.nir", nodes, [("in", "conv"), ("conv", "out")]))
        assert [network.op(n).pads for n in network.of(Conv2d)] == [pads]


def test_weights_that_follow_weights_need_neurons_between(tmp_path):
    import snnc

    twice = {"if": nir.Conv2d((3, 3), np.ones((2, 2, 3, 3), "f4"), 1, 1, 1, 1, np.zeros(2, "f4"))}
    x = np.ones((2, 1, 6, 6), np.float32)
    with pytest.raises(CompileError, match="weights follow weights"):
        snnc.compile(small(tmp_path / "model.nir", **twice), calibration=x)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("compare", ["ge", "gt"])
def test_a_compiled_file_is_equal_in_engines_and_netlist_for_every_neuron(reset, compare, tmp_path):
    import snnc

    x = np.random.default_rng(1).normal(0.3, 0.5, (6, 1, 6, 6)).astype(np.float32)
    path = small(tmp_path / "model.nir")
    compiled = snnc.compile(path, calibration=x, T=16, reset=reset, compare=compare)
    network = compiled.network
    assert {(network.op(n).reset, network.op(n).compare) for n in network.of(IfNeuron)} == {(reset, compare)}
    reference, fast = (
        engine.simulate(network, {"in": x}, record=True)
        for engine in (ReferenceEngine(), FastEngine(max_memory=1 << 30, threads=1))
    )
    assert all(np.array_equal(reference.spikes[n], fast.spikes[n]) for n in reference.spikes)
    assert {p.reset for p in lower(network).populations if p.kind == "if"} == {reset}
    folder = compiled.save(tmp_path / "out.snnc")
    found = executor.run(executor.load(folder), {"in": x}, record=True)
    names = population_names(network)
    assert all(np.array_equal(found["spikes"][names[n]], s) for n, s in reference.spikes.items())


def graph_errors(path, limits=None):
    with pytest.raises(SnncError) as caught:
        imported(path, limits)
    return caught.value


def bad(kind, field, value):
    """A node of :func:`small` with one parameter changed."""
    ones = np.ones(5, "f4")
    parameters = {
        "if": {"r": np.ones((2, 3, 3), "f4"), "v_threshold": np.full((2, 3, 3), 0.7, "f4")},
        "lif": {"tau": 1e8 * ones, "r": 1e12 * ones, "v_leak": 0 * ones, "v_threshold": ones},
    }[kind]
    return {kind: {"if": nir.IF, "lif": nir.LIF}[kind](**(parameters | {field: value}))}


FIVE = np.ones(5, "f4")
BOX = np.ones((2, 3, 3), "f4")
REFUSED = {
    "zero thresholds": (lambda: bad("if", "v_threshold", 0 * BOX), "if", "positive"),
    "NaN thresholds": (lambda: bad("if", "v_threshold", np.nan * BOX), "if", "NaN"),
    "thresholds of positions": (
        lambda: bad("if", "v_threshold", BOX + np.arange(3, dtype="f4")),
        "if",
        "between positions",
    ),
    "reset elsewhere": (lambda: bad("if", "v_reset", -BOX), "if", "another potential"),
    "a leak": (lambda: bad("lif", "tau", 0.02 * FIVE), "lif", "leak"),
    "NaN weights": (lambda: {"out_w": nir.Linear(np.full((3, 5), np.nan, "f4"))}, "out_w", "NaN"),
    "wrong sizes": (lambda: {"out_w": nir.Linear(np.ones((3, 4), "f4"))}, "out_w", ""),
    "unknown neurons": (
        lambda: {"lif": nir.CubaLIF(FIVE, FIVE, FIVE, FIVE, FIVE, w_in=FIVE)},
        "lif",
        "CubaLIF",
    ),
    "a lone threshold": (lambda: {"lif": nir.Threshold(FIVE)}, "lif", "without an integrator"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_populations_cannot_be_is_refused_by_name(name, tmp_path):
    changes, where, message = REFUSED[name]
    error = graph_errors(small(tmp_path / "model.nir", **changes()))
    assert isinstance(error, CompileError)
    (found,) = [d for d in error.diagnostics if d.where == (where,)]
    assert message in found.message


def test_recurrent_graphs_are_refused(tmp_path):
    nodes = {
        "in": nir.Input({"input": np.array([5])}),
        "if": nir.IF(FIVE, FIVE),
        "back": nir.Linear(np.eye(5, dtype="f4")),
        "out": nir.Output({"output": np.array([5])}),
    }
    edges = [("in", "if"), ("if", "back"), ("back", "if"), ("if", "out")]
    error = graph_errors(written(tmp_path / "model.nir", nodes, edges))
    assert "recurrent" in error.diagnostics[0].message
    assert {"if", "back"} <= set(error.diagnostics[0].where)


def external_link(file):
    file["node/nodes/stolen"] = h5py.ExternalLink("/etc/hostname.h5", "/node")


def soft_link(file):
    file["node/nodes/loop"] = h5py.SoftLink("/node")


def external_storage(file):
    file.create_dataset("node/nodes/out_w/more", (8,), "u1", external=[("/etc/hostname", 0, 8)])


def virtual(file):
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname.h5", "x", (8,))
    file.create_virtual_dataset("node/nodes/out_w/more", layout)


def huge(file):
    file.create_dataset("node/nodes/out_w/more", (1 << 40,), "f4", chunks=(1024,))


def loop(file):
    file["node/nodes/again"] = file["node"]


def reference(file):
    file.create_dataset("node/nodes/out_w/more", data=file.ref, dtype=h5py.ref_dtype)


@pytest.mark.parametrize(
    "hostile", [external_link, soft_link, external_storage, virtual, huge, loop, reference]
)
def test_what_leads_out_of_a_file_is_refused_before_it_is_read(hostile, tmp_path, monkeypatch):
    path = small(tmp_path / "model.nir")
    with h5py.File(path, "r+") as file:
        hostile(file)
    monkeypatch.setattr(nir, "read", pytest.fail)
    error = graph_errors(path)
    assert [d.code for d in error.diagnostics] == ["SNNC0137"]


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(40)])
def test_damaged_files_are_refused(content, tmp_path):
    path = tmp_path / "model.nir"
    path.write_bytes(content)
    assert graph_errors(path).diagnostics[0].code == "SNNC0137"


def test_every_truncation_is_refused(tmp_path):
    path = small(tmp_path / "model.nir")
    content = path.read_bytes()
    for size in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:size])
        graph_errors(path)


def test_other_faults_of_the_file(tmp_path):
    assert isinstance(graph_errors(tmp_path / "none.nir"), UsageError)
    path = small(tmp_path / "model.nir")
    assert graph_errors(path, Limits(file_bytes=100)).diagnostics[0].code == "SNNC0104"
    with h5py.File(path, "w") as file:
        file["other"] = 1
    assert "no NIR graph" in str(graph_errors(path))


def test_damaged_metadata_are_refused(tmp_path):
    path = exported(sayable(SAYABLE["chain"](), reset="zero"), tmp_path / "model.nir")
    with h5py.File(path, "r+") as file:
        del file["node/metadata/input"]
        file["node/metadata/input"] = "{}"
    assert "metadata are damaged" in str(graph_errors(path))


def test_equal_events_at_every_step_are_a_constant_current(tmp_path):
    network, _ = imported(small(tmp_path / "model.nir"))
    constant = (
        Pipeline("run-as{T=9},fuse-linear,form-projections").run(network, context({"in": FRAMES})).network
    )
    events = EncodeInput(input="events").apply(constant, context())
    one = ReferenceEngine().simulate(constant, {"in": FRAMES}, record=True)
    other = ReferenceEngine().simulate(events, {"in": np.repeat(FRAMES[:, None], 9, axis=1)}, record=True)
    assert all(spikes.any() for spikes in one.spikes.values())
    assert all((other.spikes[node] == spikes).all() for node, spikes in one.spikes.items())


def test_a_spiking_network_gets_no_encoder(tmp_path, capsys):
    path = small(tmp_path / "model.nir")
    assert cli(["compile", str(path), "--input", "rate", "-o", str(tmp_path / "out.snnc")]) == 1
    assert "has its own encoder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["current", "events"])
def test_a_trained_spiking_network_becomes_hardware(coding, tmp_path, monkeypatch, capsys):
    need("make", "iverilog", "vvp")
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "model.nir")
    x = FRAMES if coding == "current" else np.repeat(FRAMES[:, None], 8, axis=1).astype(np.uint8)
    np.savez("data.npz", x=x, calib=x, y=np.array([0, 2]))
    options = ["--T", "8", "--input", coding, "--backend", "verilog{lanes=2}", "-o", "out.snnc"]
    assert cli(["compile", "model.nir", "--calib", "data.npz", *options]) == 0
    assert cli(["cosim", "out.snnc", "--data", "data.npz", "--limit", "2"]) == 0
    assert "2 samples, every spike equal" in capsys.readouterr().out


def test_check_lists_the_nodes(tmp_path):
    rows, _ = inspect(small(tmp_path / "model.nir", **bad("lif", "tau", 0.02 * FIVE)), Diagnostics())
    found = {row.name: row.status for row in rows}
    assert found["conv"] == "ok"
    assert found["lif"] == "refused"


def test_the_input_of_a_file_of_snnc_is_the_models_own(tmp_path):
    before = sayable(SAYABLE["chain"](), reset="zero")
    after, _ = imported(exported(before, tmp_path / "model.nir"))
    ours, theirs = (n.op(next(n.of(Input))) for n in (before, after))
    assert ours == theirs.replace(origin=ours.origin)
