"""What the passes before quantization preserve, on random networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pass_tools import ANN_PASSES, context, ramp, relative_difference, rewritten, run, run_if_spiking
from random_networks import ann_networks, samples

from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Conv2d,
    Dense,
    IfNeuron,
    Input,
    MaxGate,
    MaxPool,
    Output,
    Pad,
    Readout,
    Relu,
    Reshape,
    Scale,
    Slice,
    SumPool,
    Transpose,
    Weighted,
)
from snnc.ir.projections import incoming, populations
from snnc.ir.schedule import SCHEDULES
from snnc.ir.statistics import round_up
from snnc.passes import FoldBatchnorm, FuseLinear, LowerPooling, NormalizeCurrents, Simplify
from snnc.passes.base import Promise
from snnc.prove import Prover, outputs

MANY = settings(max_examples=40, deadline=None)
SOME = settings(max_examples=20, deadline=None)


def spiking(ann: Network, spikify: str = "T=8", then: str = "form-projections") -> Network:
    """The spiking form of a random ANN; networks without one are discarded."""
    text = f"{ANN_PASSES},spikify{{{spikify}}},{then}"
    return run_if_spiking(ann, text, context(samples(ann, 4)))


@MANY
@given(ann_networks(), st.sampled_from((Simplify(), FoldBatchnorm(), LowerPooling(), FuseLinear())))
def test_each_ann_pass_keeps_the_function(network, step):
    after = step.apply(network, context())
    assert Prover(samples(network, 3)).prove(Promise.SAME_FUNCTION, network, after).held


@MANY
@given(ann_networks())
def test_all_ann_passes_keep_the_function_and_leave_nothing_to_do(network):
    after = run(network, ANN_PASSES).network
    assert relative_difference(network, after, samples(network, 3)) < 1e-9
    assert not list(after.of(BatchNorm, AveragePool))
    again = run(after, ANN_PASSES).network
    assert relative_difference(network, again, samples(network, 3)) < 1e-9
    assert len(again.nodes) == len(after.nodes)


@SOME
@given(ann_networks())
def test_passes_leave_the_network_they_are_given(network):
    before = network.fingerprint()
    for step in (Simplify(), FoldBatchnorm(), LowerPooling(), FuseLinear()):
        step.apply(network, context())
    assert network.fingerprint() == before


def test_folding_uses_the_models_epsilon():
    text = """network @"t" {
      %0 : f32[1] = input() {name = "x", shape = [1]}
      %1 : f32[1] = dense(%0) {weight = f64[1, 1](1.0)}
      %2 : f32[1] = batch_norm(%1) {gamma = f64[1](1.0), beta = f64[1](0.0), mean = f64[1](0.0),
        variance = f64[1](VARIANCE), epsilon = 0.001}
      output(%2) {name = "y"}
    }"""
    for variance in (1.0, 1e-4, 0.0):
        network = rewritten(text.replace("VARIANCE", repr(variance)), "fold-batchnorm")
        weight = next(network.op(n).weight.array for n in network.of(Dense))
        assert weight[0, 0] == pytest.approx((variance + 0.001) ** -0.5, rel=1e-12)


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 2, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize(("groups", "strides", "dilations"), [(1, (1, 1), (1, 1)), (2, (2, 1), (1, 2))])
def test_an_affine_before_a_padded_convolution_fuses_exactly(pads, groups, strides, dilations):
    rng = np.random.default_rng(0)
    network = Network("affine")
    x = network.add(Input(name="x", shape=(2, 6, 7)))
    affine = network.add(Scale(weight=Constant(rng.normal(size=2)), bias=Constant(rng.normal(size=2))), x)
    weight = Constant(rng.normal(size=(4, 2 // groups, 3, 2)))
    options = {"pads": pads, "groups": groups, "strides": strides, "dilations": dilations}
    conv = network.add(Conv2d(weight=weight, bias=Constant(rng.normal(size=4)), **options), affine)
    network.add(Output(name="y"), conv)
    fused = FuseLinear().apply(network, context())
    assert [fused.op(n).mnemonic for n in fused.nodes] == ["input", "conv2d", "output"]
    bias = next(fused.op(n).bias for n in fused.of(Conv2d))
    assert len(bias.shape) == (3 if any(pads) else 1)
    assert relative_difference(network, fused, samples(network, 3)) < 1e-12


@MANY
@given(st.data())
def test_a_sum_pool_after_a_convolution_is_one_convolution(data):
    draw = data.draw
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    network = Network("pooled")
    x = network.add(Input(name="x", shape=(2, draw(st.integers(7, 9)), 9)))
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    weight = Constant(rng.normal(size=(2, 2, *draw(pair))))
    conv = network.add(Conv2d(weight=weight, bias=Constant([1.0, 2.0]), strides=draw(pair), pads=pads), x)
    kernel = tuple(min(k, n) for k, n in zip(draw(pair), network.type(conv).shape[1:], strict=True))
    around = draw(st.sampled_from(((0, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 1))))
    pool = network.add(SumPool(kernel=kernel, strides=draw(pair), pads=around), conv)
    network.add(Output(name="y"), pool)
    fused = FuseLinear().apply(network, context())
    assert bool(list(fused.of(SumPool))) == any(around)
    assert relative_difference(network, fused, samples(network, 2)) < 1e-12


def test_a_dense_layer_fuses_only_where_that_is_smaller():
    def chain(*sizes: int) -> Network:
        network = Network("dense")
        x = network.add(Input(name="x", shape=(sizes[0],)))
        for k, m in itertools.pairwise(sizes):
            x = network.add(Dense(weight=Constant(np.ones((m, k)))), x)
        network.add(Output(name="y"), x)
        return FuseLinear().apply(network, context())

    assert len(list(chain(9, 8, 7).of(Dense))) == 1
    assert len(list(chain(9, 2, 9).of(Dense))) == 2


def test_weights_used_twice_are_not_changed():
    network = Network("shared")
    x = network.add(Input(name="x", shape=(2,)))
    shared = network.add(Dense(weight=Constant(np.eye(2))), x)
    scaled = network.add(Scale(weight=Constant(3.0)), shared)
    network.add(Output(name="y"), network.add(Add(), shared, scaled))
    fused = FuseLinear().apply(network, context())
    assert relative_difference(network, fused, samples(network, 2)) == 0
    assert len(list(fused.of(Weighted))) == 2


NORM = BatchNorm(
    gamma=Constant([2.0]), beta=Constant([1.0]), mean=Constant([0.5]), variance=Constant([4.0]), epsilon=0.1
)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Conv2d(weight=Constant([[[[3.0]]]])), NORM),
        (Conv2d(weight=Constant([[[[3.0]]]])), Scale(weight=Constant(2.0), bias=Constant([1.0]))),
        (MaxPool(kernel=(1, 1)), Relu()),
        (Transpose(perm=(0, 2, 1)), Relu()),
        (Scale(weight=Constant(2.0)), Conv2d(weight=Constant([[[[3.0]]]]))),
        (Conv2d(weight=Constant([[[[3.0]]]])), SumPool(kernel=(2, 2))),
        (Pad(before=(0, 1, 1), after=(0, 1, 1)), Conv2d(weight=Constant(np.ones((1, 1, 3, 3))))),
    ],
)
def test_what_two_ops_need_is_kept_for_both(first, second):
    network = Network("shared")
    x = network.add(Input(name="x", shape=(1, 2, 2)))
    shared = network.add(first, x)
    network.add(Output(name="one"), shared)
    network.add(Output(name="two"), network.add(second, shared))
    after = run(network, ANN_PASSES).network
    assert relative_difference(network, after, samples(network, 2)) < 1e-12


def test_transposes_compose_in_order():
    network = Network("turned")
    x = network.add(Relu(), network.add(Input(name="x", shape=(2, 3, 4))))
    turned = network.add(Transpose(perm=(1, 2, 0)), network.add(Transpose(perm=(1, 0, 2)), x))
    network.add(Output(name="y"), turned)
    after = Simplify().apply(network, context())
    assert [after.op(n).perm for n in after.of(Transpose)] == [(0, 2, 1)]
    assert relative_difference(network, after, samples(network, 2)) == 0


def test_pads_of_channels_stay():
    network = Network("option A")
    x = network.add(Input(name="x", shape=(1, 2, 2)))
    wide = network.add(Pad(before=(1, 0, 0), after=(0, 0, 0)), x)
    network.add(Output(name="y"), network.add(Conv2d(weight=Constant(np.ones((1, 2, 1, 1)))), wide))
    assert list(Simplify().apply(network, context()).of(Pad)) == [wide]


def test_activations_pass_maps_and_max_pools_but_not_pads():
    network = Network("order")
    x = network.add(Input(name="x", shape=(1, 2, 2)))
    conv = network.add(Conv2d(weight=Constant(np.ones((1, 1, 1, 1)))), x)
    moved = network.add(Transpose(perm=(0, 2, 1)), network.add(MaxPool(kernel=(1, 2)), conv))
    padded = network.add(Pad(before=(0, 0, 0), after=(0, 1, 0)), network.add(Relu(), moved))
    network.add(Output(name="y"), network.add(Reshape(shape=(4,)), network.add(Relu(), padded)))
    after = run(network, "simplify,lower-pooling").network
    assert [after.op(n).mnemonic for n in after.nodes] == [
        *("input", "conv2d", "relu", "max_pool", "pad", "relu", "transpose", "reshape", "output"),
    ]


@SOME
@given(ann_networks(), st.sampled_from(SCHEDULES), st.sampled_from(("", ",per=channel,lambda=max")))
def test_spikify_leaves_nothing_of_the_ann_level(ann, schedule, options):
    network = spiking(ann, f"T=6,schedule={schedule}{options}", then="form-projections")
    assert network.level == "snn"
    assert not [n for n in network.nodes if "snn" not in network.op(n).levels]
    assert (network.steps, network.schedule) == (6, schedule)


@SOME
@given(ann_networks(), st.sampled_from(("max", "percentile")), st.sampled_from(("layer", "channel")))
def test_with_lambda_max_the_transfer_function_is_the_ann_on_the_calibration_data(ann, scale, per):
    network = spiking(ann, f"T=8,lambda={scale},percentile=100,per={per}")
    assume(not any(network.op(n).signed for n in network.of(IfNeuron)))
    assert relative_difference(ann, network, samples(ann, 4)) < 1e-5


@SOME
@given(ann_networks(), st.sampled_from(("T=512,schedule=layerwise", "T=9,schedule=phase")))
def test_a_long_run_approaches_the_transfer_function(ann, options):
    network = spiking(ann, f"{options},lambda=max")
    inputs = samples(ann, 4)
    trace = ReferenceEngine().simulate(network, inputs)
    expected = outputs(network, inputs)["y"]
    answer = trace.outputs["y"][:, -1] / network.full_count
    assert np.abs(answer - expected).max() < 0.1 * max(1.0, np.abs(expected).max())


@SOME
@given(ann_networks())
def test_projections_have_one_user_and_no_bias(ann):
    network = spiking(ann)
    for population in populations(network):
        if not isinstance(network.op(population), MaxGate):
            for node in incoming(network, population):
                assert network.op(node).bias is None
                assert network.users(node) in ((population,), network.operands(population))


@SOME
@given(ann_networks(), st.floats(1e-3, 1e3), st.sampled_from(("layer", "channel")))
def test_spikes_do_not_depend_on_kappa(ann, kappa, per):
    formed = spiking(ann, f"T=8,lambda=max,per={per}")
    one, other = (NormalizeCurrents(kappa=k).apply(formed, context()) for k in (1.0, kappa))
    proof = Prover(samples(ann, 2, seed=1)).prove(Promise.SAME_SPIKES, one, other)
    assert proof.held, proof
    for network in (one, other):
        for node in network.of(IfNeuron):
            op = network.op(node)
            assert (op.amplitude.array == 1).all()
    for node in other.of(IfNeuron):
        assert other.op(node).threshold.array == pytest.approx(kappa, rel=1e-12)


@SOME
@given(ann_networks())
def test_threshold_balancing_gives_the_spikes_of_weight_normalization(ann):
    """ECC's Remark 1; where a join or a concatenation brings spikes of several amplitudes, it is refused."""
    formed = spiking(ann, "T=8,lambda=max")
    normalized = NormalizeCurrents(kappa=1.0).apply(formed, context())
    try:
        balanced = NormalizeCurrents(theta="balanced").apply(formed, context())
    except CompileError as error:
        assume("one amplitude" not in str(error))
        raise
    proof = Prover(samples(ann, 2, seed=1)).prove(Promise.SAME_SPIKES, normalized, balanced)
    assert proof.held, proof
    for node in balanced.of(IfNeuron):
        before, after = (n.op(incoming(n, node)[0]).weight.array for n in (formed, balanced))
        assert np.allclose(before, after, rtol=1e-12)


