"""λ from calibration, from statistics of an earlier run, and without data."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_tools import ANN_PASSES, context, run, run_if_spiking
from random_networks import ann_networks, samples

from snnc.diagnostics import CompileError, Diagnostics
from snnc.driver import Request, optimise
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import AveragePool, Clip, Dense, IfNeuron, Input, Output, Relu, Reshape
from snnc.ir.statistics import round_up
from snnc.passes.spikify import CHANNEL_FLOOR, TRIED
from snnc.pipeline import CompileContext, Pipeline

SOME = settings(max_examples=15, deadline=None)


def identity_layer(size: int, activation=None) -> Network:
    """relu(x), then a sum: the activations are the calibration data themselves."""
    network = Network("identity")
    x = network.add(Input(name="x", shape=(size,)))
    z = network.add(Dense(weight=Constant(np.eye(size)), source="z"), x)
    a = network.add((activation or Relu()).replace(source="a"), z)
    network.add(Output(name="y"), network.add(Dense(weight=Constant(np.ones((1, size))), source="y"), a))
    return network


def scale_of(network: Network, options: str, data: np.ndarray) -> np.ndarray:
    """λ of the one population."""
    result = run(network, f"spikify{{T=16,{options}}}", {"x": data}).network
    (node,) = result.of(IfNeuron)
    op = result.op(node)
    assert op.threshold == op.amplitude == op.unit
    return op.unit.array


DATA = np.random.default_rng(0).gamma(2.0, 1.0, (200, 3)) * [1.0, 0.5, 0.01]


def test_maximum():
    assert scale_of(identity_layer(3), "lambda=max", DATA) == round_up(np.float32(DATA.max()))


def test_percentile():
    found = scale_of(identity_layer(3), "percentile=90", DATA)
    assert found == pytest.approx(np.percentile(DATA, 90), abs=0.03)
    assert scale_of(identity_layer(3), "percentile=100", DATA) == scale_of(
        identity_layer(3), "lambda=max", DATA
    )


def test_mse_is_below_the_maximum_and_no_worse():
    def error(scale: float) -> float:
        code = np.clip(np.floor(DATA / scale * 16 + 0.5), 0, 16)
        return float(((DATA - scale / 16 * code) ** 2).sum())

    found = float(scale_of(identity_layer(3), "lambda=mse", DATA))
    assert found < DATA.max()
    grid = np.linspace(0.05, 1, 400) * DATA.max()
    assert error(found) <= 1.02 * min(map(error, grid))


def test_nmse_weighs_samples_alike_however_loud():
    data = DATA * np.where(np.arange(len(DATA)) % 10, 1.0, 8.0)[:, None]
    power = 2.0 ** np.rint(np.log2((data**2).mean(axis=1, keepdims=True)))

    def error(scale: float) -> float:
        code = np.clip(np.floor(data / scale * 16 + 0.5), 0, 16)
        return float(((data - scale / 16 * code) ** 2 / power).sum())

    found = float(scale_of(identity_layer(3), "lambda=nmse", data))
    assert error(found) <= 1.02 * min(map(error, np.linspace(0.02, 1, 400) * data.max()))
    assert found < 0.5 * float(scale_of(identity_layer(3), "lambda=mse", data))


@pytest.mark.parametrize(
    ("schedule", "seed", "best"),
    [("layerwise", 2, "mse"), ("layerwise", 6, "percentile"), ("rate", 0, "percentile"), ("rate", 6, "mse")],
)
def test_the_outputs_choose_among_criteria(schedule, seed, best):
    """The network's output is the sum of its activations. Under rate half a decibel decides nothing."""
    rng = np.random.default_rng(seed)
    data = rng.gamma(2.0, 1.0, (12, 3)) * 2.0 ** rng.integers(-2, 3, (12, 1))

    def error(scale: float) -> float:
        code = np.clip(np.floor(data / scale * 16 + 0.5), 0, 16)
        return float(((data - scale / 16 * code).sum(axis=1) ** 2).sum())

    found = {name: float(scale_of(identity_layer(3), f"lambda={name}", data)) for name in TRIED}
    errors = {name: error(scale) for name, scale in found.items()}
    if schedule == "rate":
        errors["mse"] *= 10**-0.05
    assert min(errors, key=errors.get) == best
    assert float(scale_of(identity_layer(3), f"schedule={schedule},lambda=outputs", data)) == found[best]


