"""Activations with levels of their own (QCFS, Bu 2022; LSQ), as exporters write them."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from frontend.onnx_models import network_outputs, onnxruntime_outputs

import snnc
from snnc.backends.reference.engine import ReferenceEngine
from snnc.backends.reference.evaluate import evaluate
from snnc.diagnostics import CompileError, Diagnostics
from snnc.driver import Request, optimise
from snnc.frontend import load
from snnc.ir.ops import FakeQuant, IfNeuron

LEVELS = 8
TOP = 1.75
"""λ, a sum of powers of two: float32 then agrees with float64 on every code."""

HALVES = {
    "clip, floor": "d = Div(c, top) e = Clip(d, zero, one) f = Mul(e, levels) g = Add(f, half) h = Floor(g)"
    "i = Div(h, levels) q = Mul(i, top)",
    "floor, clip": "d = Div(c, top) f = Mul(d, levels) g = Add(f, half) h = Floor(g)"
    "i = Div(h, levels) e = Clip(i, zero, one) q = Mul(e, top)",
    "relu, floor, clip": "r = Relu(c) d = Div(r, step) g = Add(d, half) h = Floor(g)"
    "e = Clip(h, zero, levels) q = Mul(e, step)",
    "round, clip": "d = Div(c, step) h = Round(d) e = Clip(h, zero, levels) q = Mul(e, step)",
    "clip, round": "d = Div(c, step) e = Clip(d, zero, levels) h = Round(e) q = Mul(h, step)",
}
WHOLE = {
    "clip, floor only": "d = Div(c, top) e = Clip(d, zero, one) f = Mul(e, levels) h = Floor(f)"
    "i = Div(h, levels) q = Mul(i, top)",
    "floor only, clip": "d = Div(c, step) h = Floor(d) e = Clip(h, zero, levels) q = Mul(e, step)",
}


def model(activation: str) -> onnx.ModelProto:
    """Two such layers with weights of eight bits, and a linear one."""
    second = re.sub(r"\b([cdefghiqr])\b", r"\g<1>2", activation)
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        levels (float[N,2,6,6] x) => (float[N,4] y)
        <float top = {{{TOP}}}, float zero = {{0}}, float one = {{1}}, float levels = {{{LEVELS}}},
         float half = {{0.5}}, float step = {{{TOP / LEVELS}}}>
        {{
            c = Conv<pads=[1,1,1,1]>(x, w, b)
            {activation}
            c2 = Conv<pads=[1,1,1,1]>(q, v)
            {second}
            z = Flatten(q2)
            y = MatMul(z, u)
        }}"""
    )
    rng = np.random.default_rng(0)
    for name, shape in (("w", (3, 2, 3, 3)), ("v", (3, 3, 3, 3)), ("u", (108, 4))):
        codes = rng.integers(-127, 128, shape)
        codes.flat[:: codes[0].size] = 127
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(codes / 256), name))
    bias = np.float32(rng.integers(-64, 65, 3) / 128)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(bias, "b"))
    return proto


def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 5, (30, 2, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("activation", {**HALVES, **WHOLE}.values(), ids={**HALVES, **WHOLE}.keys())
class TestLevels:
    def test_the_network_computes_what_onnxruntime_computes(self, activation):
        proto = model(activation)
        found = network_outputs(load(proto, Diagnostics()).network, {"x": images().astype(np.float64)})["y"]
        assert np.allclose(found, onnxruntime_outputs(proto, {"x": images()})["y"], rtol=1e-5, atol=1e-5)

    def test_every_way_of_writing_it_is_one_quantization(self, activation):
        network = optimise(model(activation), Request(pipeline="simplify,fold-batchnorm,fuse-linear"))
        found = [network.op(n) for n in network.of(FakeQuant)]
        assert [(op.low, op.high, op.source) for op in found] == [(0, LEVELS, "q"), (0, LEVELS, "q2")]
        assert [float(op.scale.array) for op in found] == pytest.approx([TOP / LEVELS] * 2, rel=1e-6)
        kinds = [network.op(n).mnemonic for n in network.nodes]
        first = ["input", "conv2d", "fake_quant", "conv2d", "fake_quant"]
        assert kinds == [*first, "reshape", "dense", "output"]

    def test_spikes_are_the_codes_of_the_model(self, activation):
        """T = L under layerwise: its own threshold, and all of QCFS's codes."""
        compiled = snnc.compile(model(activation), calibration=images(), preset="layerwise", T=LEVELS)
        neurons = {compiled.network.op(n).source: n for n in compiled.network.of(IfNeuron)}
        trace = ReferenceEngine().simulate(compiled.network, {"x": images()})
        ann = load(model(activation), Diagnostics()).network
        nodes = {ann.op(n).source: n for n in ann.nodes if ann.op(n).source in neurons}
        wanted = evaluate(ann, {"x": images().astype(np.float64)}, list(nodes.values()))
        assert set(neurons) == {"q", "q2"}
        for source, node in neurons.items():
            assert compiled.network.op(node).unit.array == pytest.approx(TOP, rel=1e-6)
            codes = np.rint(wanted[nodes[source]] / (TOP / LEVELS))
            assert len(np.unique(codes)) == LEVELS + 1
            apart = np.abs(trace.counts[node] - codes)
            # spikes round half up, and a threshold is an integer: other roundings differ at ties
            assert apart.max() <= (0 if "half" in activation else 1)
            assert apart.mean() <= 0.01


def test_their_thresholds_need_no_data():
    compiled = snnc.compile(model(HALVES["clip, floor"]), T=LEVELS)
    assert {float(compiled.network.op(n).unit.array) for n in compiled.network.of(IfNeuron)} == {TOP}


@pytest.mark.parametrize(
    "activation",
    [
        "d = Div(c, step) g = Add(d, half) h = Floor(g) q = Mul(h, step)",
        "d = Div(c, step) h = Round(d) e = Clip(h, zero, half) q = Mul(e, step)",
    ],
    ids=["no clip", "a clip between levels"],
)
def test_levels_without_end_have_no_spikes(activation):
    with pytest.raises(CompileError, match="not clipped") as caught:
        snnc.compile(model(activation), calibration=images(), T=8)
    assert caught.value.diagnostics[0].code == "SNNC0120"
    assert caught.value.diagnostics[0].where


def test_shift_and_clip_has_its_own_threshold():
    """ReLU-SC: min(max(0, x − shift), c)."""
    proto = model("d = Sub(c, half) q = Clip(d, zero, top)")
    compiled = snnc.compile(proto, calibration=images(), preset="ecc", T=64)
    assert {float(compiled.network.op(n).unit.array) for n in compiled.network.of(IfNeuron)} == {TOP}
