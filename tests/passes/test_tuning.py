"""Passes that adjust an integer network on calibration data, and what they are shown of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import Builder
from pass_tools import ANN_PASSES, context, run, run_if_spiking
from random_networks import ann_networks, samples

from snnc.backends.fast.engine import FastEngine, count_spikes
from snnc.backends.reference.fire import fire
from snnc.diagnostics import CompileError
from snnc.fixedpoint import align
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Output, Readout
from snnc.ir.parser import parse
from snnc.passes import CalibrateBias, CorrectOverTime
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
        return op

    assert known.tune(network, check, 4) == network
    assert seen == list(network.of(IfNeuron, Readout))


@SOME
@given(ann_networks(), SCHEDULES, st.integers(1, 3))
def test_a_glimpse_of_some_neurons_shows_what_the_whole_population_receives(ann, spikify, apart):
    network, known = quantized(ann, spikify)
    looked_at = []

    def check(node, currents):
        op, shape = network.op(node), network.type(node).shape
        whole = currents(np.arange(math.prod(shape[1:])))
        few = np.arange(0, whole.shape[3], apart)
        assert np.array_equal(currents(few), whole[..., few])
        if isinstance(op, IfNeuron) and network.schedule == "rate":
            z = whole.reshape(*whole.shape[:2], *(shape if len(shape) == 3 else (*shape, 1, 1)))
            largest = int(np.abs(z).max())
            assert np.array_equal(
                count_spikes(network, op, z, largest), fire(op, z.astype(np.int64))[0].sum(axis=1)
            )
        looked_at.append(node)
        return op

    assert FastEngine(threads=2).adjusted(network, known.calibration, check) == network
    assert looked_at == list(network.of(IfNeuron, Readout))


@SOME
@given(ann_networks(), SCHEDULES, st.sampled_from(("bias", "potential")))
def test_calibration_never_increases_a_channels_mean_error(ann, spikify, where):
    before, known = quantized(ann, spikify)
    after = CalibrateBias(as_=where).apply(before, known)

    def error(drive, op):
        return np.abs((drive.expected - drive.respond(op)).mean(axis=(0, 2)))

    def check(node, drive):
        assert (error(drive, after.op(node)) <= error(drive, before.op(node)) * (1 + 1e-9)).all()
        return after.op(node)

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


def test_calibration_is_refused_without_the_ann_and_without_samples():
    builder = Builder()
    network = builder.read(builder.input(2))
    with pytest.raises(CompileError, match="SNNC0155"):
        CalibrateBias().apply(network, context({"x": np.zeros((1, 2))}))
    with pytest.raises(CompileError, match="SNNC0154"):
        CalibrateBias(samples=0).check_options()
    with pytest.raises(CompileError, match="SNNC0154"):
        CorrectOverTime(alpha=0.0).check_options()


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
