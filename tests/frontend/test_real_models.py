"""Real models, as their tools exported them, compute what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend.onnx_models import relative_error

import snnc
from snnc.check import support
from snnc.diagnostics import Diagnostics
from snnc.frontend import Limits, load
from snnc.ir.ops import Input

CASES = [
    "densenet",
    "kws",
    "lenet",
    "mobilenet-v1-025",
    "nascifarnet",
    "net5",
    "nmnist",
    "nmnist16",
    "resnet20",
    "resnet20-dynamo",
    "resnet20-folded",
    "resnet56",
    "resnet8",
    pytest.param("vgg16", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", CASES)
def test_a_real_model_computes_what_onnxruntime_computes(name, load_case):
    case = load_case(name, test=2, calib=1)
    (feed,) = INPUT_NAMES.get(name, ("input",))
    assert relative_error(case.model, {feed: case.x}) <= 1e-5


INPUT_NAMES = {"mobilenet-v1-025": ("input_dequant_Mul__64:0",)}


@pytest.mark.slow
def test_a_model_of_integers_in_and_out_computes_the_same_logits(shared):
    """Pixels are cast and normalised inside; what its softmax takes is compared, not the codes after it."""
    proto = onnx.load(shared / "models" / "coral_mobilenet_v1_0.25_128_dequant.onnx")
    (softmax,) = (node for node in proto.graph.node if node.op_type == "Softmax")
    del proto.graph.output[:]
    logits = onnx.helper.make_tensor_value_info(softmax.input[0], onnx.TensorProto.FLOAT, ["N", "M"])
    proto.graph.output.append(logits)
    x = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3)).astype(np.uint8)
    assert relative_error(proto, {"input": x}) <= 1e-5


REST = (
    "coral_mobilenet_v2_1.0_224_float",
    "mlperftiny_ad01_autoencoder_tf2onnx",
    "mlperftiny_vww_mobilenet025_tf2onnx",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_models_without_data_compute_what_onnxruntime_computes(name, shared):
    path = shared / "models" / f"{name}.onnx"
    network = load(path, Diagnostics()).network
    (op,) = (network.op(n) for n in network.of(Input))
    x = np.random.default_rng(0).uniform(-1, 1, (1, *op.shape)).astype(np.float32)
    assert relative_error(path, {op.name: x}) <= 1e-5


@pytest.mark.slow
def test_no_node_of_any_model_is_refused(shared):
    for path in sorted((shared / "models").glob("*.onnx")):
        rows = support(path, Diagnostics(), Limits())
        assert {row.status for row in rows} <= {"ok", "approximated"}, path.name


@pytest.mark.slow
def test_every_model_compiles_without_data(shared):
    """MobileNet v2 at 224×224 too, within the 2 GiB that are allowed by default."""
    paths = sorted((shared / "models").glob("*.onnx"))
    assert len(paths) >= 18
    for path in paths:
        compiled = snnc.compile(path, T=4, probe=1, stop_after="quantize")
        assert compiled.network.level == "int", path.name
