"""The simulators: the recurrence, integrate-then-fire, and that all of them agree."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import Builder
from onnx import helper, numpy_helper
from pass_tools import differences
from random_networks import ann_networks, samples, spiking_networks

import snnc.backends.fast.byte_product as fast_bytes
import snnc.backends.fast.choice as fast_choice
import snnc.backends.fast.codes as fast_codes
import snnc.backends.fast.currents as fast_currents
import snnc.backends.fast.drive as fast_drive
import snnc.backends.fast.terms as fast_terms
from snnc.backends.base import decode
from snnc.backends.fast.drive import FloatDrive
from snnc.backends.fast.engine import FastEngine
from snnc.backends.fast.onepass import OnePass
from snnc.backends.onnx import AnnRunner, run_model, to_onnx
from snnc.backends.reference.drive import encode_inputs
from snnc.backends.reference.engine import ReferenceEngine, open_loop
from snnc.backends.reference.evaluate import evaluate
from snnc.backends.reference.fire import gate, over_time, total_bias
from snnc.diagnostics import CompileError, UsageError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Conv2d,
    Delay,
    Dense,
    IfNeuron,
    Input,
    MaxGate,
    Output,
    Readout,
    Scale,
)
from snnc.ir.schedule import SCHEDULES
from snnc.ir.verify import verify

MANY = settings(max_examples=40, deadline=None)


def cut(op: IfNeuron | Readout, u: np.ndarray) -> np.ndarray:
    """u within the words of the membrane, but for the most negative one."""
    most = 2 ** (op.acc_bits - 1) - 1 if op.saturates else np.inf
    return np.where(u > most, most, np.where(u < -most, -most, u)).astype(np.int64)


def population(
    current: float | np.ndarray, steps: int, schedule: str = "rate", **options
) -> tuple[Network, int, dict[str, np.ndarray]]:
    """One population of the snn level fed by a constant current [C], which is also read out."""
    x = np.atleast_1d(np.asarray(current, np.float64))
    network = Network("one", steps=steps, schedule=schedule)
    z = network.add(Input(name="x", shape=x.shape, coding="current"))
    weighted = network.add(Scale(weight=Constant(1.0)), z)
    neuron = network.add(IfNeuron(**options), weighted)
    network.add(Output(name="y"), network.add(Readout(), network.add(Scale(weight=Constant(1.0)), neuron)))
    return network, neuron, {"x": x[None]}


@MANY
@given(spiking_networks(), st.integers(0, 3))
def test_random_networks_are_legal(network, seed):
    verify(network)
    assert network.level == "int"
    assert all(len(x) == 2 for x in samples(network, 2, seed).values())


@MANY
@given(spiking_networks(), st.booleans())
def test_fast_equals_reference(network, record):
    inputs = samples(network, 3)
    expected = ReferenceEngine().simulate(network, inputs, record=record)
    assert differences(FastEngine().simulate(network, inputs, record=record), expected) == []


@settings(max_examples=15, deadline=None)
@given(spiking_networks(channels=(15, 16, 20, 48)))
def test_fast_equals_reference_on_wide_networks(network):
    inputs = samples(network, 2)
    expected = ReferenceEngine().simulate(network, inputs, record=True)
    assert differences(FastEngine().simulate(network, inputs, record=True), expected) == []


@MANY
@given(spiking_networks())
def test_results_depend_neither_on_batches_nor_on_threads_nor_on_blocks(network):
    inputs = samples(network, 5)
    expected = ReferenceEngine().simulate(network, inputs, record=True)
    assert differences(ReferenceEngine(max_memory=1).simulate(network, inputs, record=True), expected) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_currents, "BLOCK_BYTES", 700)
        patch.setattr(fast_currents, "SHARED_BLOCK_BYTES", 700)
        for engine in (FastEngine(threads=2), FastEngine(max_memory=1)):
            assert differences(engine.simulate(network, inputs, record=True), expected) == []


@pytest.mark.parametrize("pick", [min, max])
@MANY
@given(network=spiking_networks())
def test_every_way_to_drive_a_layer_equals_reference(pick, network):
    inputs = samples(network, 2)
    expected = ReferenceEngine().simulate(network, inputs, record=True)
    order = ("DiagonalDrive", "EventDrive", "FloatDrive", "PooledDrive", "ProductDrive")

    def chosen(self, x, z, workspace):
        self._chosen = pick(self._candidates(), key=lambda drive: order.index(type(drive).__name__))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_choice.Quickest, "settle", chosen)
        assert differences(FastEngine().simulate(network, inputs, record=True), expected) == []


@settings(max_examples=80, deadline=None)
@given(network=spiking_networks(), least=st.sampled_from([1, 3]))
def test_products_of_bytes_equal_reference(network, least):
    """Of all layers, or of those with three channels and more: layouts change from layer to layer."""
    inputs = samples(network, 3)
    expected = ReferenceEngine().simulate(network, inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_bytes, "LEAST_INPUTS", least)
        assert differences(FastEngine().simulate(network, inputs), expected) == []


@pytest.mark.parametrize(("steps", "products"), [(129, 1), (130, 0)])
def test_products_of_bytes_at_their_largest(steps, products):
    """2·129·127 is the last to fit into 16 bits; every code and every weight is as large as can be."""
    b = Builder("layerwise", steps=steps)
    full = b.fire(b.conv(b.input(1, 3, 3), 64, (1, 1)), bias=Constant(np.full(64, 1000)))
    weight = Constant(np.full((2, 64, 2, 2), 127, np.int8))
    wide = b.add(Conv2d(weight=weight, pads=(0, 1, 1, 0), strides=(2, 1)), full)
    network = b.read(b.fire(wide, threshold=Constant(np.array([999999, 254001]))))
    inputs = samples(network, 2)
    expected = ReferenceEngine().simulate(network, inputs)
    assert differences(FastEngine().simulate(network, inputs), expected) == []
    kinds = [node.op_type for node in fast_codes.code_model(network).graph.node]
    assert kinds.count("MatMulInteger") == products


@MANY
@given(spiking_networks())
def test_fast_without_proof_of_float32_equals_reference(network):
    inputs = samples(network, 2)
    expected = ReferenceEngine().simulate(network, inputs, record=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_drive.fixedpoint, "FLOAT32_EXACT", 1)
        only = lambda part, grid, dtype, unit: [FloatDrive(part, grid, unit)]  # noqa: E731
        patch.setattr(fast_currents, "candidates", only)
        assert differences(FastEngine().simulate(network, inputs, record=True), expected) == []
        assert differences(ReferenceEngine().simulate(network, inputs, record=True), expected) == []


@settings(max_examples=15, deadline=None)
@given(spiking_networks(), st.sampled_from([1, 60, 4000]))
def test_sums_in_pieces_and_in_float64_equal_reference(network, exact):
    inputs = samples(network, 2)
    expected = ReferenceEngine().simulate(network, inputs)
    with pytest.MonkeyPatch.context() as patch:
        for module in (fast_codes, fast_terms):
            patch.setattr(module, "FLOAT32_EXACT", exact)
        assert differences(FastEngine().simulate(network, inputs), expected) == []


@MANY
@given(st.integers(1, 300), st.integers(1, 1 << 44), st.integers(-5, 5), st.booleans())
def test_a_code_changes_exactly_at_multiples_of_the_threshold(steps, theta, weight, signed):
    levels = np.arange(-steps if signed else 0, steps + 1)
    network = Network("edges", steps=steps, schedule="layerwise")
    x = network.add(Input(name="x", shape=(1,), coding="current", bits=4, signed=True))
    wires = Dense(weight=Constant(np.full((2 * len(levels), 1), weight, np.int8)))
    # with x = 1 the membranes are a multiple of θ, and one less
    start = np.concatenate([levels * theta, levels * theta - 1]) - steps * weight
    neuron = IfNeuron(threshold=Constant(np.int64(theta)), v_init=Constant(start), signed=signed)
    codes = network.add(neuron, network.add(wires, x))
    sink = Dense(weight=Constant(np.ones((1, 2 * len(levels)), np.int8)))
    network.add(Output(name="y"), network.add(Readout(bias=Constant(np.int64(0))), network.add(sink, codes)))
    below = np.maximum(levels - 1, levels[0])
    trace = OnePass(network).run(encode_inputs(network, {"x": np.ones((1, 1))}))
    assert trace.counts[codes][0].tolist() == [*levels.tolist(), *below.tolist()]


@MANY
@given(spiking_networks(schedule="rate", delays=False))
def test_every_population_obeys_the_recurrence(network):
    inputs = samples(network, 2)
    trace = ReferenceEngine().simulate(network, inputs, record=True)
    currents = dict(open_loop(network, inputs, trace.spikes))
    for node in network.of(IfNeuron):
        op, shape = network.op(node), network.type(node).shape
        theta = over_time(op.threshold, shape, network.steps)
        bias = over_time(op.bias, shape, network.steps)
        v = np.broadcast_to(over_time(op.v_init, shape, 1)[0], (2, *shape)).copy()
        for t in range(network.steps):
            u = cut(op, v + currents[node][:, t] + bias[t % len(bias)])
            th = theta[t % len(theta)]
            for index in np.ndindex(u.shape):
                level = th[index[1:]]
                fires = u[index] >= level if op.compare == "ge" else u[index] > level
                back = op.signed and 2 * u[index] < (-level if op.rectified else 0)
                if op.rectified and trace.spikes[node][index[0], :t][:, *index[1:]].sum() <= 0:
                    back = False
                s = 1 if fires else -1 if back else 0
                assert trace.spikes[node][index[0], t][index[1:]] == s
                v[index] = 0 if s and op.reset == "zero" else u[index] - level * s
            assert (trace.membranes[node][:, t] == v).all()
        assert (trace.counts[node] == trace.spikes[node].sum(axis=1)).all()
        if op.rectified:
            assert (np.cumsum(trace.spikes[node], axis=1) >= 0).all()


@MANY
@given(spiking_networks(schedule="rate", saturation=False))
def test_charge_is_conserved(network):
    inputs = samples(network, 2)
    trace = ReferenceEngine().simulate(network, inputs, record=True)
    for node, current in open_loop(network, inputs, trace.spikes):
        op, shape = network.op(node), network.type(node).shape
        arrived = current.sum(axis=1) + total_bias(op.bias, shape, network.steps)
        if isinstance(op, Readout):
            assert (trace.outputs["y"][:, -1] == arrived).all()
        elif op.reset == "subtract":
            left = (over_time(op.threshold, shape, network.steps) * trace.spikes[node]).sum(axis=1)
            rest = trace.membranes[node][:, -1] - over_time(op.v_init, shape, 1)[0]
            assert (arrived == left + rest).all()


@MANY
@given(st.sampled_from(("layerwise", "phase")).flatmap(spiking_networks))
def test_a_code_is_the_floor_of_the_total_and_fires_step_by_step(network):
    inputs, n = samples(network, 2), network.full_count
    trace = FastEngine().simulate(network, inputs, record=True)
    forced = {node: trace.counts[node][:, None] for node in network.of(IfNeuron, MaxGate)}
    for node, current in open_loop(network, inputs, forced):
        op, shape = network.op(node), network.type(node).shape
        v = current[:, 0] + total_bias(op.bias, shape, n)
        if isinstance(op, Readout):
            assert (trace.outputs["y"] == cut(op, v)[:, None]).all()
            continue
        v = cut(op, v + over_time(op.v_init, shape, 1)[0])
        theta = over_time(op.threshold, shape, 1)[0]
        assert (trace.counts[node] == np.clip(v // theta, -n if op.negative else 0, n)).all()
        for k, value in enumerate(network.spike_values):
            s = (v >= value * theta).astype(int) - (op.negative & (v < theta - value * theta))
            v = v - value * theta * s
            assert (trace.spikes[node][:, k] == s).all()
            assert (trace.membranes[node][:, k] == v).all()


@MANY
@given(spiking_networks())
def test_counts_are_the_values_of_the_spikes_and_emitted_their_number(network):
    trace = ReferenceEngine().simulate(network, samples(network, 2), record=True)
    for node, spikes in trace.spikes.items():
        values = np.array(network.spike_values).reshape(1, -1, *(1,) * (spikes.ndim - 2))
        assert (trace.counts[node] == (spikes * values).sum(axis=1)).all()
        assert (trace.emitted()[node] == np.abs(spikes).sum(axis=1)).all()


@MANY
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(0.1, 1000),
    st.integers(1, 64),
    st.floats(0, 0.99),
)
def test_proposition_2_counts_of_a_constant_current(shares, theta, steps, eta):
    """V(0) = ηθ and constant Z in [0, θ]: the count errs by less than one, from −(1−η) to η."""
    z = np.array(shares) * theta
    network, neuron, inputs = population(z, steps, threshold=Constant(theta), v_init=Constant(eta * theta))
    count = ReferenceEngine().simulate(network, inputs).counts[neuron][0]
    error = count - steps * z / theta
    slack = 1e-9 * (steps + 1)
    assert (error >= -(1 - eta) - slack).all()
    assert (error <= eta + slack).all()


@pytest.mark.parametrize(("schedule", "steps"), [("rate", 1000), ("layerwise", 1000), ("phase", 10)])
def test_rates_approach_the_transfer_function(schedule, steps):
    z = np.array([-1.0, 0.0, 3.0, 7.5, 10.0, 99.0])
    network, neuron, inputs = population(
        z,
        steps,
        schedule,
        threshold=Constant(10.0),
        amplitude=Constant(10.0),
    )
    engine = ReferenceEngine()
    trace = engine.simulate(network, inputs)
    (value,) = evaluate(network, inputs).values()
    full = network.full_count
    assert trace.counts[neuron][0].tolist() == np.clip(full * z // 10, 0, full).tolist()
    assert np.allclose(decode(network, trace)["y"][:, -1], value, atol=10 / full)
    assert evaluate(network, inputs, [neuron])[neuron].tolist() == [[0, 0, 3, 7.5, 10, 10]]


def test_a_bias_before_form_projections_counts_once_per_step():
    for schedule in SCHEDULES:
        network = Network("n", steps=8, schedule=schedule)
        x = network.add(Input(name="x", shape=(1,), coding="current"))
        h = network.add(Dense(weight=Constant([[1.0]]), bias=Constant([0.25])), x)
        h = network.add(IfNeuron(threshold=Constant(1.0)), h)
        y = network.add(Dense(weight=Constant([[2.0]]), bias=Constant([0.5])), h)
        network.add(Output(name="y"), network.add(Readout(), y))
        trace = ReferenceEngine().simulate(network, {"x": np.array([[0.25]])})
        full = network.full_count
        assert trace.counts[h].tolist() == [[full // 2]]
        assert decode(network, trace)["y"][0, -1].tolist() == [2.0 * (full // 2) / full + 0.5]


def test_max_gate_passes_the_busiest_input_with_its_amplitude():
    network = Network("gate", steps=10, schedule="rate")
    x = network.add(Input(name="x", shape=(1, 1, 4), coding="current"))
    amplitude = Constant([3.0])
    h = network.add(Scale(weight=Constant(1.0)), x)
    h = network.add(IfNeuron(threshold=Constant(3.0), amplitude=amplitude), h)
    gate = network.add(MaxGate(kernel=(1, 2), strides=(1, 2), amplitude=amplitude), h)
    y = network.add(Readout(), network.add(Scale(weight=Constant(1.0)), gate))
    network.add(Output(name="y"), y)
    trace = ReferenceEngine().simulate(network, {"x": np.array([[[[0.9, 1.5, 3.0, 0.0]]]])}, record=True)
    assert trace.counts[gate].tolist() == [[[[5, 10]]]]
    assert trace.outputs["y"][0, -1].tolist() == [[[15.0, 30.0]]]
    assert set(np.unique(trace.spikes[gate])) == {0, 1}


def test_a_leading_gate_passes_the_spikes_of_the_first_input_that_has_the_most():
    turns = np.array([[0, 1, 0, 1], [1, 0, 1, 0]], np.int8)
    late, early = (x.T[None, :, None, None, :] for x in (turns, turns[::-1]))
    for gate_of, expected in (("count-max", [2, 2]), ("leading", [4, 2])):
        op = MaxGate(kernel=(1, 2), gate=gate_of)
        assert [int(gate(op, x).sum()) for x in (late, early)] == expected


def test_a_delay_holds_spikes_back():
    network = Network("delay", steps=5, schedule="rate")
    x = network.add(Input(name="x", shape=(1,), coding="current"))
    h = network.add(IfNeuron(threshold=Constant(1.0)), network.add(Scale(weight=Constant(1.0)), x))
    late = network.add(Scale(weight=Constant(1.0)), network.add(Delay(steps=2), h))
    network.add(Output(name="y"), network.add(Readout(), late))
    trace = ReferenceEngine().simulate(network, {"x": np.ones((1, 1))})
    assert trace.outputs["y"][0, :, 0].tolist() == [0, 0, 1, 2, 3]


def test_open_loop_forces_every_population():
    network, neuron, inputs = population([0.5], 4, threshold=Constant(1.0))
    forced = {neuron: np.array([[[1], [0], [0], [1]]], np.int8)}
    (_, first), (_, second) = open_loop(network, inputs, forced)
    assert first[0, :, 0].tolist() == [0.5, 0.5, 0.5, 0.5]
    assert second[0, :, 0].tolist() == [1, 0, 0, 1]


def test_layerwise_refuses_the_other_resets():
    network, _, inputs = population([1.0], 4, "layerwise", threshold=Constant(1.0), reset="zero")
    with pytest.raises(CompileError, match="soft reset"):
        ReferenceEngine().simulate(network, inputs)


def test_inputs_that_do_not_fit_are_refused():
    network, _, _ = population([1.0, 2.0], 4, threshold=Constant(1.0))
    with pytest.raises(UsageError, match="no array is given for the input 'x'"):
        ReferenceEngine().simulate(network, {})
    with pytest.raises(UsageError, match=r"takes \[N, 2\], not \[1, 3\]"):
        FastEngine().simulate(network, {"x": np.zeros((1, 3))})


def test_no_samples_give_empty_results():
    network, neuron, _ = population([1.0, 2.0], 4, threshold=Constant(1.0))
    trace = FastEngine().simulate(network, {"x": np.zeros((0, 2))})
    assert trace.counts[neuron].shape == (0, 2)


@MANY
@given(ann_networks(), st.integers(0, 5))
def test_onnxruntime_agrees_with_evaluate(network, seed):
    verify(network)
    inputs = samples(network, 3, seed)
    taps = [n for n in network.nodes if not isinstance(network.op(n), Output)]
    expected = evaluate(network, inputs, taps)
    for node, value in AnnRunner(network, taps).run(inputs).items():
        error = np.abs(value - expected[node]).max()
        assert error <= 1e-5 * max(1.0, np.abs(expected[node]).max()), network.op(node).mnemonic


def test_to_onnx_refuses_spiking_ops():
    network, neuron, _ = population([1.0], 4, threshold=Constant(1.0))
    with pytest.raises(CompileError, match="if_neuron does not exist at the ann level"):
        to_onnx(network, [neuron])


def model(batch: int | str, reshape: tuple[int, ...]) -> onnx.ModelProto:
    """y = flatten(2·x) of [batch, 2, 3], with the target shape of the Reshape as a constant."""
    constants = [
        numpy_helper.from_array(np.array(reshape, np.int64), "shape"),
        numpy_helper.from_array(np.array(2, np.float32), "two"),
    ]
    nodes = [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("Reshape", ["z", "shape"], ["y"])]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 2, 3])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, 6])
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("batch", ["n", 1, 2])
@pytest.mark.parametrize("fixed_reshape", [False, True])
def test_a_model_runs_whatever_its_batch_extent(batch, fixed_reshape):
    shape = (batch, 6) if fixed_reshape and isinstance(batch, int) else (-1, 6)
    x = np.arange(30, dtype=np.float64).reshape(5, 2, 3)
    (y,) = run_model(model(batch, shape), {"x": x})
    assert y.dtype == np.float32
    assert (y == 2 * x.reshape(5, 6)).all()


def test_a_model_that_mixes_samples_is_run_in_its_own_blocks():
    (y,) = run_model(model(1, (1, -1)), {"x": np.ones((3, 2, 3))})
    assert y.tolist() == [[2.0] * 6] * 3
