"""The fast simulator on networks of real numbers: the reference's spikes, but for what rounding decides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import real_networks, samples

import snnc
import snnc.backends.fast.currents as fast_currents
from snnc.backends.base import Trace
from snnc.backends.fast.engine import FastEngine
from snnc.backends.fast.part import timed_nodes
from snnc.backends.fast.real import MEMBRANE_BITS, in_integers
from snnc.backends.reference.engine import ReferenceEngine, open_loop
from snnc.backends.reference.fire import decide, lower_threshold, over_time, total_bias
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, Output, Readout, Scale, Weighted
from snnc.ir.verify import verify

Inputs = Mapping[str, np.ndarray]

MANY = settings(max_examples=25, deadline=None)


def same(left: Trace, right: Trace) -> bool:
    """Whether two traces hold equal numbers."""
    pairs = [(getattr(left, f), getattr(right, f)) for f in ("outputs", "counts", "spikes", "membranes")]
    return all(a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) for a, b in pairs)


def with_weights(network: Network, change) -> Network:
    """The network with the weights that ``change`` makes of each weighted op."""
    result = network.copy()
    for node in network.of(Weighted):
        result.set(
            node, network.op(node).replace(weight=Constant(change(node, network.op(node).weight.array)))
        )
    return result


def weights_added(
    network: Network, inputs: Inputs, spikes: Mapping[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """How many weights were added to each neuron up to and including each step, [N, T, …] by population."""
    timed = timed_nodes(network)
    counting = with_weights(network, lambda node, w: np.full(w.shape, float(node in timed)))
    emitted = {node: np.abs(s) for node, s in spikes.items()}
    return {node: np.cumsum(z, axis=1) for node, z in open_loop(counting, inputs, emitted)}


def assert_spikes_are_those_of_real_numbers(network: Network, inputs: Inputs, trace: Trace) -> None:
    """Fed the spikes of ``trace``, every neuron decides as there, unless u is too close to θ to tell."""
    added, places = weights_added(network, inputs, trace.spikes), in_integers(network)[1]
    for node, current in open_loop(network, inputs, trace.spikes):
        op, shape = network.op(node), network.type(node).shape
        if isinstance(op, Readout):
            bias = over_time(op.bias, shape, network.steps)
            membrane = np.cumsum(current + bias, axis=1)
            half = np.ldexp(0.5, -places[node]).reshape(-1, *(1,) * (len(shape) - 1))
            error = np.abs(next(iter(trace.outputs.values())) - membrane)
            assert (error <= half * (added[node] + 1)).all()
            continue
        theta, bias = (over_time(p, shape, network.steps) for p in (op.threshold, op.bias))
        half = np.ldexp(0.5, -places[node]).reshape(-1, *(1,) * (len(shape) - 1))
        v = np.broadcast_to(over_time(op.v_init, shape, 1)[0], current[:, 0].shape)
        sent = np.zeros(v.shape, np.int64)
        for t in range(network.steps):
            th = theta[t % len(theta)]
            u = v + current[:, t] + bias[t % len(bias)]
            slack = half * (added[node][:, t] + (3 * t + 5) / 2**MEMBRANE_BITS)
            s = trace.spikes[node][:, t]
            differs = decide(op, u, th, sent) != s
            distance = np.abs(u - th)
            if op.signed:
                distance = np.minimum(distance, np.abs(u - lower_threshold(op, th)))
            assert (distance[differs] <= slack[differs]).all()
            sent += s
            v = u - th * s if op.reset == "subtract" else np.where(s != 0, 0, u)
            assert (np.abs(trace.membranes[node][:, t] - v) <= slack).all()


@MANY
@given(real_networks())
def test_random_networks_of_real_numbers_are_legal(network):
    verify(network)
    assert network.level == "snn"


@MANY
@given(real_networks(exact=True, schedule="rate"))
def test_what_integers_hold_is_exact(network):
    inputs = {name: np.rint(x * 8) / 8 for name, x in samples(network, 3).items()}
    expected = ReferenceEngine().simulate(network, inputs, record=True)
    assert same(FastEngine().simulate(network, inputs, record=True), expected)


@MANY
@given(real_networks(schedule="rate"), st.booleans())
def test_a_spike_differs_only_where_rounding_decides(network, wide):
    inputs = {name: x * (1e12 if wide else 1.0) for name, x in samples(network, 2).items()}
    trace = FastEngine().simulate(network, inputs, record=True)
    if wide:
        # currents that decide alone are cut: spikes are those of the reference, membranes are not
        expected = ReferenceEngine().simulate(network, inputs, record=True)
        first = next(network.of(IfNeuron))
        assert (trace.spikes[first] == expected.spikes[first]).all()
    else:
        assert_spikes_are_those_of_real_numbers(network, inputs, trace)


@MANY
@given(st.sampled_from(["layerwise", "phase"]).flatmap(lambda s: real_networks(schedule=s)))
def test_a_code_differs_only_where_float32_decides(network):
    inputs, full = samples(network, 3), network.full_count
    trace = FastEngine().simulate(network, inputs)
    forced = {node: counts[:, None] for node, counts in trace.counts.items()}
    positive = with_weights(network, lambda _, w: np.abs(w))
    reaches = open_loop(
        positive, {k: np.abs(x) for k, x in inputs.items()}, {n: np.abs(c) for n, c in forced.items()}
    )
    for (node, current), (_, reach) in zip(open_loop(network, inputs, forced), reaches, strict=True):
        op, shape = network.op(node), network.type(node).shape
        rounding = 2.0**-18 * (1 + reach[:, 0] + np.abs(total_bias(op.bias, shape, full)))
        v = current[:, 0] + total_bias(op.bias, shape, full)
        if isinstance(op, Readout):
            assert (np.abs(trace.outputs["y"][:, 0] - v) <= rounding).all()
            continue
        level = (v + over_time(op.v_init, shape, 1)[0]) / over_time(op.threshold, shape, 1)[0]
        code = np.clip(np.floor(level), -full if op.negative else 0, full)
        differs = trace.counts[node] != code
        assert (np.abs(level - np.rint(level))[differs] <= rounding[differs]).all()
        assert (np.abs(trace.counts[node] - code) <= 1).all()


@MANY
@given(real_networks())
def test_results_depend_neither_on_batches_nor_on_threads_nor_on_blocks(network):
    inputs = samples(network, 5)
    rate = network.schedule == "rate"
    expected = FastEngine().simulate(network, inputs, record=rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_currents, "BLOCK_BYTES", 700)
        patch.setattr(fast_currents, "SHARED_BLOCK_BYTES", 700)
        for engine in (FastEngine(threads=2), FastEngine(max_memory=1)):
            assert same(engine.simulate(network, inputs, record=rate), expected)


def test_amplitudes_other_than_1_are_simulated_as_by_the_reference():
    network = Network("amplitude", steps=8, schedule="rate")
    x = network.add(Input(name="x", shape=(2,), coding="current"))
    current = network.add(Scale(weight=Constant(0.3)), x)
    h = network.add(IfNeuron(threshold=Constant(0.7), amplitude=Constant(0.7)), current)
    y = network.add(Scale(weight=Constant(1.1)), h)
    network.add(Output(name="y"), network.add(Readout(), y))
    inputs = {"x": np.array([[1.0, 2.1]])}
    trace = FastEngine().simulate(network, inputs, record=True)
    assert same(trace, ReferenceEngine().simulate(network, inputs, record=True))
    assert trace.counts[h].tolist() == [[3, 7]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet", "kws", "resnet20"])
def test_real_models_spike_as_in_real_numbers(load_case, name):
    case = load_case(name, test=2, calib=32)
    compiled = snnc.compile(case.model, calibration=case.calib, T=32, stop_after="inject-tre")
    network = compiled.network
    inputs = {network.op(n).name: case.x for n in network.nodes if not network.operands(n)}
    assert_spikes_are_those_of_real_numbers(
        network, inputs, FastEngine().simulate(network, inputs, record=True)
    )
