"""Integers: the rounding errors of weights, thresholds, biases and inputs (docs/semantics.md §7)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_tools import ANN_PASSES, context, relative_difference, run_if_spiking
from random_networks import ann_networks, samples

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.fixedpoint import EPSILON_SPIKES, align, symmetric_limit
from snnc.ir import schedule as timing
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Add, Concat, Conv2d, Dense, IfNeuron, Input, Output, Readout, Scale
from snnc.ir.projections import incoming, paths
from snnc.passes import Quantize

SOME = settings(max_examples=30, deadline=None)
FEW = settings(max_examples=4, deadline=None)  # 16 bits have many scales to try
SCHEDULES = st.sampled_from(timing.SCHEDULES)
BITS = st.integers(2, 16)
STEPS = 12


def normalized(ann: Network, schedule: str, tre: str = "bias") -> Network:
    """The float network that quantize takes."""
    text = (
        f"{ANN_PASSES},spikify{{T={STEPS},schedule={schedule},lambda=max}},form-projections,"
        f"normalize-currents,inject-tre{{as={tre}}}"
    )
    return run_if_spiking(ann, text, context(samples(ann, 3)))


def projections(real: Network, whole: Network):
    """Population, projection and scale of every projection, as (node, node, s·2^h, real weight)."""
    for population in real.of(IfNeuron, Readout):
        op = whole.op(population)
        scale = np.asarray(op.scale.array if isinstance(op, IfNeuron) else op.scale)
        for node in incoming(real, population):
            exponent = whole.op(node).shift - op.fraction_bits
            weight = real.op(node).weight.array
            for path in paths(real, node):
                source = whole.op(path.source)
                if isinstance(source, Input):
                    weight = weight * source.scale
            yield population, node, scale * 2.0**exponent, weight


@SOME
@given(ann_networks(), SCHEDULES, BITS, st.sampled_from(("layer", "channel")))
def test_weights_are_codes_within_half_a_step(ann, schedule, bits, per):
    real = normalized(ann, schedule)
    whole = Quantize(bits=bits, per=per).apply(real, context(samples(ann, 3)))
    for _, node, step, weight in projections(real, whole):
        code = whole.op(node).weight.array
        assert code.dtype == (np.int8 if bits <= 8 else np.int16)
        assert np.abs(code).max(initial=0) <= symmetric_limit(bits)
        error = np.abs(weight - code * align(step, code))
        assert (error <= 0.5 * align(step, code) * (1 + 1e-9)).all()


@SOME
@given(ann_networks(), BITS, st.sampled_from(("layer", "channel")))
def test_balanced_rounding_keeps_the_sum_of_each_channels_weights(ann, bits, per):
    real = normalized(ann, "rate")
    whole = Quantize(bits=bits, per=per, rounding="balanced").apply(real, context(samples(ann, 3)))
    for _, node, step, weight in projections(real, whole):
        code = whole.op(node).weight.array
        error = code - weight / align(step, code)
        assert np.abs(error).max() <= 1 + 1e-6
        if code.ndim > 1:
            assert np.abs(error.reshape(len(code), -1).sum(axis=1)).max() <= 0.5 + 1e-6


@SOME
@given(ann_networks(), BITS)
def test_no_projection_wastes_a_bit(ann, bits):
    real = normalized(ann, "rate")
    whole = Quantize(bits=bits).apply(real, context(samples(ann, 3)))
    for _, node, _, weight in projections(real, whole):
        if np.abs(weight).max() > 0:
            # s stays within a factor of two, and so does 2^h
            assert np.abs(whole.op(node).weight.array).max() >= symmetric_limit(bits) // 4


@SOME
@given(ann_networks(), SCHEDULES, BITS, st.sampled_from(("bias", "potential")))
def test_fractions_hold_the_run_within_an_eighth_of_a_spike(ann, schedule, bits, tre):
    real = normalized(ann, schedule, tre)
    whole = Quantize(bits=bits).apply(real, context(samples(ann, 3)))
    for node in real.of(IfNeuron):
        before, after = real.op(node), whole.op(node)
        unit = after.scale.array * 2.0**-after.fraction_bits
        lowest = min(whole.op(n).shift for n in incoming(whole, node))
        assert lowest >= 0
        assert real.full_count * unit <= EPSILON_SPIKES * before.threshold.array.min() * (1 + 1e-9)
        minimal = after.fraction_bits == 0 or lowest == 0
        assert minimal or 2 * real.full_count * unit > EPSILON_SPIKES * before.threshold.array.min()
        assert np.abs(after.threshold.array * unit - before.threshold.array).max() <= unit / 2
        assert np.abs(after.v_init.array * unit - before.v_init.array).max() <= unit / 2


@SOME
@given(ann_networks(), SCHEDULES)
def test_biases_are_rounded_once_per_step_or_once_in_all(ann, schedule):
    real = normalized(ann, schedule)
    whole = Quantize().apply(real, context(samples(ann, 3)))
    for node in real.of(IfNeuron, Readout):
        before, after = real.op(node).bias.array, whole.op(node).bias.array
        op = whole.op(node)
        scale = op.scale.array if isinstance(op, IfNeuron) else op.scale
        wanted = before / scale * 2.0**op.fraction_bits
        if schedule == "rate":
            assert np.array_equal(after, fixedpoint.round_half_even(wanted))
        else:
            total = after.sum(axis=0).reshape(before.shape)
            assert len(after) == STEPS
            assert np.abs(total - real.full_count * wanted).max(initial=0) <= 0.5 + 1e-6


@FEW
@given(ann_networks(), SCHEDULES)
def test_with_16_bits_the_transfer_function_hardly_changes(ann, schedule):
    real = normalized(ann, schedule, "potential")
    whole = Quantize(bits=16, input_bits=16).apply(real, context(samples(ann, 3)))
    assert whole.level == "int"
    assert relative_difference(real, whole, samples(ann, 3)) < 0.06


@SOME
@given(st.floats(0.01, 10), st.integers(0, 99), BITS, st.sampled_from(("layer", "channel")))
def test_an_identity_skip_is_exact(skip, seed, bits, per):
    weight = np.random.default_rng(seed).normal(size=(3, 3, 1, 1))
    network = Network("skip", steps=8, schedule="rate")
    x = network.add(Input(name="x", shape=(3, 2, 2), coding="current"))
    first = network.add(IfNeuron(threshold=Constant(1.0)), network.add(Scale(weight=Constant(1.0)), x))
    identity = network.add(Scale(weight=Constant(skip)), first)
    joined = network.add(Add(), network.add(Conv2d(weight=Constant(weight)), first), identity)
    second = network.add(IfNeuron(threshold=Constant(1.0)), joined)
    read = network.add(Readout(), network.add(Scale(weight=Constant(1.0)), second))
    network.add(Output(name="y"), read)
    whole = Quantize(bits=bits, per=per).apply(network, context(samples(network, 1)))
    op = whole.op(second)
    step = op.scale.array * 2.0 ** (whole.op(identity).shift - op.fraction_bits)
    code = whole.op(identity).weight.array
    largest = np.abs(weight).max(axis=(1, 2, 3)) if per == "channel" else np.abs(weight).max()
    top = np.maximum(largest, skip)
    # one exponent for all channels: where weights are much larger than elsewhere, the skip has no code
    reachable = np.broadcast_to(top, np.shape(code)) * 2 <= np.min(top) * max(symmetric_limit(bits), 2)
    exact = np.isclose(code * step, skip, rtol=1e-12)
    assert exact[reachable].all()
    assert (op.scale.array <= 2.0001 * np.maximum(largest, skip) / symmetric_limit(bits)).all()


def one_layer(**options) -> Network:
    network = Network("one", steps=4, schedule="rate")
    x = network.add(Input(**({"name": "x", "shape": (2,), "coding": "current"} | options)))
    current = network.add(Dense(weight=Constant(np.eye(2))), x)
    network.add(Output(name="y"), network.add(Readout(), current))
    return network


@pytest.mark.parametrize(
    ("options", "data", "scale", "signed"),
    [
        ({}, [[0.0, 2.55]], 0.01, False),
        ({}, [[-1.27, 1.0]], 0.01, True),
        ({}, [[-0.5, 1.27]], 0.01, True),
        ({}, [[0.0, 255.0]], 1.0, False),
        ({}, [[-128.0, 3.0]], 1.0, True),
        ({}, [[0.0, 256.0]], 256 / 255, False),
        ({}, [[0.0, 0.0]], 1.0, False),
        ({"dtype": "uint8"}, None, 1.0, False),
        ({}, None, 4 / 127, True),
    ],
)
def test_the_analog_input(options, data, scale, signed):
    network = one_layer(**options)
    calibration = None if data is None else {"x": np.array(data)}
    whole = Quantize().apply(network, context(calibration))
    (node,) = whole.of(Input)
    op = whole.op(node)
    assert (op.bits, op.signed) == (8, signed)
    assert op.scale == pytest.approx(scale, rel=1e-12)


def test_inputs_of_different_scale_cannot_share_weights():
    network = Network("two", steps=4, schedule="rate")
    a, b = (network.add(Input(name=n, shape=(1,), coding="current")) for n in "ab")
    joined = network.add(Dense(weight=Constant(np.ones((1, 2))), origin=("fc",)), network.add(Concat(), a, b))
    network.add(Output(name="y"), network.add(Readout(), joined))
    same = {"a": np.array([[0.5]]), "b": np.array([[0.5]])}
    assert Quantize().apply(network, context(same)).level == "int"
    with pytest.raises(CompileError, match="inputs of different scale") as caught:
        Quantize().apply(network, context(same | {"b": np.array([[0.7]])}))
    assert caught.value.diagnostics[0].where == ("fc",)


def test_fraction_bits_follow_the_rule():
    network = one_layer()
    whole = Quantize(bits=8).apply(network, context({"x": np.array([[0.0, 255.0]])}))
    (read,) = whole.of(Readout)
    op = whole.op(read)
    # a readout's spike is its largest weight: F = ⌈log2(N/(ε·2^(b−1)))⌉, at least 0
    assert op.fraction_bits == max(0, math.ceil(math.log2(4 / (EPSILON_SPIKES * 128))))
    assert op.unit == pytest.approx(1 / 127 * 2.0**-op.fraction_bits)


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        # a peak far above the rest leaves few codes for the rest: 30 dB in 8 bits, 6 dB more for each
        (np.concatenate([np.full(99, 1.3), [99.0], np.full(100, -1.3)]), 10),
        (np.linspace(-2.5, 2.5, 200), 8),
        (np.full(200, 1e-30), 8),
        (np.concatenate([np.zeros(199), [200.0]]), 8),
    ],
)
def test_an_input_gets_as_many_bits_as_its_rounding_error_needs(values, bits):
    network = Network("width", steps=4, schedule="rate")
    x = network.add(Input(name="x", shape=(2,), coding="current"))
    network.add(Output(name="y"), network.add(Readout(), network.add(Scale(weight=Constant(1.0)), x)))
    data = {"x": values.reshape(-1, 2)}
    for step, expected in ((Quantize(), bits), (Quantize(input_bits=8), 8)):
        known = context(data)
        op = step.apply(network, known).op(x)
        assert op.bits == expected
        again = context(saved=known.statistics)
        assert step.apply(network, again).op(x) == op
        if step.input_bits is None and not (values == np.rint(values)).all():
            error = np.rint(values / op.scale) * op.scale - values
            assert (error**2).mean() < 10**-3.7 * (values**2).mean()
