"""The ONNX project's own backend tests, through the ann-level executor.

Inputs but the first are frozen to initializers, as an exported model has them; the leading axis of the
first is the batch. What becomes of each test is listed in ``tests/golden/frontend/backend-nodes.txt``.
"""

from __future__ import annotations

import contextlib
import pathlib
import warnings

import numpy as np
import onnx
import onnx.backend.test
import pytest
from conftest import GOLDEN
from frontend.onnx_models import host, network_outputs
from onnx import numpy_helper

from snnc.diagnostics import CompileError, Diagnostics
from snnc.frontend import load
from snnc.frontend.converters import CONVERTERS, HOST_OPS
from snnc.ir.ops import Output

TOLERANCE, HALF = 1e-5, 2.0**-8
FOUR_DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}
"""Tests whose expected values are written with so many digits."""

PYTORCH = pathlib.Path(onnx.backend.test.__file__).parent / "data"
JOINS = ("Add", "Concat", "Max", "Mean", "Min", "Sub", "Sum")
ELEMENTWISE = (
    *JOINS,
    *("Abs", "Clip", "Div", "HardSigmoid", "LeakyRelu", "MatMul", "Mul", "Neg", "PRelu", "Relu"),
)
GROUPS = ("Conv", "AvgPool", "MaxPool", "Linear", "BatchNorm", "operator_")


def arrays(value):
    """Tensors of types that NumPy lacks come as protobufs."""
    return value if isinstance(value, np.ndarray | onnx.TensorProto) else np.asarray(value)


def plain(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def node_tests():
    """Name, model, inputs and outputs of the tests of one supported node."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases("")
    supported = {*CONVERTERS, *HOST_OPS}
    for case in found:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in supported and case.data_sets:
            yield case.name, case.model, *([arrays(v) for v in values] for values in case.data_sets[0])


def pytorch_tests():
    for group in ("pytorch-converted", "pytorch-operator"):
        for folder in sorted((PYTORCH / group).iterdir()):
            if any(word in folder.name for word in GROUPS):
                data = folder / "test_data_set_0"
                proto = modern(onnx.load(folder / "model.onnx"))
                inputs, outputs = (
                    [numpy_helper.to_array(onnx.load_tensor(path)) for path in sorted(data.glob(kind))]
                    for kind in ("input_*.pb", "output_*.pb")
                )
                yield folder.name, proto, inputs, outputs


def modern(proto):
    """These models were exported for opset 6: the oldest that snnc reads is 7."""
    try:
        return onnx.version_converter.convert_version(proto, 9)
    except (RuntimeError, onnx.version_converter.ConvertError):
        return proto


def frozen(proto, inputs, one_sample=False):
    """The model with all inputs but the first as initializers, and what to feed.

    Operands of a join stay inputs. With ``one_sample`` an input gets a batch axis of one.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    initialized = {tensor.name for tensor in twin.graph.initializer}
    free = [value for value in twin.graph.input if value.name not in initialized]
    open_ = len(free) if twin.graph.node[0].op_type in JOINS else 1
    feeds = {}
    for position, (value, array) in enumerate(zip(free, inputs, strict=True)):
        if position >= open_:
            tensor = numpy_helper.from_array(array) if isinstance(array, np.ndarray) else array
            tensor.name = value.name
            twin.graph.initializer.append(tensor)
            continue
        feeds[value.name] = plain(array)[None] if one_sample else plain(array)
        if one_sample:
            kind, shape = value.type.tensor_type.elem_type, feeds[value.name].shape
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, shape))
    if one_sample:
        for value in twin.graph.output:
            value.type.tensor_type.ClearField("shape")
            value.type.tensor_type.shape.dim.add()
    return twin, feeds


def outcome(proto, inputs, outputs) -> str:
    """Ok, or why the model is refused; fails if the network computes something else."""
    try:
        return compared(proto, outputs, *frozen(proto, inputs))
    except CompileError as error:
        if proto.graph.node[0].op_type in ELEMENTWISE and len(proto.graph.node) == 1:
            with contextlib.suppress(CompileError):
                samples = [np.asarray(plain(expected))[None] for expected in outputs]
                return compared(proto, samples, *frozen(proto, inputs, True)) + " as one sample"
        first = error.diagnostics[0]
        return f"{first.code} {first.message}"


def compared(proto, outputs, twin, feeds) -> str:
    network = load(twin, Diagnostics()).network
    found = network_outputs(network, feeds)
    names = [value.name for value in proto.graph.output]
    activations = {network.op(n).name: network.op(n).activation for n in network.of(Output)}
    for name, expected in zip(names, outputs, strict=True):
        if activations[name] and activations[name] not in ("relu", "softmax"):
            return f"left to the host: {activations[name]}"
        actual = host(activations[name], found[name])
        expected = np.asarray(plain(expected))
        assert actual.shape == expected.shape
        half = expected.dtype == np.float16 or proto.graph.output[0].type.tensor_type.elem_type == 16
        tolerance = HALF if half else FOUR_DIGITS.get(proto.graph.name, TOLERANCE)
        finite = np.abs(expected)[np.isfinite(expected)]
        scale = tolerance * float(finite.max(initial=0))
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=scale)
    return "ok"


@pytest.fixture
def recorded(golden, request):
    """``recorded(name, cases)`` compares outcomes with a golden list, of the cases that both have."""

    def compare(name, cases):
        found, faults = {}, []
        for case, *rest in cases:
            try:
                found[case] = outcome(*rest)
            except Exception as error:
                faults.append(f"{case}: {type(error).__name__} {error}")
        assert not faults, "\n".join(faults)
        if request.config.getoption("--update-golden"):
            golden(name, "".join(f"{case}: {found[case]}\n" for case in sorted(found)))
        lines = (GOLDEN / name).read_text("utf-8").splitlines()
        known = dict(line.split(": ", 1) for line in lines)
        # another version of onnx has other tests
        common = known.keys() & found.keys()
        assert len(common) > len(known) / 2
        assert {case: found[case] for case in common} == {case: known[case] for case in common}

    return compare


def test_single_nodes(recorded):
    recorded("frontend/backend-nodes.txt", node_tests())


def test_models_converted_from_pytorch(recorded):
    recorded("frontend/backend-pytorch.txt", pytorch_tests())


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm", "BatchNormalization", "PRelu"])
def test_weights_that_are_inputs_are_refused(op):
    refused = []
    for _, proto, inputs, outputs in node_tests():
        node = proto.graph.node[0]
        if node.op_type == op and len(proto.graph.input) > 1 and outcome(proto, inputs, outputs) == "ok":
            with pytest.raises(CompileError, match=f"{node.input[1]!r} is not constant"):
                load(proto, Diagnostics())
            refused.append(node)
    assert refused
