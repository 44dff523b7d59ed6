"""The verifier: every problem at once, inside the printed IR."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from random_networks import ann_networks, spiking_networks

from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    Clip,
    Concat,
    Conv2d,
    Dense,
    IfNeuron,
    Input,
    MaxGate,
    Output,
    Pad,
    Readout,
    Relu,
    Reshape,
    Scale,
    Slice,
    SumPool,
    Transpose,
)
from snnc.ir.types import Int, TensorType
from snnc.ir.verify import problems, verify


@settings(max_examples=25, deadline=None)
@given(ann_networks(), spiking_networks())
def test_legal_networks_have_no_problems(ann, spiking):
    assert problems(ann) == {}
    assert problems(spiking) == {}


def test_all_errors_are_shown_where_they_are(golden):
    network = Network("faulty")
    x = network.add(Input(name="x", shape=(2, 3, 3), origin=("x",)))
    network.add(Input(name="x", shape=(2,), coding="current"))
    kernel = Constant(np.full((1, 3, 5, 5), np.nan))
    conv = network.add(Conv2d(weight=kernel, origin=("/conv1/Conv",), source="c"), x)
    behind = network.add(Relu(origin=("behind",)), conv)
    network.add(Output(name="y"), behind)
    network.add(Output(name="y"), network.add(Clip(maximum=-1.0), x))
    network.add(Add(), x)
    network.add(IfNeuron(threshold=Constant(1.0)), x)
    with pytest.raises(CompileError) as caught:
        verify(network)
    golden("ir/faulty.txt", f"{caught.value}\n")


def test_a_network_needs_inputs_and_outputs_and_both_settings(golden):
    network = Network("empty", steps=0)
    with pytest.raises(CompileError) as caught:
        verify(network)
    golden("ir/empty.txt", f"{caught.value}\n")


ONES = Constant(np.ones((1, 2)))
WHOLE = Constant(np.ones((1, 2), np.int64))
WHOLE_ZERO = Constant(0)
MAP = (2, 4, 4)
FAULTS = [
    (Dense(weight=ONES, shift=1), (2,), "a shift needs integer weights"),
    (Dense(weight=ONES, register_limit=9), (2,), "a register needs integer weights"),
    (Dense(weight=WHOLE, register_exponent=17), (2,), "an exponent of 0 to 16"),
    (Dense(weight=WHOLE, shift=64), (2,), "the shift must lie within 0 and 63"),
    (Dense(weight=WHOLE, shift=-1), (2,), "the shift must lie within 0 and 63"),
    (Dense(weight=WHOLE), (2,), "integer weights cannot be applied to f32"),
    (Dense(weight=Constant(np.ones((0, 2)))), (2,), "the weight is empty"),
    (Dense(weight=ONES, bias=Constant([1.0, 2.0])), (2,), "the bias of shape (2,)"),
    (Dense(weight=ONES), (3,), "needs [M, K] weights and a [K] operand"),
    (Conv2d(weight=Constant(np.ones((2, 2, 5, 1)))), MAP, "does not fit into"),
    (Conv2d(weight=Constant(np.ones((2, 1, 1, 1)))), MAP, "1 groups do not divide 2 inputs"),
    (Conv2d(weight=Constant(np.ones((2, 2, 1, 1))), strides=(0, 1)), MAP, "must be positive"),
    (Scale(weight=Constant([1.0, 2.0, 3.0])), MAP, "neither a scalar nor one per channel"),
    (Reshape(shape=(-2, -16)), MAP, "does not fit into [-2, -16]"),
    (Reshape(shape=(31,)), MAP, "does not fit into [31]"),
    (Transpose(perm=(0, 1, 1)), MAP, "does not permute"),
    (Slice(starts=(0, 0, 0), stops=(2, 5, 4), steps=(1, 1, 1)), MAP, "axis 1 of"),
    (Slice(starts=(0,), stops=(2,), steps=(1,)), MAP, "one start, stop and step per axis"),
    (Pad(before=(0, -1, 0), after=(0, 0, 0)), MAP, "must not be negative"),
    (Concat(axis=3), MAP, "has no axis 3"),
    (SumPool(kernel=(5, 1)), MAP, "the window (5, 1) does not fit"),
    (SumPool(kernel=(2, 2), multiplicity=Constant(1)), MAP, "one for each output position"),
    (SumPool(kernel=(2, 2), multiplicity=Constant(1)), (32,), "needs a [C, H, W] operand"),
    (AveragePool(kernel=(2, 2), divisors=Constant(1)), (32,), "needs a [C, H, W] operand"),
    (AveragePool(kernel=(2, 2), strides=(0, 1), divisors=Constant(1)), MAP, "must be positive"),
    (AveragePool(kernel=(4, 4), divisors=Constant([[0]])), MAP, "divisors must be positive"),
    (MaxGate(kernel=(2, 2)), MAP, "a max gate takes spike<0,1>"),
    (Readout(bias=Constant([0.0, 1.0, 2.0])), (2,), "bias of shape (3,) does not fit"),
    (IfNeuron(threshold=Constant(0.0)), (2,), "thresholds must be positive"),
    (IfNeuron(threshold=Constant(np.inf)), (2,), "threshold holds NaN or infinite values"),
    (IfNeuron(threshold=Constant(1.0)), (2, 2), "a population is [C] or [C, H, W]"),
]


@pytest.mark.parametrize(("op", "shape", "message"), FAULTS)
def test_local_faults(op, shape, message):
    network = Network("one")
    network.add(Output(name="y"), network.add(op, network.add(Input(name="x", shape=shape))))
    found = problems(network)
    assert any(message in text for text in found[1]), found
    assert problems(network).keys() == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 8}, "an input is quantised only in a spiking network"),
        ({"bits": 40, "coding": "current"}, "an input has at most 32 bits"),
        ({"scale": 0.0}, "must be positive and finite"),
        ({"perm": (1, 1)}, "does not permute"),
        ({"shape": (0, 2)}, "is empty"),
    ],
)
def test_faulty_inputs(options, message):
    network = Network("one")
    op = Input(**({"name": "x", "shape": (2, 2)} | options))
    network.add(Output(name="y"), network.add(op))
    assert any(message in text for text in problems(network)[0])


def test_an_op_of_another_level_is_refused():
    network = Network("one", steps=4, schedule="rate")
    x = network.add(Input(name="x", shape=(2,), coding="current"))
    network.add(Output(name="y"), network.add(Relu(), x))
    assert problems(network) == {1: ["does not exist at the snn level"]}


def test_a_register_needs_steps():
    network = Network("register", steps=4, schedule="layerwise")
    x = network.add(Input(name="x", shape=(2,), coding="current", bits=4))
    y = network.add(Readout(bias=WHOLE_ZERO), network.add(Dense(weight=WHOLE, register_limit=9), x))
    network.add(Output(name="y"), y)
    assert problems(network) == {1: ["a register holds the current of one step: the schedule must be rate"]}


def test_a_membrane_saturates_at_a_width_that_holds_its_threshold():
    op = IfNeuron(threshold=Constant(8), bias=WHOLE_ZERO, v_init=WHOLE_ZERO, acc_bits=4, saturates=True)
    operand = [TensorType(Int(5), (2,))]
    assert list(op.check(operand)) == ["threshold and v_init must lie within the membrane's limits of ±7"]
    assert list(op.replace(acc_bits=1).check(operand)) == ["a membrane of 1 bits cannot saturate"]
    assert list(op.replace(acc_bits=5).check(operand)) == []
