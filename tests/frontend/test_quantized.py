"""Quantized models: what they compute, and that their codes survive to the spikes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend.onnx_models import network_outputs, onnxruntime_outputs

import snnc
from snnc.backends.reference.engine import ReferenceEngine
from snnc.backends.reference.evaluate import evaluate
from snnc.diagnostics import CompileError, Diagnostics
from snnc.driver import Request, compile_model, optimise
from snnc.frontend import load
from snnc.ir.ops import FakeQuant, IfNeuron, Input

PIPELINE = (
    "simplify,fold-batchnorm,lower-pooling,fuse-linear,spikify{T=255,schedule=layerwise},form-projections,"
    "normalize-currents,inject-tre{eta=0.5},quantize{per=channel,epsilon=0.0001},legalize"
)

QDQ = """
<ir_version: 8, opset_import: ["": 17]>
qdq (float[N,2,6,6] x) => (float[N,4] y)
<float sx = {0.02}, uint8 zx = {0}, float[3] sw = {0.004, 0.01, 0.007}, int8[3] zw = {0,0,0},
 float sr = {0.013}, uint8 zr = {0}, float sa = {0.05}, int8 za = {3}, float sb = {0.03}, int8 zb = {-128},
 float sd = {0.002}, int8 zd = {0}>
{
    xq = QuantizeLinear(x, sx, zx)
    xd = DequantizeLinear(xq, sx, zx)
    w = DequantizeLinear<axis=0>(wq, sw, zw)
    c = Conv<pads=[1,1,1,1]>(xd, w)
    r = Relu(c)
    rq = QuantizeLinear(r, sr, zr)
    rd = DequantizeLinear(rq, sr, zr)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(rd)
    mq = QuantizeLinear(m, sr, zr)
    md = DequantizeLinear(mq, sr, zr)
    v = DequantizeLinear<axis=0>(vq, sw, zw)
    a = Conv<group=3>(md, v)
    aq = QuantizeLinear(a, sa, za)
    ad = DequantizeLinear(aq, sa, za)
    s = Add(ad, md)
    t = Relu(s)
    tq = QuantizeLinear(t, sb, zb)
    td = DequantizeLinear(tq, sb, zb)
    f = Flatten(td)
    d = DequantizeLinear(dq, sd, zd)
    y = MatMul(f, d)
}
"""

QLINEAR = """
<ir_version: 8, opset_import: ["": 17]>
qlinear (uint8[N,2,6,6] x) => (float[N,4] y)
<float sx = {0.02}, uint8 zx = {7}, float[3] sw = {0.004, 0.01, 0.007}, int8[3] zw = {0,0,0},
 float sr = {0.013}, uint8 zr = {0}, float sd = {0.002}, int8 zd = {0}, float sy = {0.02}, uint8 zy = {128}>
{
    c = QLinearConv<pads=[1,1,1,1]>(x, sx, zx, wq, sw, zw, sr, zr)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)
    f = Flatten(m)
    yq = QLinearMatMul(f, sr, zr, dq, sd, zd, sy, zy)
    y = DequantizeLinear(yq, sy, zy)
}
"""


def codes(text):
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in (("wq", (3, 2, 3, 3)), ("vq", (3, 1, 1, 1)), ("dq", (27, 4))):
        # seven bits: onnxruntime adds two products in 16 bits on processors without a dot product of bytes
        value = rng.integers(-60, 61, shape).astype(np.int8)
        value.flat[0] = -63
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return proto


def images(count=20):
    return np.random.default_rng(1).uniform(0, 5, (count, 2, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("text", [QDQ, QLINEAR], ids=["qdq", "qlinear"])
def test_the_network_computes_what_onnxruntime_computes(text):
    proto = codes(text)
    x = images() if text is QDQ else np.random.default_rng(1).integers(0, 256, (20, 2, 6, 6)).astype(np.uint8)
    found = network_outputs(load(proto, Diagnostics()).network, {"x": x.astype(np.float64)})["y"]
    wanted = onnxruntime_outputs(proto, {"x": x})["y"]
    apart = ~np.isclose(found, wanted, rtol=1e-5, atol=1e-5).all(axis=1)
    # float32 and float64 round apart only where a value lies between two codes
    assert apart.mean() <= 0.2
    assert np.abs(found - wanted).max() <= 0.01 * np.abs(wanted).max()


def test_a_model_of_as_many_levels_as_steps_keeps_every_code():
    """ECC §10: N equals the levels, η = ½; ties are rounded up and not to even."""
    proto, x = codes(QDQ), images()
    compiled = snnc.compile(proto, pipeline=PIPELINE)
    network = compiled.network
    (node,) = network.of(Input)
    assert (network.op(node).scale, network.op(node).bits) == (np.float32(0.02), 8)
    before = optimise(proto, Request(pipeline="simplify,fold-batchnorm,lower-pooling,fuse-linear"))
    nodes = {before.op(n).source: n for n in before.of(FakeQuant)}
    ann = evaluate(before, {"x": x}, list(nodes.values()))
    trace = ReferenceEngine().simulate(network, {"x": x})
    joins = 0
    for neuron in network.of(IfNeuron):
        origin = nodes[network.op(neuron).source]
        quant = before.op(origin)
        expected = np.rint(ann[origin] / quant.scale.array)
        differs = np.abs(trace.counts[neuron] - expected) * ((expected > quant.low) & (expected < quant.high))
        if network.op(network.operands(neuron)[0]).mnemonic == "add":
            # two scales meet, and a weight of 8 bits holds their ratio nearly
            joins += 1
            assert differs.max() <= 1
        else:
            assert (differs > 0).mean() <= 0.002
    assert joins == 1


def test_no_calibration_is_needed():
    diagnostics = Diagnostics()
    compile_model(codes(QDQ), Request(T=16), diagnostics=diagnostics)
    assert [d.code for d in diagnostics.items if d.severity == "warning"] == []


def test_weights_are_taken_as_they_are():
    compiled = snnc.compile(codes(QDQ), pipeline=PIPELINE)
    first = next(n for n in compiled.network.nodes if compiled.network.op(n).mnemonic == "conv2d")
    weight = compiled.network.op(first).weight.array.astype(np.int64)
    given = onnx.numpy_helper.to_array(next(t for t in codes(QDQ).graph.initializer if t.name == "wq"))
    for row, model in zip(weight, given.astype(np.int64), strict=True):
        factor = row[model != 0][0] // model[model != 0][0]
        assert np.array_equal(row, factor * model)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rd = DequantizeLinear(rq, sr, zr)", "rd = DequantizeLinear(rq, sx, zr)", "other parameters"),
        ("ad = DequantizeLinear(aq, sa, za)", "ad = DequantizeLinear(a, sa, za)", "not quantized"),
    ],
)
def test_codes_read_in_another_way(old, new, message):
    with pytest.raises(CompileError, match=message):
        load(codes(QDQ.replace(old, new)), Diagnostics())
