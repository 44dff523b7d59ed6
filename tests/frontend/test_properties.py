"""Laws of the frontend on random models: what it computes, and what must change nothing."""

from __future__ import annotations

import numpy as np
import onnx
from frontend.onnx_models import network_outputs, relative_error
from frontend.random_models import IMAGE, models
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import snnc
from snnc.diagnostics import CompileError, Diagnostics
from snnc.driver import Request, optimise
from snnc.frontend import load
from snnc.ir.printer import print_network

MANY = settings(max_examples=60, deadline=None)
SOME = settings(max_examples=15, deadline=None)
FEED = {"x": np.random.default_rng(7).normal(size=(2, *IMAGE)).astype(np.float32)}


def outputs(proto):
    return network_outputs(load(proto, Diagnostics()).network, FEED)


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(outputs(a).values(), outputs(b).values(), strict=True))


def copied(proto):
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    return twin


@MANY
@given(models())
def test_a_random_model_computes_what_onnxruntime_computes(proto):
    assert relative_error(proto, FEED) <= 1e-5


@MANY
@given(models())
def test_the_passes_at_the_ann_level_keep_the_function(proto):
    network = load(proto, Diagnostics()).network
    after = optimise(network, Request(pipeline="simplify,fold-batchnorm,lower-pooling,fuse-linear", probe=1))
    (before,) = network_outputs(network, FEED).values()
    (found,) = network_outputs(after, FEED).values()
    assert np.abs(found - before).max() <= 1e-5 * max(np.abs(before).max(), 1e-30)


@SOME
@given(models())
def test_names_and_order_of_nodes_change_nothing(proto):
    twin = copied(proto)
    names = {name for node in twin.graph.node for name in (*node.input, *node.output)} - {"x", ""}
    for node in twin.graph.node:
        node.name = f"renamed {node.name}"
        for field in (node.input, node.output):
            field[:] = [f"{name}'" if name in names else name for name in field]
    for value in (*twin.graph.initializer, *twin.graph.output):
        value.name += "'"
    assert same(proto, twin)


@SOME
@given(models())
def test_identities_change_nothing(proto):
    twin = copied(proto)
    del twin.graph.node[:]
    for node in proto.graph.node:
        inputs = []
        for position, name in enumerate(node.input):
            inputs.append(f"{name}/{node.name}/{position}" if name else "")
            if name:
                twin.graph.node.append(helper.make_node("Identity", [name], [inputs[-1]]))
        twin.graph.node.append(node)
        twin.graph.node[-1].input[:] = inputs
    assert same(proto, twin)


@SOME
@given(models())
def test_weights_in_constant_nodes_change_nothing(proto):
    twin = copied(proto)
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in twin.graph.initializer]
    nodes = [*constants, *proto.graph.node]
    del twin.graph.node[:], twin.graph.initializer[:]
    twin.graph.node.extend(nodes)
    assert same(proto, twin)


@SOME
@given(models())
def test_a_batch_is_its_samples_one_by_one(proto):
    network = load(proto, Diagnostics()).network
    (together,) = network_outputs(network, FEED).values()
    for i, row in enumerate(together):
        (alone,) = network_outputs(network, {"x": FEED["x"][i : i + 1]}).values()
        np.testing.assert_allclose(alone[0], row, rtol=1e-12, atol=1e-12)


@SOME
@given(models(), st.permutations(range(IMAGE[0])))
def test_permuted_input_channels_commute(proto, order):
    """A first 1×1 convolution that undoes the permutation."""
    twin, order = copied(proto), list(order)
    weight = np.eye(IMAGE[0], dtype=np.float32)[np.argsort(order)].reshape(IMAGE[0], IMAGE[0], 1, 1)
    twin.graph.initializer.append(onnx.numpy_helper.from_array(weight, "undo"))
    for node in twin.graph.node:
        node.input[:] = ["x0" if name == "x" else name for name in node.input]
    twin.graph.node.insert(0, helper.make_node("Conv", ["x", "undo"], ["x0"]))
    (wanted,) = outputs(proto).values()
    permuted = {"x": FEED["x"][:, order]}
    (found,) = network_outputs(load(twin, Diagnostics()).network, permuted).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


@settings(max_examples=8, deadline=None)
@given(models(most=4))
def test_a_random_model_compiles_twice_to_the_same_bytes_or_is_refused(proto):
    before = proto.SerializeToString(deterministic=True)
    samples = np.random.default_rng(3).normal(size=(8, *IMAGE)).astype(np.float32)
    made = [attempt(proto, samples) for _ in range(2)]
    assert made[0] == made[1]
    assert proto.SerializeToString(deterministic=True) == before


def attempt(proto, samples):
    """Every file that is the same on all machines, and the statistics; or the codes of the refusal."""
    try:
        compiled = snnc.compile(proto, calibration=samples, T=8, probe=1)
    except CompileError as error:
        codes = {d.code for d in error.diagnostics}
        assert codes == {"SNNC0120"}
        return codes
    files = {name: content for name, content in compiled.files().items() if name != "report.json"}
    return print_network(compiled.network), compiled.statistics, files
