"""Widths are proved, and nothing that a network can do exceeds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_tools import context, run
from random_networks import samples, spiking_networks

from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import CompileError, UsageError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Dense, IfNeuron, Input, Output, Readout, Reshape, Scale
from snnc.passes import Legalize, Promise
from snnc.targets import load_target

MANY = settings(max_examples=80, deadline=None)


def fits(values: np.ndarray, bits: int) -> bool:
    return bool((values >= -(1 << (bits - 1))).all() and (values < 1 << (bits - 1)).all())


@MANY
@given(spiking_networks(), st.integers(0, 3))
def test_no_membrane_leaves_its_width(network, seed):
    legal = Legalize().apply(network, context())
    trace = ReferenceEngine().simulate(legal, samples(network, 3, seed), record=True)
    for node in legal.of(IfNeuron):
        op = legal.op(node)
        assert fits(trace.membranes[node], op.acc_bits), node
        if op.reset == "subtract" and op.threshold.array.ndim < 2:
            theta = op.threshold.array.reshape(-1, *(1,) * (trace.membranes[node].ndim - 3))
            assert fits(trace.membranes[node] + theta * trace.spikes[node], op.acc_bits), node
    for node in legal.of(Readout):
        assert fits(trace.outputs["y"], legal.op(node).acc_bits)


@MANY
@given(spiking_networks(saturation=False))
def test_only_widths_change(network):
    legal = Legalize().apply(network, context())
    for node in network.nodes:
        op = legal.op(node)
        if isinstance(op, IfNeuron | Readout):
            assert op.acc_bits > 1
            op = op.replace(acc_bits=0)
        assert op == network.op(node)


def driven(weight: list[list[int]], steps: int, schedule: str = "rate", shift: int = 0, **options) -> Network:
    """One population behind a signed 4-bit input, and its readout."""
    network = Network("driven", steps=steps, schedule=schedule)
    x = network.add(Input(name="x", shape=(len(weight[0]),), coding="current", bits=4, signed=True))
    current = network.add(Dense(weight=Constant(np.array(weight)), shift=shift, origin=("fc",)), x)
    parameters = {"bias": Constant(0), "v_init": Constant(0), "origin": ("relu",)} | options
    neuron = network.add(IfNeuron(**parameters), current)
    read = network.add(
        Readout(bias=Constant(0)),
        network.add(Dense(weight=Constant(np.eye(1, len(weight), dtype=int))), neuron),
    )
    network.add(Output(name="y"), read)
    return network


@pytest.mark.parametrize(
    ("weight", "steps", "threshold", "bits"),
    [
        # Z in [−56, 49], T·56 = 448 below, 49·8 − 7·100 above
        ([[7]], 8, 100, 10),
        ([[7]], 1, 100, 7),
        # up to 7·7·8 − 7 = 385 although at most one spike leaves per step
        ([[7]], 8, 1, 10),
        ([[-1, 1]], 4, 3, 7),
    ],
)
def test_the_width_is_that_of_the_worst_input(weight, steps, threshold, bits):
    network = driven(weight, steps, threshold=Constant(threshold))
    legal = Legalize().apply(network, context())
    (node,) = legal.of(IfNeuron)
    assert legal.op(node).acc_bits == bits


def test_every_position_of_a_bias_counts():
    network = Network("positions", steps=4, schedule="rate")
    x = network.add(Input(name="x", shape=(1, 1, 2), coding="current", bits=4, signed=True))
    current = network.add(Scale(weight=Constant(1)), x)
    bias = Constant(np.array([[[0, 1000]]]))
    neuron = network.add(IfNeuron(threshold=Constant(1), bias=bias, v_init=Constant(0)), current)
    flat = network.add(Reshape(shape=(2,)), neuron)
    current = network.add(Dense(weight=Constant(np.eye(2, dtype=int))), flat)
    network.add(Output(name="y"), network.add(Readout(bias=Constant(0)), current))
    legal = Legalize().apply(network, context())
    # 4·(1000 + 7 − 1) is a number of 12 bits
    assert legal.op(neuron).acc_bits == 13


def test_a_negative_code_can_leave_almost_a_threshold():
    network = driven([[1]], 4, "layerwise", threshold=Constant(1000), signed=True)
    legal = Legalize().apply(network, context())
    (node,) = legal.of(IfNeuron)
    trace = ReferenceEngine().simulate(legal, {"x": np.array([[-1.0]])}, record=True)
    assert trace.membranes[node].max() == 996
    assert fits(trace.membranes[node], legal.op(node).acc_bits)


@pytest.mark.parametrize(("schedule", "steps"), [("rate", 128), ("layerwise", 128), ("phase", 7)])
@pytest.mark.parametrize(("shift", "bits"), [(50, 69), (60, 79)])
def test_beyond_63_bits_is_refused_however_far(schedule, steps, shift, bits):
    # 200·8·2^shift a step, 128 or 2^7 − 1 times
    network = driven([[100, 100]], steps, schedule, shift=shift, threshold=Constant(1 << 40))
    with pytest.raises(CompileError) as caught:
        run(network, "legalize")
    assert [d.code for d in caught.value.diagnostics] == ["SNNC0130"]
    assert caught.value.diagnostics[0].where == ("relu",)
    assert f"needs {bits} bits" in caught.value.diagnostics[0].message


@MANY
@given(spiking_networks(saturation=False), st.integers(0, 3))
def test_a_membrane_saturates_where_it_is_not_proved_to_fit(network, seed):
    proved = {n: op.acc_bits for n, op in ops(Legalize().apply(network, context()))}
    legal = Legalize(acc_bits=12).apply(network, context())
    trace = ReferenceEngine().simulate(legal, samples(network, 3, seed), record=True)
    for node, op in ops(legal):
        assert op.saturates == (proved[node] > 12)
        assert op.acc_bits == min(12, proved[node])
        assert fits(trace.membranes.get(node, trace.outputs["y"]), op.acc_bits)
    again = Legalize().apply(legal, context())
    assert again.fingerprint() == legal.fingerprint()


def ops(network: Network) -> list[tuple[int, IfNeuron | Readout]]:
    return [(n, network.op(n)) for n in network.of(IfNeuron, Readout)]


def test_what_saturates_is_measured_and_what_does_not_is_proved():
    assert Legalize().guarantee() is Promise.SAME_SPIKES
    assert Legalize(acc_bits=24).guarantee() is Promise.APPROXIMATE


def test_a_saturating_membrane_holds_the_excess_back():
    # Z = 49 a step, of which a spike takes 40: u stops at 63, the largest word of 7 bits
    network = driven([[7]], 8, threshold=Constant(40))
    legal = Legalize(acc_bits=7).apply(network, context())
    (node,) = legal.of(IfNeuron)
    trace = ReferenceEngine().simulate(legal, {"x": np.array([[7.0]])}, record=True)
    assert trace.membranes[node][0, :, 0].tolist() == [9, 18, 23, 23, 23, 23, 23, 23]


def test_a_membrane_narrower_than_its_threshold_is_refused():
    network = driven([[7]], 8, threshold=Constant(100))
    with pytest.raises(CompileError, match="need 8 bits, 1 more than acc_bits=7"):
        run(network, "legalize{acc_bits=7}")
    with pytest.raises(CompileError, match="SNNC0154"):
        run(network, "legalize{acc_bits=64}")


def test_a_membrane_wider_than_the_target_is_refused_or_saturates():
    # 200·8·2^16·128 needs 35 bits
    network = driven([[100, 100]], 128, shift=16, threshold=Constant(1 << 20))
    with pytest.raises(CompileError, match="needs 35 bits, 3 more than target fpga") as caught:
        run(network, "legalize{target=fpga}")
    assert caught.value.diagnostics[0].where == ("relu",)
    assert "--acc-bits 32" in caught.value.diagnostics[0].remedy
    (_, op), _ = ops(Legalize(target="fpga", acc_bits=32).apply(network, context()))
    assert (op.acc_bits, op.saturates) == (32, True)


def test_unknown_targets_are_a_usage_error():
    network = driven([[1]], 4, threshold=Constant(1))
    with pytest.raises(UsageError, match="SNNC0153"):
        run(network, "legalize{target=abacus}")
    assert load_target("generic").membrane_bits[1] == 63
