"""model.nir computes, by NIR's own definitions, what the integer network does, or it is refused."""

import hashlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import MAKERS, Builder, make, random_chain, samples
from nir_tools import SAYABLE, run, sayable

from snnc.backends.base import Activity, encode
from snnc.backends.netlist import lower
from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import Diagnostics
from snnc.emission import population_names
from snnc.interop import Metadata
from snnc.ir.constants import Constant
from snnc.ir.ops import IfNeuron, Input

nir = pytest.importorskip("nir", reason="the package nir is missing: pip install 'snnc[nir]'")

NEURONS = [("subtract", "ge"), ("subtract", "gt"), ("zero", "ge"), ("zero", "gt")]


def emit(network, **options):
    """The file, or None and what was refused."""
    from snnc.backends.nir import Nir

    diagnostics, backend, netlist = Diagnostics(), Nir(**options), lower(network)
    backend.validate(netlist, diagnostics)
    errors = [d for d in diagnostics.items if d.severity == "error"]
    return (None, errors) if errors else (backend.emit(netlist, Activity())["model.nir"], [])


def assert_same_spikes(network, data):
    inputs = samples(network)
    trace = ReferenceEngine().simulate(network, inputs, record=True)
    op = network.op(next(network.of(Input)))
    codes = encode(op, inputs[op.name])
    found = run(
        data, codes.reshape(len(codes), *(*codes.shape[1:], 1, 1)[:3]).astype(np.float32), network.steps
    )
    names = population_names(network)
    for node, spikes in trace.spikes.items():
        assert np.array_equal(found[names[node]].reshape(spikes.shape), spikes)
    readout = next(iter(trace.outputs.values()))
    assert np.array_equal(np.cumsum(found["output"], axis=1).reshape(readout.shape), readout)
    return trace


@pytest.mark.parametrize("name", SAYABLE)
@pytest.mark.parametrize(("reset", "compare"), NEURONS)
def test_by_the_definitions_of_nir_the_file_gives_the_same_spikes(name, reset, compare):
    network = sayable(SAYABLE[name](), reset=reset, compare=compare)
    dialects = ["explicit-soft-reset"] if reset == "subtract" else ["if", "lif"]
    for dialect in dialects:
        data, refused = emit(network, dialect=dialect)
        assert not refused
        trace = assert_same_spikes(network, data)
        assert all(spikes.any() for spikes in trace.spikes.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32))
def test_random_networks_give_the_same_spikes_or_are_refused_with_a_reason(seed):
    network = random_chain(seed)
    network.schedule = "rate"
    network = sayable(network, reset="zero")
    data, refused = emit(network)
    if data is None:
        assert all(d.message and d.code == "SNNC0135" for d in refused)
    else:
        assert_same_spikes(network, data)


def test_thresholds_lie_between_integers_so_that_no_comparison_matters():
    for dialect, kind, field in (
        ("if", "IF", "v_threshold"),
        ("explicit-soft-reset", "Threshold", "threshold"),
    ):
        reset = "zero" if dialect == "if" else "subtract"
        data, _ = emit(sayable(SAYABLE["chain"](), reset=reset), dialect=dialect)
        nodes = [n for n in nir.read(io.BytesIO(data)).nodes.values() if type(n).__name__ == kind]
        assert nodes
        assert all((getattr(n, field) % 1 == 0.5).all() for n in nodes)


def test_the_file_keeps_to_what_all_importers_read():
    data, _ = emit(sayable(SAYABLE["residual"](), reset="zero"))
    import h5py

    with h5py.File(io.BytesIO(data)) as file:
        nodes = file["node/nodes"]
        assert all(name.isidentifier() for name in nodes)
        assert not any("v_reset" in node for node in nodes.values())
        edges = [(a.decode(), b.decode()) for a, b in file["node/edges"][()]]
    assert len({*edges}) == len(edges)
    assert [t for _, t in edges].count("output") == 1
    graph = nir.read(io.BytesIO(data))
    convolutions = [n for n in graph.nodes.values() if isinstance(n, nir.Conv2d)]
    assert all(n.groups == 1 and n.weight.shape[2] == n.weight.shape[3] for n in convolutions)
    assert all(n.bias.shape == n.weight.shape[:1] and n.weight.dtype == np.float32 for n in convolutions)
    assert len({name for name in graph.nodes if type(graph.nodes[name]).__name__ == "Input"}) == 1


def test_metadata_say_what_the_graph_cannot():
    network = sayable(SAYABLE["chain"](), compare="gt")
    data, _ = emit(network, dialect="explicit-soft-reset")
    found = Metadata.of(nir.read(io.BytesIO(data)).metadata)
    assert (found.T, found.reset, found.compare, found.meaning) == (6, "subtract", "gt", "nir")
    assert found.input.scale == 0.125
    assert (found.input.bits, found.input.signed, found.input.perm) == (4, True, (2, 0, 1))
    assert found.output == {"name": "y", "activation": "", "unit": 0.25, "shape": [4]}
    assert found.populations["p2"]["origin"] == ["relu"]
    assert set(found.consumers) == {"spikingjelly", "sinabs", "norse", "snntorch", "nirtorch"}


