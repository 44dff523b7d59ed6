"""Real models, as their tools exported them, compute what onnxruntime computes."""

from __future__ import annotations

import pytest
from frontend.onnx_models import relative_error

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