@SOME
@given(ann_networks(), st.sampled_from((0.8, 0.9)))
def test_alpha_scales_every_threshold(ann, alpha):
    one, other = (spiking(ann, f"T=8,lambda=max,alpha={a}") for a in (1.0, alpha))
    for node in one.of(IfNeuron):
        for name in ("threshold", "amplitude", "unit"):
            assert np.array_equal(
                getattr(other.op(node), name).array, alpha * getattr(one.op(node), name).array
            )


@SOME
@given(ann_networks())
def test_normalization_keeps_the_transfer_function(ann):
    formed = spiking(ann)
    after = NormalizeCurrents().apply(formed, context())
    assert relative_difference(formed, after, samples(ann, 3)) < 1e-9


@MANY
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(0, 0.999),
    st.sampled_from(("bias", "potential")),
    st.integers(2, 40),
)
def test_residual_elimination_bounds_the_error_as_in_proposition_2(currents, eta, where, steps):
    """For constant Z in [0, θ]: |Σ Z − θ·n| < (½ + |½ − η|)·θ."""
    z = np.array(currents)
    network = Network("tre", steps=steps, schedule="rate")
    x = network.add(Input(name="x", shape=z.shape, coding="current"))
    neuron = network.add(
        IfNeuron(threshold=Constant(1.0)), network.add(Scale(weight=Constant(np.ones(len(z)))), x)
    )
    read = network.add(Readout(), network.add(Scale(weight=Constant(1.0)), neuron))
    network.add(Output(name="y"), read)
    after = run(network, f"inject-tre{{eta={eta!r},as={where}}}", {"x": z[None]}).network
    counts = ReferenceEngine().simulate(after, {"x": z[None]}).counts[neuron][0]
    residue = steps * z - counts
    # a neuron that fires at every step cannot give more
    assert (np.abs(residue) <= (0.5 + abs(0.5 - eta)) + 1e-9).all()


