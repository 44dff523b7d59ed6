"""Models as onnxruntime's own quantizer and optimiser write them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model, network_outputs, onnxruntime_outputs, relative_error
from hostile.fuzz import outcome
from hostile.mutate import mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import snnc
from snnc.diagnostics import CODES, CompileError, Diagnostics
from snnc.frontend import load

SCALES = (
    "xs = Constant<value_float=0.0473>() ys = Constant<value_float=0.0791>()"
    "zs = Constant<value_float=0.1013>()"
)
X = np.random.default_rng(0).uniform(-1, 2, (6, 2, 6, 6)).astype(np.float32)

QUANTIZED = {
    "QLinearAdd": "r = com.microsoft.QLinearAdd(a, xs, z, b, ys, z, zs, z)",
    "QLinearAdd of a constant": "r = com.microsoft.QLinearAdd(a, xs, z, k, ys, z, zs, z)",
    "QLinearConcat": "r = com.microsoft.QLinearConcat<axis=1>(zs, z, a, xs, z, b, ys, z)",
    "QLinearAveragePool": (
        "r = com.microsoft.QLinearAveragePool<kernel_shape=[2,2], pads=[1,0,0,1]>(a, xs, z, zs, z)"
    ),
    "QLinearGlobalAveragePool": "r = com.microsoft.QLinearGlobalAveragePool(a, xs, z, zs, z)",
    "QLinearLeakyRelu": "r = com.microsoft.QLinearLeakyRelu<alpha=0.25>(a, xs, z, zs, z)",
    "QGemm": "f = Flatten(a) r = com.microsoft.QGemm<transB=1, alpha=0.5>(f, xs, z, g, ws, gz, c, zs, z)",
    "QGemm without a scale": "f = Flatten(a) y = com.microsoft.QGemm<transB=1>(f, xs, z, g, ws, gz, c)",
}


def quantized(nodes: str) -> onnx.ModelProto:
    """A model with the codes a and b of its input, one of them leaky; ``nodes`` make the codes r or y."""
    back = "" if "y = " in nodes else "y = DequantizeLinear(r, zs, z)"
    text = f"{SCALES} a = QuantizeLinear(x, xs, z) h = LeakyRelu<alpha=0.5>(x) b = QuantizeLinear(h, ys, z)"
    domains = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>'
    header = f"{domains} test (float[N,2,6,6] x) => (float[N,M] y)"
    proto = onnx.parser.parse_model(f"{header} {{ {text} {nodes} {back} }}")
    if "Gemm" not in nodes:
        proto.graph.output[0].type.tensor_type.shape.dim.extend(2 * [onnx.TensorShapeProto.Dimension()])
    rng = np.random.default_rng(1)
    arrays = {
        "z": np.uint8(90),
        "gz": np.int8(0),
        "k": rng.integers(0, 256, (1, 2, 1, 1)).astype(np.uint8),
        "g": rng.integers(-60, 61, (4, 72)).astype(np.int8),
        "ws": np.float32(0.01),
        "c": rng.integers(-500, 500, 4).astype(np.int32),
    }
    read = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in arrays.items() if k in read)
    return proto


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_ops_give_the_codes_of_onnxruntime(name):
    """Up to one code: at ties, and where onnxruntime rounds a product of scales first."""
    proto = quantized(QUANTIZED[name])
    network = load(proto, Diagnostics()).network
    found, wanted = network_outputs(network, {"x": X})["y"], onnxruntime_outputs(proto, {"x": X})["y"]
    off = np.abs(found - wanted) / np.float32(0.1013)
    assert found.shape == wanted.shape
    assert off.max() <= 1.001
    assert (off > 0.5).mean() < 0.02


def fused_conv(attributes: dict[str, object], skip: bool = False) -> onnx.ModelProto:
    proto = model(
        "y = Conv<pads=[1,1,1,1]>(x, w, b)", x="float[N,2,6,6] x", weights="float[2,2,3,3] w;float[2] b"
    )
    (node,) = proto.graph.node
    node.op_type, node.domain = "FusedConv", "com.microsoft"
    node.input.extend(["x"] if skip else [])
    node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"activation": "Relu"},
        {"activation": "LeakyRelu", "activation_params": [0.25]},
        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
        {"activation": "Clip", "activation_params": [-0.5, 1.5]},
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_fused_convolutions_are_what_was_fused(attributes, skip):
    assert relative_error(fused_conv(attributes, skip), {"x": X}) <= 1e-5


def test_other_activations_and_ops_of_onnxruntime_are_refused():
    for op, text in (
        ("FusedConv", "with the activation Tanh"),
        ("NhwcConv", "of the domain 'com.microsoft'"),
    ):
        proto = model("y = Conv(x, w)", x="float[N,2,6,6] x", weights="float[2,2,3,3] w")
        (node,) = proto.graph.node
        node.op_type, node.domain = op, "com.microsoft"
        node.attribute.append(helper.make_attribute("activation", "Tanh"))
        proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        with pytest.raises(CompileError, match=text):
            load(proto, Diagnostics())


@pytest.mark.parametrize(
    "attributes",
    [
        {"group": "one"},
        {"activation": 1},
        {"activation_params": "no"},
        {"activation": "Clip", "alpha": [1.0]},
    ],
)
def test_attributes_of_another_type_are_refused(attributes):
    proto = fused_conv(attributes)
    with pytest.raises(CompileError, match=r"SNNC0111.* is not understood\n  at: y"):
        load(proto, Diagnostics())


MUTATED = [quantized(nodes).SerializeToString() for nodes in QUANTIZED.values()]
MUTATED.append(fused_conv({"activation": "Clip", "activation_params": [-0.5, 1.5]}).SerializeToString())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=40, deadline=None)
@given(content=st.sampled_from(MUTATED), choose=st.randoms(use_true_random=False))
def test_mutated_models_compile_or_are_refused(content, choose):
    assert outcome(mutated(content, choose)) in {"ok", *CODES}


@pytest.mark.slow
def test_what_the_static_quantizer_writes_compiles(tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization")
    nodes = (
        "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) d = Conv<pads=[1,1,1,1]>(r, v) s = Add(d, r)"
        "t = Relu(s) p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(t) q = Concat<axis=1>(p, p)"
        "g = GlobalAveragePool(q) f = Flatten(g) y = Gemm(f, m, n)"
    )
    weights = "float[4,2,3,3] w;float[4] b;float[4,4,3,3] v;float[8,5] m;float[5] n"
    proto = model(nodes, x="float[N,2,6,6] x", weights=weights)
    onnx.save(proto, tmp_path / "float.onnx")

    class Reader(quantization.CalibrationDataReader):
        rows = iter({"x": row[None]} for row in X)

        def get_next(self):
            return next(self.rows, None)

    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "quantized.onnx",
        Reader(),
        quant_format=quantization.QuantFormat.QOperator,
        extra_options={"ActivationSymmetric": False},
        reduce_range=True,
    )
    written = onnx.load(tmp_path / "quantized.onnx")
    assert {node.domain for node in written.graph.node} >= {"com.microsoft"}
    compiled = snnc.compile(tmp_path / "quantized.onnx", preset="layerwise", T=255, probe=1)
    wanted = onnxruntime_outputs(written, {"x": X})["y"]
    answers = compiled.simulate(X).outputs["y"][:, -1]
    assert np.abs(answers - wanted).max() < 0.05 * np.abs(wanted).max()