def test_equal_networks_give_equal_bytes_in_every_process(tmp_path):
    script = (
        "import hashlib, test_nir as t, nir_tools as n;"
        "print(hashlib.sha256(t.emit(n.sayable(n.residual(), reset='zero'))[0]).hexdigest())"
    )
    (data, _) = emit(sayable(SAYABLE["residual"](), reset="zero"))
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {[*sys.path, __file__[:-12]]!r}; {script}"]
    digests = {subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)}
    assert digests == {hashlib.sha256(data).hexdigest() + "\n"}


SOFT = {"dialect": "explicit-soft-reset"}


def changed(**fields):
    network = sayable(SAYABLE["residual"]())
    node = next(network.of(IfNeuron))
    network.set(node, network.op(node).replace(**fields))
    return network


def delayed():
    from snnc.ir.ops import Delay

    b = Builder()
    a = b.fire(b.conv(b.add(Delay(steps=1), b.input(1, 4, 4)), 2))
    return sayable(b.read(a))


REFUSED = {
    "soft reset as IF": (lambda: sayable(SAYABLE["chain"]()), {}, "reset to zero", "explicit-soft-reset"),
    "soft reset by >, declared": (
        lambda: sayable(SAYABLE["chain"](), compare="gt"),
        {"meaning": "metadata"},
        "compare with ≥",
        "--compare ge",
    ),
    "reset to zero, explicit": (
        lambda: sayable(SAYABLE["chain"](), reset="zero"),
        SOFT,
        "to zero",
        "dialect=if",
    ),
    "thresholds of channels": (
        lambda: changed(threshold=Constant(np.array([30, 31]))),
        SOFT,
        "different thresholds",
        "--preset per-layer",
    ),
    "threshold in time": (
        lambda: changed(threshold=Constant(np.arange(20, 32).reshape(6, 2))),
        SOFT,
        "threshold that varies",
        "",
    ),
    "bias in time": (
        lambda: changed(bias=Constant(np.arange(12).reshape(6, 2))),
        SOFT,
        "bias that varies",
        "constant",
    ),
    "bias of positions": (
        lambda: changed(bias=Constant(np.arange(72).reshape(2, 6, 6))),
        SOFT,
        "between positions",
        "normalise",
    ),
    "initial membrane": (lambda: changed(v_init=Constant(np.int64(3))), SOFT, "initial membrane", "as=bias"),
    "wide sums": (lambda: changed(acc_bits=26), SOFT, "26 bits", "--bits"),
    "wide threshold": (lambda: changed(threshold=Constant(1 << 23)), SOFT, "a half", "--bits"),
    "unproved sums": (lambda: changed(acc_bits=0), SOFT, "unproved", "legalize"),
    "saturation": (lambda: changed(acc_bits=12, saturates=True), SOFT, "saturates", "--acc-bits"),
    "mixed neurons": (lambda: changed(compare="gt"), SOFT, "differ in reset", "run-as"),
    "signed spikes": (lambda: sayable(make("signed-rate")), SOFT, "signed", "ReLU"),
    "max pool": (lambda: sayable(make("gates-rate")), SOFT, "max-pool", "average"),
    "windows of unequal size": (lambda: sayable(make("concat-rate")), SOFT, "transpose", ""),
    "two inputs and outputs": (lambda: sayable(make("two_ends-rate")), SOFT, "one input", ""),
    "integrate, then fire": (lambda: sayable(make("residual-layerwise")), SOFT, "schedule", "rate"),
    "delay": (delayed, SOFT, "delay", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nir_cannot_say_is_refused(name):
    build, options, message, remedy = REFUSED[name]
    data, errors = emit(build(), **options)
    assert data is None
    found = [d for d in errors if message in d.message]
    assert found, [d.message for d in errors]
    assert all(d.code == "SNNC0135" for d in errors)
    assert remedy in found[0].remedy


def test_every_layer_at_fault_is_named_at_once():
    data, errors = emit(sayable(SAYABLE["chain"]()))
    assert data is None
    assert len(errors) == len(list(SAYABLE["chain"]().of(IfNeuron)))
    assert all(d.where for d in errors)


def test_the_convention_of_a_file_is_said():
    from snnc.backends.nir import Nir

    for options, severities in ((SOFT, ["note"]), ({"meaning": "metadata"}, ["note", "warning"])):
        diagnostics = Diagnostics()
        Nir(**options).validate(lower(sayable(SAYABLE["chain"]())), diagnostics)
        assert [d.severity for d in diagnostics.items] == severities
        assert all(d.code == "SNNC0136" for d in diagnostics.items)


def test_metadata_are_strict_json():
    data, _ = emit(sayable(SAYABLE["chain"]()), **SOFT)
    stored = nir.read(io.BytesIO(data)).metadata
    for name in ("input", "output", "populations", "consumers"):
        json.loads(stored[name], parse_constant=pytest.fail)


def test_every_maker_is_exported_or_refused():
    for name in MAKERS:
        data, errors = emit(sayable(make(name)), **SOFT)
        assert (data is None) == bool(errors)
