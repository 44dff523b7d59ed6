"""Each supported form of each ONNX op computes what onnxruntime computes."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model, relative_error, with_output_rank

CONV = "float[4,3,3,3] w;float[4] b"
FORMS = {
    "conv": ("y = Conv<strides=[2,1], pads=[1,0,2,1]>(x, w, b)", CONV),
    "conv same upper": ('y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)', CONV),
    "conv same lower": ('y = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)', CONV),
    "conv valid, dilated": ('y = Conv<auto_pad="VALID", dilations=[2,2]>(x, w, b)', CONV),
    "conv grouped": ("y = Conv<group=3, kernel_shape=[3,3]>(x, w)", "float[6,1,3,3] w"),
    "batch norm": (
        "v = Mul(s, s) y = BatchNormalization<epsilon=0.01>(x, g, b, m, v)",
        "float[3] g;float[3] b;float[3] m;float[3] s",
    ),
    "gemm": (
        "f = Flatten(x) y = Gemm<alpha=0.5, beta=2.0, transB=1>(f, w, b)",
        "float[5,126] w;float[5] b",
    ),
    "gemm, scalar bias": ("f = Flatten(x) y = Gemm(f, w, b)", "float[126,5] w;float[] b"),
    "matmul and bias": ("f = Flatten(x) m = MatMul(f, w) y = Add(b, m)", "float[126,5] w;float[1,5] b"),
    "matmul, bias on a copy": (
        "f = Flatten(x) m = MatMul(f, w) i = Identity(m) a = Add(i, b) y = Add(a, m)",
        "float[126,5] w;float[5] b",
    ),
    "affine per channel": (
        "a = Mul(x, s) b = Sub(a, m) y = Div(b, d)",
        "float[3,1,1] s;float[] m;float[1,3,1,1] d",
    ),
    "constant minus x": ("y = Sub(c, x)", "float[1,3,1,1] c"),
    "affine per column": ("y = Add(x, c)", "float[6] c"),
    "half precision weights": (
        "v = Cast<to=1>(w) c = Cast<to=1>(b) y = Conv(x, v, c)",
        "float16[4,3,3,3] w;double[4] b",
    ),
    "reshaped weight": (
        "s = Constant<value_ints=[4,3,3,3]>() v = Reshape(w, s) y = Conv(x, v)",
        "float[108] w",
    ),
    "sum and x + x": ("a = Sum(x, x, x) y = Add(a, a)", ""),
    "relu inside": ("a = Relu(x) y = Add(a, x)", ""),
    "clip": (
        "lo = Constant<value_float=0.0>() hi = Constant<value_float=0.75>()a = Clip(x, lo, hi) y = Add(a, x)",
        "",
    ),
    "clip without a maximum": ("lo = Constant<value_float=0.0>() a = Clip(x, lo) y = Add(a, x)", ""),
    "max pool": ("y = MaxPool<kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,1]>(x)", ""),
    "global pools": ("a = GlobalAveragePool(x) b = GlobalMaxPool(x) y = Add(a, b)", ""),
    "mean": ("y = ReduceMean<axes=[-1,2], keepdims=0>(x)", ""),
    "mean, kept": ("y = ReduceMean<axes=[2,3]>(x)", ""),
    "concat": ("a = Relu(x) y = Concat<axis=-3>(x, a, x)", ""),
    "slice": (
        "s = Constant<value_ints=[0,1,-5]>() e = Constant<value_ints=[9223372036854775807,100,-1]>()"
        "a = Constant<value_ints=[0,2,-1]>() t = Constant<value_ints=[1,2,1]>() y = Slice(x, s, e, a, t)",
        "",
    ),
    "pad": ("p = Constant<value_ints=[0,1,0,2,0,0,3,0]>() y = Pad(x, p)", ""),
    "transpose twice": ("a = Transpose<perm=[0,2,3,1]>(x) y = Transpose<perm=[0,2,3,1]>(a)", ""),
    "squeeze, unsqueeze": (
        "a = Constant<value_ints=[-1,1]>() u = Unsqueeze(x, a) b = Constant<value_ints=[1]>()"
        "y = Squeeze(u, b)",
        "",
    ),
    "dropout, identity, cast": ("a, mask = Dropout(x) b = Identity(a) y = Cast<to=1>(b)", ""),
    "flatten by shape": (
        "s = Shape(x) z = Constant<value_int=0>() n = Gather(s, z) ax = Constant<value_ints=[0]>()"
        "u = Unsqueeze(n, ax) m = Constant<value_ints=[-1]>() t = Concat<axis=0>(u, m) y = Reshape(x, t)",
        "",
    ),
    "flatten by products": (
        "s = Shape(x) c = Shape<start=1>(x) p = ReduceProd<keepdims=1>(c) q = Shape<start=0, end=1>(x)"
        "t = Concat<axis=0>(q, p) y = Reshape(x, t)",
        "",
    ),
    "softmax at the output": ("f = Flatten(x) y = Softmax(f)", ""),
    "relu at the output": ("a = Mul(x, x_scale) y = Relu(a)", "float[] x_scale"),
}


def sample(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_computes_what_onnxruntime_computes(form):
    nodes, weights = FORMS[form]
    proto = model(nodes, weights=weights)
    assert relative_error(proto, {"x": sample((2, 3, 7, 6))}) <= 1e-5


OLD_FORMS = {
    "slice by attributes": "y = Slice<axes=[2,3], starts=[1,-4], ends=[9223372036854775807,-1]>(x)",
    "pad by attributes": "y = Pad<pads=[0,0,1,1,0,0,0,2]>(x)",
    "clip by attributes": "a = Clip<min=0.0, max=0.5>(x) y = Add(a, x)",
    "squeeze by attributes": "u = Unsqueeze<axes=[1,3]>(x) y = Squeeze<axes=[3,1]>(u)",
}


@pytest.mark.parametrize("form", OLD_FORMS)
def test_forms_of_old_opsets(form):
    proto = model(OLD_FORMS[form], opset=9)
    assert relative_error(proto, {"x": sample((2, 3, 7, 6))}) <= 1e-5


NEW_FORMS = {
    "mean over axes as input": "a = Constant<value_ints=[2,3]>() y = ReduceMean<keepdims=0>(x, a)",
    "pad of some axes": (
        "p = Constant<value_ints=[1,0,0,2]>() a = Constant<value_ints=[2,-1]>() y = Pad(x, p, , a)"
    ),
}


@pytest.mark.parametrize("form", NEW_FORMS)
def test_forms_of_new_opsets(form):
    proto = model(NEW_FORMS[form], opset=18)
    assert relative_error(proto, {"x": sample((2, 3, 7, 6))}) <= 1e-5


@pytest.mark.parametrize("opset", [11, 22])
@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
def test_every_rounding_and_padding_of_pools(op, opset):
    for size, kernel, stride, pad, ceil, include in itertools.product(
        (5, 6, 7), (2, 3), (1, 2, 3), (0, 1), (0, 1), (0, 1)
    ):
        attributes = {"kernel_shape": [kernel, 3], "strides": [stride, 2], "pads": [pad, 1, 0, 1]}
        if op == "AveragePool":
            attributes["count_include_pad"] = include
        elif include:
            continue
        node = onnx.helper.make_node(op, ["x"], ["y"], ceil_mode=ceil, **attributes)
        proto = model("y = Relu(x)", x=f"float[N,2,{size},7] x", opset=opset)
        proto.graph.node[0].CopyFrom(node)
        proto = with_output_rank(proto)
        case = (size, attributes, ceil)
        assert relative_error(proto, {"x": sample((1, 2, size, 7))}) <= 1e-5, case


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
def test_pools_with_auto_pad(op, mode):
    proto = model(f'y = {op}<auto_pad="{mode}", kernel_shape=[3,2], strides=[2,2]>(x)')
    assert relative_error(proto, {"x": sample((2, 3, 7, 6))}) <= 1e-5