@pytest.mark.parametrize("eta", [0.0, 0.25])
def test_mse_reckons_with_the_eta_of_the_neurons(eta):
    """Levels that are truncated (η = 0, Castagnetti 2023, Eq. 7) want a lower threshold."""

    def error(scale: float) -> float:
        code = np.clip(np.floor(DATA / scale * 16 + eta), 0, 16)
        return float(((DATA - scale / 16 * code) ** 2).sum())

    found = float(scale_of(identity_layer(3), f"lambda=mse,eta={eta}", DATA))
    rounding = float(scale_of(identity_layer(3), "lambda=mse", DATA))
    assert error(found) <= 1.02 * min(map(error, np.linspace(0.05, 1, 400) * DATA.max()))
    assert found < rounding
    assert error(found) < error(rounding)


@pytest.mark.parametrize("weight", [0.25, 4.0])
def test_mse_weighs_rounding_by_what_is_summed(weight):
    """Three activations are summed: fan_in = 3·w weighs the squares of what is rounded by w."""

    def error(scale: float) -> float:
        code = np.clip(np.floor(DATA / scale * 16 + 0.5), 0, 16)
        squares = (DATA - scale / 16 * code) ** 2
        return float(squares[scale < DATA].sum() + weight * squares[scale >= DATA].sum())

    found = float(scale_of(identity_layer(3), f"lambda=mse,fan_in={3 * weight}", DATA))
    alike = float(scale_of(identity_layer(3), "lambda=mse", DATA))
    assert error(found) <= 1.02 * min(map(error, np.linspace(0.05, 1, 400) * DATA.max()))
    assert (found > alike) == (weight < 1)
    assert scale_of(identity_layer(3), "lambda=mse,fan_in=3", DATA) == alike


@pytest.mark.parametrize(
    ("per", "iterations"), [("layer", 1), ("layer", 50), ("channel", 50), ("layer", 4000)]
)
def test_local_threshold_balancing_steps_as_published(per, iterations):
    """Bu 2024, Eq. 14-15, with the mean as in the authors' code."""
    limit = np.zeros(3 if per == "channel" else ())
    for _ in range(iterations):
        limit = limit + 2 * np.maximum(DATA - limit, 0).mean(axis=0 if per == "channel" else None)
    found = scale_of(identity_layer(3), f"lambda=local,iterations={iterations},per={per}", DATA)
    floor = CHANNEL_FLOOR * limit.max()
    assert found == pytest.approx(np.maximum(limit, floor), rel=5e-3)


def test_local_threshold_balancing_rises_to_the_maximum():
    found = [
        float(scale_of(identity_layer(3), f"lambda=local,iterations={n}", DATA)) for n in (1, 100, 10**5)
    ]
    top = float(scale_of(identity_layer(3), "lambda=max", DATA))
    assert found == sorted(found)
    assert 0.99 * top < found[-1] <= top


def test_local_threshold_balancing_never_exceeds_the_largest_value():
    """The first step from 0 is twice the mean: too far where all values are alike."""
    assert scale_of(identity_layer(2), "lambda=local,iterations=1", np.full((5, 2), 3.0)) == 3.0


def test_a_quiet_channel_gets_a_share_of_its_layers_scale():
    found = scale_of(identity_layer(3), "lambda=max,per=channel", DATA)
    top = DATA.max(axis=0)
    assert found[:2] == pytest.approx(top[:2], rel=2**-11)
    assert found[2] == found.max() * CHANNEL_FLOOR > top[2]


def test_a_clip_bounds_the_scale():
    data = np.array([[1.0, 5.0]])
    # not rounded up, as 0.7 of the data would be
    assert scale_of(identity_layer(2, Clip(maximum=0.7)), "lambda=max", data) == 0.7
    assert scale_of(identity_layer(2, Clip(maximum=8.0)), "lambda=max", data) == 5.0


def test_a_dead_layer_has_scale_one_and_a_note():
    network = identity_layer(2)
    compile_context = context({"x": np.full((2, 2), -1.0)})
    result = Pipeline("spikify{T=4}").run(network, compile_context).network
    assert [result.op(n).threshold.array for n in result.of(IfNeuron)] == [1.0]
    assert [d.code for d in compile_context.diagnostics.items] == ["SNNC0121"]


@pytest.mark.parametrize("text", ["T=0", "percentile=0", "percentile=101", "iterations=0", "eta=1.0"])
def test_options_out_of_range(text):
    with pytest.raises(CompileError, match="SNNC0154"):
        run(identity_layer(2), f"spikify{{{text}}}")


def test_what_other_passes_replace_is_to_be_replaced_first():
    network = Network("pooled")
    x = network.add(Input(name="x", shape=(1, 2, 2)))
    pooled = AveragePool(kernel=(2, 2), strides=(2, 2), divisors=Constant(np.array([[4]])), origin=("pool",))
    flat = network.add(Reshape(shape=(1,)), network.add(pooled, x))
    network.add(Output(name="y"), network.add(Dense(weight=Constant(np.eye(1))), flat))
    with pytest.raises(CompileError, match="average_pool is to be replaced") as caught:
        Pipeline("spikify{T=4}").run(network, context({"x": np.ones((1, 1, 2, 2))}))
    assert caught.value.diagnostics[0].where == ("pool",)


