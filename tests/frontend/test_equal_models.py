"""Two ways to write a model give the same network, and longer runs come closer to it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model, network_outputs

import snnc
from snnc.diagnostics import Diagnostics
from snnc.driver import Request, optimise
from snnc.frontend import load
from snnc.ir.printer import print_network

ANN = "simplify,fold-batchnorm,lower-pooling,fuse-linear"
IMAGES = np.random.default_rng(5).normal(size=(16, 3, 7, 6)).astype(np.float32)
CONV = "float[4,3,3,3] w;float[4] b"

PAIRS = {
    "gemm": (
        "f = Flatten(x) y = Gemm(f, w, b)",
        "f = Flatten(x) m = MatMul(f, w) y = Add(m, b)",
        "float[126,5] w;float[5] b",
    ),
    "padded convolution": (
        "y = Conv<pads=[1,2,0,1]>(x, w, b)",
        "p = Constant<value_ints=[0,0,1,2,0,0,0,1]>() q = Pad(x, p) y = Conv(q, w, b)",
        CONV,
    ),
    "bias": ("y = Conv(x, w, b)", "c = Conv(x, w) s = Reshape(b, k) y = Add(c, s)", CONV),
    "global pooling": ("y = GlobalAveragePool(x)", "y = ReduceMean<axes=[2,3]>(x)", ""),
    "relu6": (
        "l = Constant<value_float=0.0>() h = Constant<value_float=6.0>() c = Clip(x, l, h) y = Add(c, x)",
        "l = Constant<value_float=0.0>() h = Constant<value_float=6.0>() m = Max(x, l) c = Min(m, h)"
        "y = Add(c, x)",
        "",
    ),
    "upsampling": (
        'u = Constant<value_floats=[1.0,1.0,2.0,3.0]>() y = Resize<mode="nearest", '
        'coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , u)',
        "y = ConvTranspose<group=3, strides=[2,3]>(x, ones)",
        "",
    ),
}


def values(proto):
    network = optimise(proto, Request(pipeline=ANN))
    return network_outputs(network, {"x": IMAGES})["y"]


@pytest.mark.parametrize("pair", PAIRS)
def test_equal_models_compute_the_same(pair):
    *texts, weights = PAIRS[pair]
    constants = {
        "k": np.asarray([1, 4, 1, 1], np.int64),
        "ones": np.ones((3, 1, 2, 3), np.float32),
    }
    found = []
    for text in texts:
        proto = model(text, weights=weights)
        for name, value in constants.items():
            if f" {name})" in text:
                proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        found.append(values(proto))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-10)


def test_a_folded_batch_norm_is_the_explicit_one():
    weights = f"{CONV};float[4] g;float[4] m;float[4] s"
    explicit = model("c = Conv(x, w, b) v = Mul(s, s) y = BatchNormalization(c, g, b, m, v)", weights=weights)
    given = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in explicit.graph.initializer}
    gain = given["g"] / np.sqrt(np.square(given["s"].astype(np.float32)) + 1e-5)
    folded = model("y = Conv(x, w, b)", weights=CONV)
    parts = {"w": given["w"] * gain[:, None, None, None], "b": gain * (given["b"] - given["m"]) + given["b"]}
    for tensor in folded.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(parts[tensor.name], tensor.name))
    wanted = values(folded)
    assert np.abs(values(explicit) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_external_weights_are_the_same_network(tmp_path):
    proto = model("c = Conv(x, w, b) r = Relu(c) y = MaxPool<kernel_shape=[2,2]>(r)", weights=CONV)
    inside = load(proto, Diagnostics()).network
    onnx.save(proto, tmp_path / "test.onnx", save_as_external_data=True, size_threshold=0)
    apart = load(tmp_path / "test.onnx", Diagnostics()).network
    assert print_network(apart) == print_network(inside)


@pytest.mark.slow
def test_the_error_of_the_spikes_shrinks_with_time():
    nodes = (
        "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) d = Conv(r, v) s = LeakyRelu<alpha=0.25>(d)"
        "f = Flatten(s) y = MatMul(f, z)"
    )
    proto = model(nodes, weights=f"{CONV};float[2,4,3,3] v;float[40,3] z")
    wanted = network_outputs(load(proto, Diagnostics()).network, {"x": IMAGES})["y"]
    errors = []
    for steps in (8, 32, 128):
        compiled = snnc.compile(proto, calibration=IMAGES, T=steps, bits=16, probe=1)
        answers = compiled.simulate(IMAGES).outputs["y"][:, -1]
        errors.append(float(np.abs(answers - wanted).mean()))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < errors[0] / 3
