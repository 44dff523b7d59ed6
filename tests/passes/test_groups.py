"""Group neurons: the same function in more neurons, and the counts of more steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_tools import ANN_PASSES, context, relative_difference, run, run_if_spiking
from random_networks import ann_networks, samples

import snnc
from snnc.backends.fast.engine import FastEngine
from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.context import Drive
from snnc.ir.groups import group_means, group_size
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    Clip,
    Concat,
    Conv2d,
    Dense,
    IfNeuron,
    Input,
    MaxPool,
    Op,
    Output,
    Pad,
    Relu,
    Reshape,
    Scale,
    Slice,
    SumPool,
)
from snnc.passes import PRESETS
from snnc.passes.calibrate_bias import CalibrateBias
from snnc.passes.group_neurons import GroupNeurons

RNG = np.random.default_rng(0)


def weights(*shape: int) -> Constant:
    """Multiples of 1/8, exact in every sum."""
    return Constant(RNG.integers(-8, 9, shape) / 8)


def chain(*ops: Op, shape: tuple[int, ...] = (2, 6, 6)) -> Network:
    """An input, the ops one after the other, and an output."""
    network = Network("chain")
    x = network.add(Input(name="x", shape=shape))
    for op in ops:
        x = network.add(op, x)
    network.add(Output(name="y"), x)
    return network


def residual() -> Network:
    """Two blocks: an identity and a skip that takes every second pixel and pads channels; a classifier."""
    network = Network("residual")
    x = network.add(Input(name="x", shape=(2, 6, 6)))
    stem = network.add(Clip(maximum=1.0), network.add(Conv2d(weight=weights(2, 2, 3, 3), pads=(1,) * 4), x))
    inner = network.add(Conv2d(weight=weights(2, 2, 3, 3), bias=weights(2), pads=(1,) * 4), stem)
    joined = network.add(Clip(maximum=1.0), network.add(Add(), inner, stem))
    every_second = Slice(starts=(0, 0, 0), stops=(2, 6, 6), steps=(1, 2, 2))
    skip = network.add(Pad(before=(1, 0, 0), after=(1, 0, 0)), network.add(every_second, joined))
    down = network.add(Conv2d(weight=weights(4, 1, 3, 3), pads=(1,) * 4, strides=(2, 2), groups=2), joined)
    last = network.add(Clip(maximum=1.0), network.add(Add(), down, skip))
    pooled = network.add(Reshape(shape=(4,)), network.add(MaxPool(kernel=(3, 3)), last))
    network.add(Output(name="y"), network.add(Dense(weight=weights(3, 4)), pooled))
    for node in network.of(Clip):
        network.set(node, network.op(node).replace(source=f"tensor{node}"))
    return network


def sizes(network: Network) -> list[int]:
    """The group sizes of ReLUs and clips."""
    return [group_size(network.op(n)) for n in network.of(Relu, Clip)]


@settings(max_examples=40, deadline=None)
@given(ann_networks(), st.integers(2, 3), st.integers(0, 2))
def test_groups_compute_the_same_function(ann, members, layers):
    before = run(ann, ANN_PASSES).network
    after = GroupNeurons(members, layers).apply(before, context())
    assert relative_difference(before, after, samples(ann, 3)) < 1e-12


@pytest.mark.parametrize("members", [2, 3])
def test_every_activation_of_a_residual_network_is_a_group(members):
    network = residual()
    diagnostics = context()
    after = GroupNeurons(members).apply(network, diagnostics)
    assert sizes(after) == [members] * 3
    assert not diagnostics.diagnostics.items
    assert relative_difference(network, after, samples(network, 3)) < 1e-12
    again = GroupNeurons(2, layers=1).apply(after, context())
    assert sizes(again) == [2 * members, members, members]
    assert relative_difference(network, again, samples(network, 3)) < 1e-12


@pytest.mark.parametrize("eta", [0.0, 0.25, 0.5])
def test_by_hermites_identity_groups_say_in_t_steps_what_one_neuron_says_in_r_t(eta):
    """λ = 1 and weights in eighths: nothing is rounded but by the neurons."""
    network = residual()
    x = {"x": RNG.integers(-16, 17, (5, 2, 6, 6)) / 16}
    answers = []
    for groups, steps in (("", 8), ("group-neurons{members=2},", 4), ("group-neurons{members=4},", 2)):
        pipeline = (
            f"{ANN_PASSES},{groups}spikify{{T={steps},schedule=layerwise,lambda=max}},"
            f"form-projections,inject-tre{{eta={eta},as=potential}}"
        )
        made = run(network, pipeline, {"x": x["x"] * 100}).network
        answers.append(ReferenceEngine().simulate(made, x).outputs["y"][:, -1] / steps)
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


def joined(then: Op) -> Network:
    """Two activations that are concatenated, the first of them also taken alone."""
    network = Network("joined")
    x = network.add(Input(name="x", shape=(2, 4, 4)))
    first = network.add(Relu(origin=("first",)), network.add(Conv2d(weight=weights(2, 2, 1, 1)), x))
    second = network.add(Relu(origin=("second",)), network.add(Conv2d(weight=weights(2, 2, 1, 1)), first))
    pooled = network.add(MaxPool(kernel=(2, 2)), network.add(Concat(axis=0), first, second))
    third = network.add(Relu(origin=("third",)), network.add(then, pooled))
    all_three = network.add(Concat(axis=0), pooled, third)
    flat = network.add(Reshape(shape=(network.type(all_three).size,)), all_three)
    network.add(Output(name="y"), network.add(Dense(weight=weights(2, network.type(flat).size)), flat))
    return network


def test_groups_are_told_apart_behind_concatenations():
    network = joined(Conv2d(weight=weights(3, 4, 3, 3), pads=(1,) * 4))
    after = GroupNeurons(3).apply(network, context())
    assert sizes(after) == [3, 3, 3]
    assert relative_difference(network, after, samples(network, 3)) < 1e-12


def test_an_activation_that_meets_itself_in_a_concatenation_keeps_one_neuron():
    network = Network("twice")
    x = network.add(Input(name="x", shape=(2, 4, 4)))
    first = network.add(Relu(), network.add(Conv2d(weight=weights(2, 2, 1, 1)), x))
    ways = [network.add(SumPool(kernel=(k, k), pads=(0, 0, k - 1, k - 1)), first) for k in (1, 2)]
    conv = network.add(Conv2d(weight=weights(3, 4, 1, 1)), network.add(Concat(axis=0), *ways))
    network.add(Output(name="y"), conv)
    assert sizes(GroupNeurons(2).apply(network, context())) == [1]


def test_long_ways_and_deep_networks_take_no_stack_and_linear_time():
    """Each a chain that recursion would not survive."""
    for count, members in ((1000, 2), (1100, 1)):
        pools = [SumPool(kernel=(1, 1)) for _ in range(count)]
        network = chain(
            Conv2d(weight=weights(2, 2, 1, 1)), Relu(), *pools, Conv2d(weight=weights(1, 2, 1, 1))
        )
        assert sizes(GroupNeurons(2).apply(network, context())) == [members]
    layers = [op for _ in range(1500) for op in (Conv2d(weight=weights(1, 1, 1, 1)), Relu())]
    network = chain(*layers, Conv2d(weight=weights(1, 1, 1, 1)), shape=(1, 1, 1))
    assert set(sizes(GroupNeurons(2).apply(network, context()))) == {2}


def test_what_cannot_take_groups_keeps_its_activation_and_a_note_says_so():
    network = joined(Conv2d(weight=weights(4, 2, 1, 1), groups=2))
    given = context()
    after = GroupNeurons(3).apply(network, given)
    assert sizes(after) == [1, 1, 3]
    (note,) = given.diagnostics.items
    assert (note.code, note.where) == ("SNNC0117", ("first", "second"))
    assert relative_difference(network, after, samples(network, 3)) < 1e-12


def test_activations_of_scaled_spikes_and_scales_of_groups():
    """A batch norm between two activations, as in networks that are dense or preactivated."""
    network = chain(
        Conv2d(weight=weights(3, 2, 3, 3)),
        Relu(),
        Scale(weight=Constant([1.0, -2.0, 0.5]), bias=Constant([0.5, 1.0, 0.0])),
        Relu(),
        Reshape(shape=(48,)),
        Dense(weight=weights(2, 48)),
    )
    after = GroupNeurons(2).apply(network, context())
    assert sizes(after) == [2, 2]
    assert relative_difference(network, after, samples(network, 3)) < 1e-12


def test_a_bias_is_calibrated_for_a_group_as_a_whole():
    """Members fire in turn: what one says too little, on average, another says too much."""
    op = IfNeuron(
        threshold=Constant(8), v_init=Constant([2, 6]), unit=Constant(1.0), amplitude=Constant(1.0), members=2
    )
    said = np.array([[[0.25], [0.75]], [[0.5], [0.5]]])
    assert np.array_equal(group_means(op, said), np.full((2, 2, 1), 0.5))
    assert group_means(op.replace(members=1), said) is said
    given: dict[int, Op] = {}

    class Tuning:
        has_data = True
        saved = staticmethod(lambda key: None)
        save = staticmethod(lambda key, value: None)

        def tune(self, network, adjust, samples, positions=None):
            expected = np.full((2, 2, 1), 0.5)
            drive = Drive(lambda: None, expected, expected[0, :, 0], lambda _: said, lambda: {})
            given.update(adjust(neuron, drive))
            return network

    network = Network("int", steps=4, schedule="rate")
    x = network.add(Input(name="x", shape=(2,), coding="current", bits=8))
    neuron = network.add(op, network.add(Scale(weight=Constant(1)), x))
    CalibrateBias().apply(network, Tuning())
    assert given[neuron].bias.array.tolist() == [0, 0]


@pytest.mark.parametrize("preset", ["default", "low-latency", "layerwise", "phase"])
def test_groups_compile_and_both_simulators_agree(digits, preset):
    with np.load(digits.data) as arrays:
        calibration, x = arrays["calib"][:64], {"image": arrays["x"][:8]}
    pipeline = PRESETS[preset].replace("spikify", "group-neurons{members=2},spikify")
    made = snnc.compile(digits.model, calibration=calibration, pipeline=pipeline, T=4)
    single = snnc.compile(digits.model, calibration=calibration, preset=preset, T=4)
    fast, reference = (engine.simulate(made.network, x) for engine in (FastEngine(), ReferenceEngine()))
    assert np.array_equal(fast.outputs["logits"], reference.outputs["logits"])
    neurons = [sum(m.network.type(n).size for n in m.network.of(IfNeuron)) for m in (made, single)]
    assert neurons[0] == 2 * neurons[1]


@settings(max_examples=15, deadline=None)
@given(ann_networks(), st.sampled_from(("layerwise-groups", "low-latency-groups")))
def test_random_networks_of_groups_are_proved_and_simulated_alike(ann, preset):
    x = samples(ann, 4)
    pipeline = PRESETS[preset].replace("spikify{", "spikify{T=4,").replace("quantize{", "quantize{bits=8,")
    network = run_if_spiking(ann, pipeline, context(x))
    fast, reference = (engine.simulate(network, x) for engine in (FastEngine(), ReferenceEngine()))
    assert all(np.array_equal(fast.outputs[name], y) for name, y in reference.outputs.items())


@pytest.mark.parametrize("options", ["members=1", "members=17", "layers=-1"])
def test_options_out_of_range(options):
    with pytest.raises(CompileError, match="SNNC0154"):
        run(residual(), f"group-neurons{{{options}}}")


def test_groups_that_need_too_many_weights_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr("snnc.passes.group_neurons.MOST_WEIGHTS", 200)
    network = chain(Dense(weight=weights(8, 4)), Relu(), Dense(weight=weights(8, 8)), shape=(4,))
    assert sizes(GroupNeurons(2).apply(network, context())) == [2]
    with pytest.raises(CompileError, match="SNNC0104"):
        GroupNeurons(3).apply(network, context())