def test_residual_elimination_is_for_if_populations_alone():
    """Not for encoders, signed populations and readouts."""
    ann = rewritten(
        """network @"t" {
          %0 : f32[2] = input() {name = "x", shape = [2]}
          %1 : f32[2] = dense(%0) {weight = f64[2, 2](1.0, 0.5, -1.0, 1.0)} source("a")
          %2 : f32[2] = dense(%1) {weight = f64[2, 2](1.0, 0.0, 0.0, 1.0)} source("b")
          %3 : f32[2] = relu(%2) source("c")
          %4 : f32[1] = dense(%3) {weight = f64[1, 2](1.0, 1.0)} source("d")
          output(%4) {name = "y"}
        }""",
        "simplify",
    )
    data = ramp(ann, 0.0, 1.0)
    before = run(ann, "spikify{T=4,input=rate},form-projections", data).network
    after = run(before, "inject-tre{eta=0.25,as=potential}", data).network
    changed = [n for n in after.nodes if before.op(n) != after.op(n)]
    assert [after.op(n).source for n in changed] == ["c"]


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("inject-tre{eta=1.0}", "0 ≤ eta < 1"),
        ("normalize-currents{kappa=0.0}", "kappa > 0"),
        ("quantize{bits=1}", "2 to 16 bits"),
        ("quantize{bits=17}", "2 to 16 bits"),
    ],
)
def test_options_out_of_range(pipeline, message):
    network = Network("t", steps=4, schedule="rate")
    x = network.add(Input(name="x", shape=(1,), coding="current"))
    network.add(Output(name="y"), network.add(Readout(), network.add(Scale(weight=Constant(1.0)), x)))
    with pytest.raises(CompileError, match="SNNC0154") as caught:
        run(network, pipeline)
    assert message in str(caught.value)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_population_that_repeats_another_stays_exact(schedule):
    """One spike in is one spike out: equal λ are divided to 1 before κ comes in."""
    for scale in round_up(np.random.default_rng(0).uniform(0.1, 10, 50)):
        network = Network("repeated", steps=16, schedule=schedule)
        x = network.add(Input(name="x", shape=(2,), coding="current"))
        options = {name: Constant(scale) for name in ("threshold", "amplitude", "unit")}
        first = network.add(IfNeuron(**options), network.add(Scale(weight=Constant(1.0)), x))
        second = network.add(IfNeuron(**options), network.add(Scale(weight=Constant(1.0)), first))
        read = network.add(Readout(), network.add(Scale(weight=Constant(1.0)), second))
        network.add(Output(name="y"), read)
        record = run(network, "normalize-currents").records[0]
        assert record.proof["excused_share"] == 0