@SOME
@given(
    ann_networks(),
    st.sampled_from(("max", "mse", "percentile", "local")),
    st.booleans(),
    st.sampled_from(("layer", "channel")),
)
def test_saved_statistics_give_the_identical_network(ann, scale, data, per):
    text = (
        f"{ANN_PASSES},spikify{{T=4,lambda={scale},per={per}}},form-projections,normalize-currents,quantize"
    )
    first = context(samples(ann, 3) if data else None)
    network = run_if_spiking(ann, text, first)
    saved = json.loads(json.dumps(first.statistics))
    second = CompileContext(context().diagnostics, None, saved)
    again = Pipeline(text).run(ann, second).network
    assert again == network
    assert second.statistics == first.statistics
    assert not [d for d in second.diagnostics.items if d.code == "SNNC0122"]


def test_saved_statistics_also_serve_a_rate_coded_input():
    network, passes = identity_layer(2), Pipeline("spikify{T=4,input=rate}")
    first = context({"x": np.array([[0.5, 3.0]])})
    expected = passes.run(network, first).network
    assert passes.run(network, context(saved=first.statistics)).network == expected


def test_statistics_of_other_options_or_layers_are_refused():
    network = identity_layer(2)
    first = context({"x": np.ones((1, 2))})
    Pipeline("spikify{T=4,percentile=99}").run(network, first)
    with pytest.raises(CompileError, match="were made with") as caught:
        Pipeline("spikify{T=4,percentile=98}").run(network, context(saved=first.statistics))
    assert [d.code for d in caught.value.diagnostics] == ["SNNC0124"]
    other = network.copy()
    (relu,) = other.of(Relu)
    other.set(relu, other.op(relu).replace(source="b"))
    with pytest.raises(CompileError, match="lack 'b'"):
        Pipeline("spikify{T=4,percentile=99}").run(other, context(saved=first.statistics))


def test_statistics_do_not_depend_on_t_unless_the_error_is_minimised():
    network = identity_layer(2)
    for options, code in (("lambda=max", None), ("lambda=mse", "SNNC0124")):
        first = context({"x": np.ones((1, 2))})
        Pipeline(f"spikify{{T=4,{options}}}").run(network, first)
        longer = Pipeline(f"spikify{{T=8,{options}}}")
        if code is None:
            assert longer.run(network, context(saved=first.statistics)).network.steps == 8
        else:
            with pytest.raises(CompileError, match=code):
                longer.run(network, context(saved=first.statistics))


@SOME
@given(ann_networks())
def test_without_data_every_threshold_is_positive_and_announced(ann):
    compile_context = context()
    network = run_if_spiking(ann, f"{ANN_PASSES},spikify{{T=4}}", compile_context)
    assert all(network.op(n).threshold.array.min() > 1e-6 for n in network.of(IfNeuron))
    assert "SNNC0122" in [d.code for d in compile_context.diagnostics.items]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("count-max", ""),
        ("leading", "passing the leading input of max pools changes the outputs on the probe by "),
        ("average", "lower-pooling{max=average} changes the outputs on the probe by "),
    ],
)
def test_max_pools_that_are_approximated_state_their_loss(gate, said):
    proto = model(
        "a = Conv(x, w) r = Relu(a) p = MaxPool<kernel_shape=[2,2]>(r) f = Flatten(p) y = MatMul(f, d)",
        weights="float[4,3,3,3] w;float[48,5] d",
    )
    diagnostics = Diagnostics()
    passes = f"simplify,fold-batchnorm,lower-pooling{{max={gate}}},fuse-linear,spikify{{T=16}}"
    optimise(proto, Request(pipeline=passes), diagnostics=diagnostics)
    found = [d.message for d in diagnostics.items if d.code == "SNNC0128"]
    assert len(found) == bool(said)
    if found:
        assert found[0].startswith(said)
        assert 1 < float(found[0].removeprefix(said).removesuffix("% (rms)")) < 100


def test_values_far_below_lambda_keep_their_digits_in_the_proof():
    """One channel of a signed population is 25 orders of magnitude above the other."""
    proto = model("a = Conv(x, w) d = Conv(a, v) y = Relu(d)", weights="float[2,3,3,3] w;float[2,2,3,3] v")
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        values[(0,) if tensor.name == "w" else (slice(None), 0)] *= 1e25 if tensor.name == "w" else 1e-25
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    network = optimise(proto, Request(pipeline="simplify,spikify{T=4}"))
    assert [network.op(n).signed for n in network.of(IfNeuron)] == [True]
