"""ONNX text in, IR text out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend.onnx_models import host, model, network_outputs, onnxruntime_outputs

from snnc.diagnostics import Diagnostics, UsageError
from snnc.frontend import NodeSupport, Preprocessing, inspect, load
from snnc.ir.ops import Input, Output, Scale
from snnc.ir.printer import print_network

DENSE = "float[126,5] w;float[5] b"
SMALL = """
<ir_version: 8, opset_import: ["": 13]>
small (float[N,4,4,1] image) => (float[N,2] y)
<float[2,1,3,3] w = {1,0,0, 0,1,0, 0,0,1, 0.5,0,0, 0,0,0, 0,0,-1}, float[2] b = {0.25, -1},
 float[2,2] d = {1, 2, 3, 4}, float[2] e = {0.5, 0.5}>
{
    t = Transpose<perm=[0,3,1,2]>(image)
    c = Conv<pads=[1,1,1,1], strides=[2,2]>(t, w, b)
    lo = Constant<value_float=0.0>()
    hi = Constant<value_float=6.0>()
    r = Clip(c, lo, hi)
    p = GlobalAveragePool(r)
    s = Shape(p)
    zero = Constant<value_int=0>()
    n = Gather(s, zero)
    axes = Constant<value_ints=[0]>()
    u = Unsqueeze(n, axes)
    rest = Constant<value_ints=[-1]>()
    target = Concat<axis=0>(u, rest)
    f = Reshape(p, target)
    m = MatMul(f, d)
    a = Add(m, e)
    y = Softmax(a)
}
"""

IMPORTED = """\
snnc-ir 1
network @"small" {
  %0 : f32[1, 4, 4] = input() {name = "image", shape = [4, 4, 1], perm = [2, 0, 1]} loc("t") source("t")
  %1 : f32[2, 2, 2] = conv2d(%0) {weight = f64[2, 1, 3, 3](blob "…"), bias = f64[2](0.25, -1.0), \
strides = [2, 2], pads = [1, 1, 1, 1]} loc("c") source("c")
  %2 : f32[2, 2, 2] = clip(%1) {maximum = 6.0} loc("r") source("r")
  %3 : f32[2, 1, 1] = average_pool(%2) {kernel = [2, 2], divisors = i64[1, 1](4)} loc("p") source("p")
  %4 : f32[2] = reshape(%3) {shape = [2]} loc("f") source("f")
  %5 : f32[2] = dense(%4) {weight = f64[2, 2](1.0, 3.0, 2.0, 4.0), bias = f64[2](0.5, 0.5)} \
loc("m", "a") source("a")
  output(%5) {name = "y", activation = "softmax"} source("a")
}
"""


def small():
    return onnx.parser.parse_model(SMALL)


def test_a_small_model_as_ir_text():
    network = load(small(), Diagnostics()).network
    text = print_network(network)
    (conv,) = (network.op(n) for n in network.nodes if network.op(n).mnemonic == "conv2d")
    assert text.replace(conv.weight.digest, "…") == IMPORTED


def test_what_becomes_of_each_node():
    rows, _ = inspect(small(), Diagnostics())
    assert rows[0] == NodeSupport("t", "Transpose", "ok", "")
    assert rows[-1] == NodeSupport("y", "Softmax", "ok", "left to the host")
    folded = ["lo", "hi", "s", "zero", "n", "axes", "u", "rest", "target"]
    assert [row.name for row in rows if row.reason == "folded"] == folded
    assert len(rows) == len(small().graph.node)


def test_nodes_without_effect_are_told_from_merged_ones():
    proto = model("f = Flatten(x) m = MatMul(f, w) i = Identity(m) z = Relu(i) y = Add(z, z)", weights=DENSE)
    assert [row.reason for row in inspect(proto, Diagnostics())[0]] == ["", "", "no effect", "", ""]
    proto = model("f = Flatten(x) m = MatMul(f, w) y = Add(m, b)", weights=DENSE)
    assert [row.reason for row in inspect(proto, Diagnostics())[0]] == ["", "", ""]


def test_a_file_and_its_bytes_give_the_same_network(tmp_path):
    path = tmp_path / "small.onnx"
    onnx.save(small(), path)
    assert load(path, Diagnostics()).network == load(path.read_bytes(), Diagnostics()).network


def test_the_users_model_is_not_changed():
    proto = small()
    before = proto.SerializeToString()
    assert load(proto, Diagnostics()).proto.SerializeToString() == before
    assert proto.SerializeToString() == before


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ("a = Sub(x, m) b = Div(a, s) t = Transpose<perm=[0,3,1,2]>(b) y = Relu(t)", (7, 6, 3)),
        ("a = Mul(x, k) b = Sub(a, k) t = Transpose<perm=[0,3,1,2]>(b) c = Relu(t) y = Add(c, t)", (7, 6, 3)),
        (
            "t = Transpose<perm=[0,3,1,2]>(x) a = Mul(t, k) u = Transpose<perm=[0,3,1,2]>(x) y = Add(u, a)",
            (7, 6, 3),
        ),
        ("r = Constant<value_ints=[-1,1,7,6]>() t = Reshape(x, r) y = Relu(t)", (7, 6, 1)),
    ],
)
def test_channels_last_is_the_inputs_layout(nodes, shape):
    declared = ",".join(map(str, shape))
    proto = model(nodes, x=f"float[N,{declared}] x", weights="float[3] m;float[3] s;float[] k")
    network = load(proto, Diagnostics()).network
    (node,) = network.of(Input)
    assert network.op(node).perm == (2, 0, 1)
    assert all(network.op(n).mnemonic not in ("transpose", "reshape") for n in network.nodes)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    wanted = onnxruntime_outputs(proto, {"x": x})["y"]
    (output,) = network.of(Output)
    found = host(network.op(output).activation, network_outputs(network, {"x": x})["y"])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_an_input_read_in_two_layouts_keeps_its_own():
    nodes = (
        "t = Transpose<perm=[0,3,1,2]>(x) a = GlobalMaxPool(t) b = Flatten(a)"
        "c = Flatten(x) y = Concat<axis=1>(b, c)"
    )
    network = load(model(nodes, x="float[N,2,2,3] x"), Diagnostics()).network
    assert [network.op(n).perm for n in network.of(Input)] == [()]


def test_a_normalisation_is_put_before_the_network():
    proto, diagnostics = model("y = MaxPool<kernel_shape=[2,2]>(x)"), Diagnostics()
    normalise = Preprocessing(mean=(0.5, 0.25, 0.125), std=(0.5,), scale=1 / 255)
    network = load(proto, diagnostics, preprocessing=normalise).network
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 7, 6)).astype(np.float32)
    ready = (x / 255 - np.array([0.5, 0.25, 0.125]).reshape(3, 1, 1)) / 0.5
    wanted = onnxruntime_outputs(proto, {"x": ready.astype(np.float32)})["y"]
    np.testing.assert_allclose(network_outputs(network, {"x": x})["y"], wanted, rtol=1e-5, atol=1e-6)


def test_a_scalar_normalisation_is_scalar():
    network = load(model("y = Relu(x)"), Diagnostics(), preprocessing=Preprocessing(scale=0.5)).network
    assert [network.op(n).weight.shape for n in network.of(Scale)] == [()]


@pytest.mark.parametrize("fields", [{"mean": (0.0, 0.0)}, {"std": (0.0,)}, {"scale": float("nan")}])
def test_a_normalisation_that_does_not_fit(fields):
    with pytest.raises(UsageError, match="SNNC0154"):
        load(model("y = Relu(x)"), Diagnostics(), preprocessing=Preprocessing(**fields))


def test_a_bias_stays_apart_where_the_layer_is_read_twice():
    proto = model("f = Flatten(x) m = MatMul(f, w) a = Add(m, b) y = Add(a, m)", weights=DENSE)
    mnemonics = [op.mnemonic for op in ops(load(proto, Diagnostics()).network)]
    assert mnemonics == ["input", "reshape", "dense", "scale", "add", "output"]


def test_logits_and_probabilities_are_two_outputs_of_one_node():
    proto = model("f = Flatten(x) z = Relu(f) y = Softmax(z)")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, ["N", 126]))
    network = load(proto, Diagnostics()).network
    outputs = {network.op(n).name: network.op(n).activation for n in network.of(Output)}
    assert outputs == {"y": "softmax", "z": ""}


def test_what_no_output_needs_is_left_out():
    proto = model("t = Tanh(x) y = MaxPool<kernel_shape=[2,2]>(x)")
    assert [op.mnemonic for op in ops(load(proto, Diagnostics()).network)] == ["input", "max_pool", "output"]
    assert inspect(proto, Diagnostics())[0][0] == NodeSupport("t", "Tanh", "ok", "no output depends on it")


def test_a_uint8_input_keeps_its_type():
    proto = model("f = Cast<to=1>(x) a = Div(f, k) y = Abs(a)", x="uint8[1,3,7,6] x", weights="float[] k")
    proto.graph.node[-1].op_type = "Relu"
    network = load(proto, Diagnostics()).network
    assert [network.op(n).dtype for n in network.of(Input)] == ["uint8"]


def ops(network):
    return [network.op(n) for n in network.nodes]