def test_a_shortcut_with_padded_channels_stays_one_number():
    """The parameter-free shortcut of a ResNet on CIFAR: strides, and zeros for the new channels."""
    network = Network("option A", steps=4, schedule="rate")
    x = network.add(Input(name="x", shape=(1, 2, 2), coding="current"))
    options = {"threshold": Constant(3.0), "amplitude": Constant(3.0), "unit": Constant(3.0)}
    first = network.add(IfNeuron(**options), network.add(Scale(weight=Constant(1.0)), x))
    half = network.add(Slice(starts=(0, 0, 0), stops=(1, 2, 2), steps=(1, 2, 2)), first)
    second = network.add(IfNeuron(**options), network.add(Pad(before=(1, 0, 0), after=(1, 0, 0)), half))
    flat = network.add(Reshape(shape=(3,)), second)
    read = network.add(Readout(), network.add(Dense(weight=Constant(np.ones((1, 3)))), flat))
    network.add(Output(name="y"), read)
    after = run(network, "form-projections,normalize-currents{kappa=1.0}").network
    (skip,) = incoming(after, second)
    assert after.op(skip).weight == Constant(1.0)
    assert relative_difference(network, after, samples(network, 2)) < 1e-12


def test_a_population_after_many_maps_gets_its_values_from_where_they_come():
    network = Network("maps", steps=4, schedule="rate")
    x = network.add(Input(name="x", shape=(2, 2, 2), coding="current"))
    turned = network.add(Transpose(perm=(1, 2, 0)), x)
    neuron = network.add(IfNeuron(threshold=Constant(1.0), amplitude=Constant([1.0, 3.0])), turned)
    flat = network.add(Reshape(shape=(8,)), neuron)
    read = network.add(Readout(), network.add(Dense(weight=Constant(np.arange(8.0)[None])), flat))
    network.add(Output(name="y"), read)
    after = run(network, "form-projections,normalize-currents").network
    weight = next(after.op(n).weight.array for n in after.of(Dense))
    assert np.array_equal(weight, [[0, 1, 2, 3, 12, 15, 18, 21]])
