"""What cannot be imported is refused with a code, the node and a remedy; all problems at once."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model
from onnx import TensorProto

from snnc.diagnostics import CompileError, Diagnostics, UsageError
from snnc.frontend import Limits, inspect, load

DENSE = "f = Flatten(x) y = MatMul(f, w)"


def refusal(source, kind=CompileError, **options) -> str:
    with pytest.raises(kind) as caught:
        load(source, Diagnostics(), **options)
    return str(caught.value)


NODES = {
    "an unsupported operator": (
        "y = Tanh(x)",
        "error[SNNC0110]: operator Tanh is not supported\n  at: y\n"
        "  help: train with Relu or Clip(0, c) in its place",
    ),
    "a foreign domain": (
        "y = Relu(x)",
        "error[SNNC0105]: operator Magic of the domain 'com.acme' is not supported\n  at: y\n"
        "  help: export with standard operators only; onnx.inliner expands functions",
    ),
    "a clip without a range": (
        "l = Constant<value_float=1.0>() c = Clip(x, l, l) y = Add(c, x)",
        "error[SNNC0114]: bounds 1 and 1 leave no range\n  at: c",
    ),
    "an activation that jumps": (
        "a = ThresholdedRelu<alpha=0.5>(x) y = Add(a, x)",
        "error[SNNC0111]: ThresholdedRelu jumps from 0 to 0.5: a firing rate is continuous\n  at: a\n"
        "  help: train with Relu in its place",
    ),
    "interpolation": (
        's = Constant<value_floats=[1.0,1.0,2.0,2.0]>() y = Resize<mode="linear">(x, , s)',
        "error[SNNC0111]: Resize with mode linear and default coordinates\n  at: y\n  help: resize to the "
        "nearest neighbour with asymmetric coordinates, or by a transposed convolution",
    ),
    "strides over which tools disagree": (
        'y = MaxPool<kernel_shape=[1,1], strides=[3,3], auto_pad="SAME_UPPER">(x)',
        "error[SNNC0111]: auto_pad with strides so long that windows skip elements: "
        "tools disagree on which\n  at: y\n  help: write explicit pads",
    ),
    "a product of activations": (
        "y = Mul(x, x)",
        "error[SNNC0111]: Mul is supported of one tensor and one constant only\n  at: y",
    ),
    "a transposed batch": (
        "y = Transpose<perm=[1,0,2,3]>(x)",
        "error[SNNC0111]: Transpose by [1, 0, 2, 3]: the batch axis must stay first\n  at: y",
    ),
    "samples mixed by a reshape": (
        "t = Constant<value_ints=[-1,7]>() y = Reshape(x, t)",
        "error[SNNC0113]: Reshape of ['N', 3, 7, 6] to [-1, 7] does not keep samples\n  at: y",
    ),
    "shapes that do not fit": (
        "p = MaxPool<kernel_shape=[2,2]>(x) y = Concat<axis=1>(p, x)",
        "error[SNNC0113]: operands do not fit: f32[3, 6, 5], f32[3, 7, 6]\n  at: y",
    ),
    "a constant of the batch size": (
        "s = Shape(x) z = ConstantOfShape(s) y = Add(x, z)",
        "error[SNNC0111]: constant ConstantOfShape cannot be evaluated: "
        "it depends on the batch size\n  at: z",
    ),
    "a constant too large": (
        "s = Constant<value_ints=[1000000,1000000]>() z = ConstantOfShape(s) y = Add(x, z)",
        "error[SNNC0111]: constant ConstantOfShape cannot be evaluated: it would have 1000000000000 "
        "elements, more than the 134217726 left\n  at: z",
    ),
    "a softmax inside": (
        "s = Softmax(x) y = Add(s, x)",
        "error[SNNC0110]: operator Softmax is not supported\n  at: s\n"
        "  help: it is left to the host only directly at an output",
    ),
}


@pytest.mark.parametrize("case", NODES)
def test_a_node_is_refused(case):
    nodes, message = NODES[case]
    proto = model(nodes)
    if "domain" in case:
        proto.opset_import.append(onnx.helper.make_opsetid("com.acme", 1))
        proto.graph.node[0].CopyFrom(onnx.helper.make_node("Magic", ["x"], ["y"], domain="com.acme"))
    assert refusal(proto) == message


def test_all_problems_come_together():
    proto = model(
        "a = Tanh(x) b = Gelu(a) c = Conv(b, w) d = MaxPool<kernel_shape=[2,2]>(b) e = Add(d, a)"
        "y = Concat<axis=1>(c, e)",
        opset=20,
        weights="float[4,9,3,3] w",
    )
    text = refusal(proto)
    assert [line for line in text.splitlines() if line.startswith("error")] == [
        "error[SNNC0110]: operator Tanh is not supported",
        "error[SNNC0110]: operator Gelu is not supported",
        "error[SNNC0113]: 1 groups do not divide 3 inputs and 4 outputs into 9",
        "error[SNNC0113]: operands differ in shape: ['N', 3, 6, 5], ['N', 3, 7, 6]",
    ]


def test_check_names_the_same_nodes_and_raises_nothing():
    diagnostics = Diagnostics()
    rows, _ = inspect(model("a = Tanh(x) b = Relu(a) y = Add(b, a)"), diagnostics)
    assert [(row.name, row.status) for row in rows] == [("a", "refused"), ("b", "ok"), ("y", "ok")]
    assert rows[0].reason == "operator Tanh is not supported"
    assert [d.code for d in diagnostics.items] == ["SNNC0110"]


def test_what_follows_a_node_of_unknown_shape_is_refused():
    proto = model("a = NonZero(x) b = Cast<to=1>(a) y = Add(b, b)")
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, ["A", "B"]))
    assert [row.status for row in inspect(proto, Diagnostics())[0]] == ["refused"] * 3


def test_a_weight_that_is_an_input():
    proto = model(DENSE)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", TensorProto.FLOAT, [126, 5]))
    assert "error[SNNC0112]: the weight 'w' is not constant\n  at: y" in refusal(proto)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite(value):
    proto = model(DENSE)
    weight = np.zeros((126, 5), np.float32)
    weight[3, 3] = value
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    assert "error[SNNC0114]: the weight 'w' holds NaN or infinite values\n  at: y" in refusal(proto)


def test_a_negative_variance():
    proto = model("v = Neg(s) y = BatchNormalization(x, g, g, g, v)", weights="float[3] g")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "s"))
    assert "SNNC0114" in refusal(proto)


@pytest.mark.parametrize("declared", ["float[N,3,H,W] x", "float[3] x", "int64[N,3] x"])
def test_an_input_that_no_network_takes(declared):
    assert "SNNC0115" in refusal(model("y = Identity(x)", x=declared))


def test_an_output_that_ignores_the_input():
    assert "SNNC0115" in refusal(model("y = Constant<value_ints=[1,2]>()"))


@pytest.mark.parametrize("opset", [6, 999])
def test_an_opset_out_of_range(opset):
    proto = model("y = Relu(x)")
    proto.opset_import[0].version = opset
    assert f"SNNC0105]: the model uses ONNX opset {opset}" in refusal(proto)


def test_an_invalid_graph():
    proto = model("y = Relu(x)")
    proto.graph.node[0].input[0] = "nowhere"
    assert "SNNC0102" in refusal(proto)


@pytest.mark.parametrize("name", ["absent.onnx", "absent/x.onnx"])
def test_a_missing_file(tmp_path, name):
    assert "SNNC0164" in refusal(tmp_path / name, UsageError)


def test_a_folder_and_a_foreign_suffix(tmp_path):
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    assert "SNNC0101" in refusal(folder, UsageError)
    assert "SNNC0101" in refusal(tmp_path / "model.pt", UsageError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the platform has no FIFOs")
def test_a_fifo_does_not_hang(tmp_path):
    path = tmp_path / "model.onnx"
    os.mkfifo(path)
    assert "SNNC0101" in refusal(path, UsageError)


def test_files_that_are_no_model(tmp_path):
    path = tmp_path / "model.onnx"
    for content in (b"", b"not a model", model("y = Relu(x)").SerializeToString()[:-9]):
        path.write_bytes(content)
        assert "SNNC0102" in refusal(path)


def test_limits(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model("a = Relu(x) y = Relu(a)"), path)
    assert "SNNC0104" in refusal(path, limits=Limits(file_bytes=20))
    assert "SNNC0104" in refusal(path.read_bytes(), limits=Limits(file_bytes=20))
    assert "SNNC0104" in refusal(path, limits=Limits(nodes=1))
    assert "SNNC0104" in refusal(path, limits=Limits(elements=100))


def test_damaged_models_give_errors_and_never_tracebacks():
    data = bytearray(model(DENSE, weights="float[126,5] w").SerializeToString())
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data)
        for position in rng.integers(0, 120, 3):
            broken[position] = rng.integers(256)
        with contextlib.suppress(CompileError):
            assert load(bytes(broken), Diagnostics()).network.nodes
