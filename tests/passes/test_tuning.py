"""Passes that adjust an integer network on calibration data, and what they are shown of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import Builder
from pass_tools import ANN_PASSES, context, differences, run, run_if_spiking
from random_networks import ann_networks, samples

import snnc
from snnc import tune
from snnc.backends.fast import run as run_by_layers
from snnc.backends.fast.engine import FastEngine, spike_counter
from snnc.backends.reference.fire import fire
from snnc.diagnostics import CompileError
from snnc.fixedpoint import align
from snnc.ir.constants import Constant
from snnc.ir.context import Drive
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Output, Readout, Weighted
from snnc.ir.parser import parse
from snnc.ir.projections import incoming
from snnc.passes import CalibrateBias, CalibrateOffsets, CalibrateWeights, CorrectOverTime
from snnc.passes.calibrate_offsets import counts_worth
from snnc.passes.least_squares import ridge_solutions
from snnc.passes.tuning import mean_error
from snnc.pipeline import CompileContext
from snnc.prove import outputs

SOME = settings(max_examples=10, deadline=None)
SCHEDULES = st.sampled_from(("T=12", "T=12,schedule=layerwise", "T=4,schedule=phase"))


def quantized(ann: Network, spikify: str) -> tuple[Network, CompileContext]:
    """The integer form of a random ANN, and the context that it was made in."""
    given_context = context(samples(ann, 4))
    then = "form-projections,normalize-currents,inject-tre,quantize"
    return run_if_spiking(ann, f"{ANN_PASSES},spikify{{{spikify}}},{then}", given_context), given_context


@SOME
@given(ann_networks(), SCHEDULES)
def test_a_drive_shows_what_the_population_says_and_what_the_ann_says(ann, spikify):
    network, known = quantized(ann, spikify)
    trace = FastEngine().simulate(network, known.calibration)
    seen = []

    def check(node, drive):
        op = network.op(node)
        if isinstance(op, IfNeuron):
            said = trace.counts[node] * align(op.unit.array, trace.counts[node][0]) / network.full_count
            ceiling = align(op.unit.array, drive.expected[0])
            assert (drive.expected <= ceiling).all()
            assert (drive.expected >= (-ceiling if op.signed else 0)).all()
        else:
            name = next(network.op(u).name for u in network.users(node) if isinstance(network.op(u), Output))
            said = trace.outputs[name][:, -1] * (op.unit / network.full_count)
        assert np.array_equal(drive.respond(op), said.reshape(drive.expected.shape))
        seen.append(node)
        return {}

    assert known.tune(network, check, 4) == network
    assert seen == list(network.of(IfNeuron, Readout))


@SOME
@given(ann_networks(), SCHEDULES, st.integers(1, 4))
def test_a_drive_tells_the_mean_of_samples_that_only_the_ann_ran(ann, spikify, simulated):
    network, known = quantized(ann, spikify)
    whole, few = {}, {}

    def into(found):
        def see(node, drive):
            found[node] = drive.expected, drive.usual
            return {}

        return see

    known.tune(network, into(whole), 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "_most_samples", lambda network, patience: simulated)
        known.tune(network, into(few), 4)
    means = [expected.mean(axis=2) for expected, _ in whole.values()]
    chosen = tune.typical(means, simulated)
    for node, (expected, usual) in whole.items():
        assert np.array_equal(few[node][0], expected[chosen])
        assert np.array_equal(few[node][1], usual)
        assert usual == pytest.approx(expected.mean(axis=(0, 2)), rel=1e-12, abs=1e-12)


def test_typical_samples_are_together_like_all_whatever_their_order():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(4), 16)
    layers = [rng.normal(size=(4, c))[classes] + rng.normal(0, 0.1, (64, c)) for c in (8, 16)]
    chosen = tune.typical(layers, 8)
    assert sorted(classes[chosen].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    order = rng.permutation(64)
    assert sorted(order[tune.typical([x[order] for x in layers], 8)]) == chosen.tolist()


@pytest.mark.parametrize("count", [3, 4, 9])
def test_all_samples_are_typical_where_there_are_no_more(count):
    assert tune.typical([np.arange(6.0).reshape(3, 2)], count).tolist() == [0, 1, 2]


def test_channels_that_never_change_tell_nothing_of_samples():
    assert tune.typical([np.array([[1.0, 0.0], [1.0, 4.0], [1.0, 2.0]])], 1).tolist() == [2]


def test_a_mean_error_is_that_of_all_samples_where_it_follows_the_activation():
    rng = np.random.default_rng(0)
    every, offset = rng.random((40, 3, 5)), np.array([0.3, -1.0, 0.0])[:, None]
    error = offset + 0.25 * every + rng.normal(size=every.shape) * 1e-9
    drive = Drive(None, every[:4], every.mean(axis=(0, 2)), None, None)
    assert mean_error(error[:4], drive) == pytest.approx(error.mean(axis=(0, 2)), abs=1e-6)
    assert mean_error(error[:4], drive) != pytest.approx(error[:4].mean(axis=(0, 2)), abs=1e-4)


def test_a_mean_error_of_one_sample_is_its_own():
    error, activation = np.arange(6.0).reshape(1, 2, 3), np.ones((1, 2, 3))
    drive = Drive(None, activation, np.array([5.0, 5.0]), None, None)
    assert mean_error(error, drive).tolist() == [1.0, 4.0]


@SOME
@given(ann_networks(), SCHEDULES, st.integers(1, 3))
def test_some_positions_show_what_the_whole_population_receives(ann, spikify, apart):
    network, known = quantized(ann, spikify)
    looked_at = []

    def check(node, arriving):
        op, shape = network.op(node), network.type(node).shape
        whole = arriving.currents(np.arange(math.prod(shape[1:])))
        few = np.arange(0, whole.shape[3], apart)
        assert np.array_equal(arriving.currents(few), whole[..., few])
        if isinstance(op, IfNeuron) and network.schedule == "rate":
            z = whole.reshape(*whole.shape[:2], *(shape if len(shape) == 3 else (*shape, 1, 1)))
            largest = int(np.abs(z).max())
            assert np.array_equal(
                spike_counter(network, op, z.shape[2:], largest)(z),
                fire(op, z.astype(np.int64))[0].sum(axis=1),
            )
        looked_at.append(node)
        return {}

    engine = FastEngine(threads=2)
    after, trace = engine.adjusted(network, known.calibration, check)
    assert after == network
    assert differences(trace, engine.simulate(network, known.calibration)) == []
    assert looked_at == list(network.of(IfNeuron, Readout))


@SOME
@given(ann_networks(), SCHEDULES, st.booleans(), st.booleans())
def test_what_ran_after_a_look_is_the_network_that_came_of_it(ann, spikify, keeps, refits):
    network, known = quantized(ann, spikify)

    def look(node, arriving):
        arriving.currents(np.arange(1))
        ops = {weighted: network.op(weighted) for weighted in incoming(network, node) if refits}
        return {weighted: op.replace(weight=Constant(-op.weight.array)) for weighted, op in ops.items()}

    with pytest.MonkeyPatch.context() as patch:
        if not keeps:
            patch.setattr(run_by_layers, "KEPT_BYTES", 0)
        after, trace = FastEngine(threads=2).adjusted(network, known.calibration, look)
    assert (after == network) is not refits
    assert differences(trace, FastEngine().simulate(after, known.calibration)) == []


@SOME
@given(ann_networks(), SCHEDULES, st.sampled_from(("bias", "potential")))
def test_calibration_never_increases_a_channels_mean_error(ann, spikify, where):
    before, known = quantized(ann, spikify)
    after = CalibrateBias(as_=where).apply(before, known)

    def error(drive, op):
        return np.abs((drive.expected - drive.respond(op)).mean(axis=(0, 2)))

    def check(node, drive):
        assert (error(drive, after.op(node)) <= error(drive, before.op(node)) * (1 + 1e-9)).all()
        return {node: after.op(node)}

    known.tune(after, check, 4)


@SOME
@given(ann_networks(), SCHEDULES)
def test_saved_shifts_give_the_same_network_without_data(ann, spikify):
    before, known = quantized(ann, spikify)
    after = CalibrateBias().apply(before, known)
    again = context(saved=known.statistics)
    assert CalibrateBias().apply(before, again) == after
    assert not again.diagnostics.items
    other = context(saved=known.statistics)
    assert CalibrateBias(samples=3).apply(before, other) == before
    assert [d.code for d in other.diagnostics.items] == ["SNNC0127"]


@SOME
@given(ann_networks())
def test_offsets_never_leave_a_channel_further_from_what_its_charge_is_worth(ann):
    before, known = quantized(ann, "T=12")
    after = CalibrateOffsets().apply(before, known)

    def check(node, drive):
        old, new = before.op(node), after.op(node)
        if isinstance(old, Readout):
            assert new == old
            return {}
        unit = align(old.unit.array, drive.expected[0]) / 12
        worth = counts_worth(old, drive, 12)
        left, given = (np.abs((worth - drive.respond(op) / unit).mean(axis=(0, 2))) for op in (new, old))
        assert (left <= given + 1e-9).all()
        return {node: new}

    known.tune(after, check, 4)
    again = context(saved=known.statistics)
    assert CalibrateOffsets().apply(before, again) == after


def test_calibration_is_refused_without_the_ann_and_without_samples():
    builder = Builder()
    network = builder.read(builder.input(2))
    with pytest.raises(CompileError, match="SNNC0155"):
        CalibrateBias().apply(network, context({"x": np.zeros((1, 2))}))
    with pytest.raises(CompileError, match="SNNC0154"):
        CalibrateBias(samples=0).check_options()
    with pytest.raises(CompileError, match="SNNC0154"):
        CorrectOverTime(alpha=0.0).check_options()
    with pytest.raises(CompileError, match="SNNC0154"):
        CalibrateOffsets(samples=0).check_options()


@pytest.mark.parametrize("step", [CalibrateOffsets(), CorrectOverTime()])
def test_what_corrects_the_order_of_spikes_is_refused_where_there_is_none(step):
    builder = Builder()
    network = builder.read(builder.input(2))
    network.schedule = "layerwise"
    with pytest.raises(CompileError, match="SNNC0155"):
        step.apply(network, context({"x": np.zeros((1, 2))}))


@SOME
@given(ann_networks(), st.sampled_from(("step", "total")))
def test_corrected_over_time_the_mean_answer_is_right_at_every_step(ann, error):
    before, known = quantized(ann, "T=12")
    after = CorrectOverTime(error=error).apply(before, known)
    trace = FastEngine().simulate(after, known.calibration)
    (node,) = after.of(Readout)
    (name,) = trace.outputs
    wanted = outputs(ann, known.calibration)[name].mean(axis=0) / after.op(node).unit
    # the sum of rounded biases is off by half a unit, each saved correction by 2^-12 of itself
    slack = 1 + 2**-10 * np.abs(after.op(node).bias.array).sum(axis=0).max()
    steps = np.arange(1, 13)[:, None]
    assert (np.abs(trace.outputs[name].mean(axis=0) - steps * wanted) <= slack + 1e-5 * np.abs(wanted)).all()
    again = context(saved=known.statistics)
    assert CorrectOverTime(error=error).apply(before, again) == after


def test_what_one_step_misses_the_next_ones_make_up():
    """One neuron of rate 0.3 on one sample: its running total is right as soon as whole spikes can be."""
    ann = parse(
        """snnc-ir 1
        network @"t" {
          %0 : f32[1] = input() {name = "x", shape = [1]}
          %1 : f32[1] = dense(%0) {weight = f64[1, 1](0.3)} source("a")
          %2 : f32[1] = relu(%1) source("b")
          %3 : f32[1] = dense(%2) {weight = f64[1, 1](1.0)} source("c")
          output(%3) {name = "y"}
        }"""
    )
    data = {"x": np.array([[1.0], [3.0]])}
    text = "spikify{T=20,lambda=max},form-projections,normalize-currents,quantize,correct-over-time"
    network = run(ann, text, data).network
    counts = FastEngine().simulate(network, data).counts[next(network.of(IfNeuron))]
    assert counts.sum() == pytest.approx(20 * (1 + 1 / 3), abs=1)


@SOME
@given(ann_networks(), SCHEDULES)
def test_what_weights_multiply_adds_up_to_the_current(ann, spikify):
    network, known = quantized(ann, spikify)

    def check(node, drive):
        total = 0
        for weighted, windows in drive.totals().items():
            before = network.op(weighted)
            weight = before.weight.array.astype(np.int64)
            groups, size = windows.shape[2:]
            matrix = weight.reshape(groups, -1, size) if weight.ndim else np.full((groups, 1, 1), weight)
            z = np.einsum("npgk,gmk->npgm", windows, matrix) << before.shift
            total = total + z.reshape(*z.shape[:2], -1).swapaxes(1, 2)
        bias = drive.current.sum(axis=1) - total
        # what is left is the bias: the same for every sample
        assert np.array_equal(bias, np.broadcast_to(bias[:1], bias.shape))
        return {}

    known.tune(network, check, 4, 3)


@SOME
@given(ann_networks(), SCHEDULES)
def test_refitted_weights_stay_within_the_largest_and_their_network_valid(ann, spikify):
    before, known = quantized(ann, spikify)
    after = CalibrateWeights(samples=4).apply(before, known)
    for node in before.of(Weighted):
        old, new = before.op(node).weight, after.op(node).weight
        assert np.abs(new.array.astype(int)).max() <= np.abs(old.array.astype(int)).max()
        assert new.array.dtype == old.array.dtype
    assert CalibrateWeights(samples=4).apply(before, known) == after


@pytest.mark.parametrize(("schedule", "steps"), [("layerwise", 3), ("rate", 8)])
def test_answers_on_other_samples_come_closer_to_the_anns(digits, schedule, steps):
    with np.load(digits.data) as arrays:
        calibration, x = arrays["calib"], arrays["x"]

    def sqnr(calibrate):
        passes = f"spikify{{schedule={schedule},per=channel}},form-projections,normalize-currents,inject-tre"
        pipeline = f"{ANN_PASSES},{passes},quantize,{calibrate},legalize"
        made = snnc.compile(digits.model, calibration=calibration, pipeline=pipeline, T=steps)
        return made.evaluate(x)["outputs"]["logits"]["sqnr_db"][-1]

    assert sqnr("calibrate-weights") > sqnr("calibrate-bias") + 0.3


@SOME
@given(ann_networks())
def test_without_data_it_is_left_out_with_a_note(ann):
    before, _ = quantized(ann, "T=12")
    bare = context()
    assert CalibrateWeights().apply(before, bare) == before
    assert [d.code for d in bare.diagnostics.items] == ["SNNC0127"]


def test_too_few_samples_are_refused():
    with pytest.raises(CompileError, match="SNNC0154"):
        CalibrateWeights(samples=3).check_options()


@pytest.mark.parametrize("positions", [1, 8])
def test_the_ridge_is_the_same_from_windows_and_from_weights(positions):
    """With 8 samples of one position there are fewer windows than weights."""
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 9, (8, positions, 2, 12))
    missing = rng.normal(size=(8, positions, 6))
    (found,) = ridge_solutions(windows, missing, (0.1,))
    for group in range(2):
        x = windows[:, :, group].reshape(-1, 12).astype(np.float64)
        y = missing[:, :, 3 * group : 3 * group + 3].reshape(-1, 3)
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        ridge = 0.1 * np.trace(x.T @ x) / 12
        wanted = np.linalg.solve(x.T @ x + ridge * np.eye(12), x.T @ y).T
        assert found[group] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
