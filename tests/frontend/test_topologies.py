"""Shapes of networks: each compiles, and its spikes come close to what the model computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model, network_outputs

import snnc
from snnc.diagnostics import CompileError, Diagnostics
from snnc.frontend import load

IMAGE, SEQUENCE, VECTOR = {"x": (3, 8, 8)}, {"x": (5, 6)}, {"x": (6,)}
CONV = "a = Conv(x, w) r = Relu(a)"
W = "float[4,3,3,3] w"
TAIL = "d = Conv(c, k) t = Relu(d) y = GlobalAveragePool(t)"

MIXED = {
    "mean over channels": (
        f"{CONV} m = ReduceMean<axes=[1]>(r) f = Flatten(m) y = MatMul(f, v)",
        f"{W};float[36,5] v",
    ),
    "concatenation in space": (
        f"{CONV} b = Conv(x, u) s = Relu(b) c = Concat<axis=2>(r, s) {TAIL}",
        f"{W};float[4,3,3,3] u;float[2,4,3,3] k",
    ),
    "channels become rows": (
        f"{CONV} o = Constant<value_ints=[0,2,12,6]>() c = Reshape(r, o) {TAIL}",
        f"{W};float[2,2,3,3] k",
    ),
    "channels and rows swapped": (f"{CONV} c = Transpose<perm=[0,2,1,3]>(r) {TAIL}", f"{W};float[2,6,3,3] k"),
}

SHAPES = {
    "perceptron": (
        VECTOR,
        "a = Gemm(x, w, b) r = Relu(a) y = Gemm(r, v)",
        "float[6,8] w;float[8] b;float[8,4] v",
    ),
    "no activation": (IMAGE, "a = Conv(x, w) f = Flatten(a) y = MatMul(f, v)", f"{W};float[144,5] v"),
    "no activation, deep": (
        IMAGE,
        "a = Conv(x, w) b = Conv(a, u) m = AveragePool<kernel_shape=[2,2]>(b) y = Conv(m, u)",
        f"{W};float[4,4,1,1] u",
    ),
    "no weights": (IMAGE, "h = Constant<value_float=0.5>() y = Mul(x, h)", ""),
    "autoencoder": (
        IMAGE,
        "a = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w) r = Relu(a) y = ConvTranspose<strides=[2,2]>(r, u)",
        f"{W};float[4,3,2,2] u",
    ),
    "two heads at different depths": (
        IMAGE,
        f"{CONV} f = Flatten(r) y = MatMul(f, v) q = Conv(r, u) s = Relu(q) t = Flatten(s) z = MatMul(t, k)",
        f"{W};float[144,5] v;float[4,4,3,3] u;float[64,3] k",
    ),
    "a head before its activation": (
        IMAGE,
        f"{CONV} f = Flatten(r) z = MatMul(f, v) y = Relu(z)",
        f"{W};float[144,5] v",
    ),
    "two inputs": (
        IMAGE | {"z": (6,)},
        f"{CONV} b = Gemm(z, u) s = Relu(b) f = Flatten(r) c = Concat<axis=1>(f, s) y = MatMul(c, v)",
        f"{W};float[6,8] u;float[152,4] v",
    ),
    "an image as output": (IMAGE, f"{CONV} y = MaxPool<kernel_shape=[2,2]>(r)", W),
    "the maximum of averages": (
        IMAGE,
        f"{CONV} v = AveragePool<kernel_shape=[2,2]>(r) c = MaxPool<kernel_shape=[2,2]>(v) {TAIL}",
        f"{W};float[2,4,3,3] k",
    ),
    "the maximum of a sum": (
        IMAGE,
        f"{CONV} b = Conv(x, u) s = Relu(b) p = Add(r, s) c = MaxPool<kernel_shape=[2,2]>(p)"
        "y = GlobalAveragePool(c)",
        f"{W};float[4,3,3,3] u",
    ),
    "a sequence": (
        SEQUENCE,
        "a = MatMul(x, w) r = Relu(a) t = Transpose<perm=[0,2,1]>(r) b = MatMul(t, v) s = Relu(b)"
        "f = Flatten(s) y = MatMul(f, u)",
        "float[6,8] w;float[5,4] v;float[32,3] u",
    ),
}


def compiled(shapes, nodes, weights, **options):
    """The network at T = 64, its relative error (rms) by output, and what was said."""
    inputs = ", ".join(f"float[{','.join(map(str, ('N', *shape)))}] {name}" for name, shape in shapes.items())
    proto = model(nodes, x=inputs, weights=weights)
    if " z = " in nodes:
        proto.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", "M"]))
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=(16, *shape)).astype(np.float32) for name, shape in shapes.items()}
    network = snnc.compile(proto, calibration=data, T=64, probe=1, **options)
    wanted = network_outputs(load(proto, Diagnostics()).network, data)
    found = {name: answers[:, -1] for name, answers in network.simulate(data).outputs.items()}
    assert found.keys() == wanted.keys()
    return {k: float(np.sqrt(((found[k] - v) ** 2).mean() / (v**2).mean())) for k, v in wanted.items()}


@pytest.mark.parametrize("name", MIXED)
def test_channels_that_are_mixed_share_a_threshold(name, caplog):
    with caplog.at_level("INFO", "snnc"):
        errors = compiled(IMAGE, *MIXED[name])
    assert "SNNC0129" in caplog.text
    assert max(errors.values()) < 0.05


def test_clips_of_unlike_bounds_that_are_mixed_are_refused():
    nodes = (
        "a = Conv(x, w) l = Constant<value_float=0.0>() h = Constant<value_float=0.25>() r = Clip(a, l, h)"
        f"s = Relu(a) c = Concat<axis=2>(r, s) {TAIL}"
    )
    with pytest.raises(CompileError, match="elements of different amplitude are mixed"):
        compiled(IMAGE, nodes, f"{W};float[2,4,3,3] k")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_topology_compiles(name):
    errors = compiled(*SHAPES[name])
    assert max(errors.values()) < 0.05
