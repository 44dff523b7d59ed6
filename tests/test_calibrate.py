"""Calibration: streaming statistics, batches, and estimates without data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_tools import context
from random_networks import ann_networks, samples

from snnc import synthetic
from snnc.diagnostics import CompileError
from snnc.estimate import Gaussian, before_activation
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Input,
    MaxPool,
    Output,
    Relu,
    Reshape,
    SumPool,
)
from snnc.ir.statistics import Extremes, Histogram, Moments, round_up

MANY = settings(max_examples=60, deadline=None)
SOME = settings(max_examples=15, deadline=None)


def batches(data, spreads=(0.0, 1e-30, 1e-3, 1.0, 40.0)) -> list[np.ndarray]:
    """Random batches [N, C, 2] of very different magnitude, some all zero."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    spread = [data.draw(st.sampled_from(spreads)) for _ in sizes]
    return [
        (rng.gamma(1.0, s, (n, 3, 2)) if s else np.zeros((n, 3, 2)))
        for n, s in zip(sizes, spread, strict=True)
    ]


def histogram(parts, **options) -> Histogram:
    result = Histogram(**options)
    for part in parts:
        result.update(part.astype(np.float32))
    return result


class TestHistogram:
    @MANY
    @given(st.data(), st.booleans())
    def test_streaming_equals_one_batch(self, data, per_channel):
        parts = batches(data)
        stream = histogram(parts, per_channel=per_channel, bins=256)
        whole = histogram([np.concatenate(parts)], per_channel=per_channel, bins=256)
        assert stream.top == whole.top or (stream.counts[:, 1:] == 0).all()
        assert np.array_equal(stream.maximum, whole.maximum)
        assert np.array_equal(stream.counts, whole.counts)

    @MANY
    @given(st.data())
    def test_samples_that_count_alike_do_so_in_any_batches(self, data):
        parts = batches(data, (0.0, 1e-3, 1.0, 40.0))
        stream = histogram(parts, per_channel=True, alike=True, bins=256)
        whole = histogram([np.concatenate(parts)], per_channel=True, alike=True, bins=256)
        assert np.array_equal(stream.counts, whole.counts)

    @MANY
    @given(st.integers(0, 99), st.integers(-40, 40))
    def test_no_sample_counts_more_for_being_loud(self, seed, loudness):
        sizes = np.random.default_rng(seed).gamma(1.5, 1.0, (2, 3, 50))
        sizes[1] = sizes[0] * 2.0**loudness
        each = [histogram([x[None]], alike=True).counts.sum() for x in sizes]
        assert each[0] == each[1] * 4.0**loudness

    def test_a_quiet_sample_does_not_decide(self):
        loud = np.random.default_rng(0).gamma(1.5, 1.0, (40, 3, 50))
        quiet = loud[:1] * 1e-7
        alone = histogram([loud], alike=True).quantization_optimum(8)
        assert histogram([loud, quiet], alike=True).quantization_optimum(8) == alone

    @MANY
    @given(st.data(), st.floats(1, 100), st.booleans())
    def test_percentiles_are_numpys_within_a_bin(self, data, percent, per_channel):
        parts = [p.astype(np.float32) for p in batches(data)]
        rows = np.moveaxis(np.concatenate(parts), 1, 0).reshape(3 if per_channel else 1, -1)
        found = histogram(parts, per_channel=per_channel, bins=256)
        width = found.top / found.bins
        # the value that at least percent % of the data do not exceed
        expected = np.percentile(rows, percent, axis=1, method="inverted_cdf")
        assert (np.abs(found.percentile(percent) - expected) <= width * (1 + 1e-6)).all()
        assert (found.percentile(percent) <= found.maximum).all()

    @MANY
    @given(st.data())
    def test_the_range_doubles_and_counts_stay(self, data):
        found = Histogram(bins=64)
        for size in data.draw(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)):
            found.update(np.full((1, 1), size, np.float32))
        assert found.counts.sum() > 0
        assert np.log2(found.top) == np.rint(np.log2(found.top))
        assert found.maximum[0] <= found.top
        # the largest value lies in the upper half
        assert found.counts[0, found.bins // 2 - 1 :].sum() >= 1

    def test_magnitudes_count(self):
        found = histogram([np.array([[-4.0], [1.0]])])
        assert found.percentile(100) == [4.0]

    @pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-30, 1e38])
    def test_extreme_magnitudes(self, size):
        found = histogram([np.array([[0.0], [size]])])
        assert found.counts.sum() == 2
        assert found.percentile(99) == found.percentile(100) == [np.float32(size)]

    def test_nothing_but_zeros(self):
        found = histogram([np.zeros((4, 3, 2))], per_channel=True)
        assert np.array_equal(found.percentile(99), np.zeros(3))
        assert np.array_equal(found.quantization_optimum(8), np.zeros(3))

    @MANY
    @given(st.integers(0, 99), st.integers(1, 200))
    def test_the_optimum_is_that_of_a_brute_force_search(self, seed, levels):
        data = np.random.default_rng(seed).gamma(1.5, 1.0, 500)

        def error(scale: float) -> float:
            code = np.clip(np.floor(levels * data / scale + 0.5), 0, levels)
            return float(((data - scale / levels * code) ** 2).sum())

        found = float(histogram([data[:, None]]).quantization_optimum(levels)[0])
        best = min(map(error, np.linspace(0.02, 1, 500) * data.max()))
        # the search takes 96 shares of the maximum, this one 500
        assert error(found) <= 1.25 * best

    def test_memory_does_not_grow(self):
        found = Histogram(per_channel=True)
        for i in range(20):
            found.update(np.full((8, 3, 5), float(i), np.float32))
        assert found.counts.shape == (3, 2048)


@MANY
@given(st.floats(1e-300, 1e300), st.integers(2, 20))
def test_round_up_is_the_next_number_of_so_many_bits(value, digits):
    rounded = float(round_up(np.array(value), digits))
    assert value <= rounded <= value * (1 + 2.0 ** (1 - digits))
    mantissa = np.frexp(rounded)[0] * 2**digits
    assert mantissa == np.rint(mantissa)
    assert round_up(np.array(rounded), digits) == rounded


def test_round_up_of_zero():
    assert round_up(np.zeros(())) == 0


@MANY
@given(st.data())
def test_moments_and_extremes_stream(data):
    parts = batches(data)
    moments, extremes = Moments(), Extremes()
    for part in parts:
        moments.update(part)
        extremes.update(part)
    rows = np.moveaxis(np.concatenate(parts), 1, 0).reshape(3, -1)
    assert moments.mean == pytest.approx(rows.mean(axis=1), rel=1e-9, abs=1e-12)
    assert moments.deviation == pytest.approx(rows.std(axis=1), rel=1e-5, abs=1e-6)
    assert (extremes.low, extremes.high) == (rows.min(), rows.max())
    assert extremes.integer == bool((rows == np.rint(rows)).all())


class TestActivations:
    @SOME
    @given(ann_networks(), st.integers(1, 9))
    def test_batches_do_not_matter(self, network, count):
        taps = list(network.of(Relu, Conv2d))
        data = samples(network, count)
        size = 8 * sum(network.type(n).size for n in network.nodes if not isinstance(network.op(n), Output))
        one, two, all_ = (
            context(data, max_memory=memory).activations(network, taps, Histogram)
            for memory in (1, 2 * size, 1 << 30)
        )
        for tap in taps:
            assert np.array_equal(one[tap].counts, all_[tap].counts)
            assert np.array_equal(two[tap].counts, all_[tap].counts)
            assert one[tap].counts.sum() == count * network.type(tap).size

    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_batches_arrive_in_order_whatever_the_threads(self, threads):
        network = Network("copy")
        x = network.add(Input(name="x", shape=(1,)))
        dense = network.add(Dense(weight=Constant([[1.0]])), x)
        network.add(Output(name="y"), dense)
        seen = []

        class Order:
            def update(self, batch):
                seen.extend(batch[:, 0])

        data = {"x": np.arange(100.0)[:, None]}
        context(data, threads=threads).activations(network, [dense], Order)
        assert seen == list(range(100))

    def test_values_that_are_not_finite_name_the_layer(self):
        network = Network("overflow")
        x = network.add(Input(name="x", shape=(1,)))
        dense = network.add(Dense(weight=Constant([[1e30]]), origin=("fc",)), x)
        network.add(Output(name="y"), dense)
        with pytest.raises(CompileError, match="SNNC0123") as caught:
            context({"x": np.array([[1e30]])}).activations(network, [dense], Histogram)
        assert caught.value.diagnostics[0].where == ("fc",)

    def test_inputs_are_seen_batch_by_batch(self):
        data = np.zeros((200, 2))
        data[150, 1] = -3.5
        extremes = context({"x": data}).input_extremes("x")
        assert (extremes.low, extremes.high, extremes.integer) == (-3.5, 0.0, False)
        assert context().input_extremes("x") is None


class TestSyntheticImages:
    """What stands in for data: structure that white noise lacks, in the user's layout and range."""

    @staticmethod
    def network(*shape: int, **options) -> Network:
        network = Network("images")
        network.add(Input(name="x", shape=shape, **options))
        return network

    @MANY
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.floats(-9, 9), st.floats(0.1, 300))
    def test_they_fit_the_input_and_its_range(self, shape, low, width):
        images = synthetic.images(self.network(*shape), (low, low + width), 3)["x"]
        assert images.shape == (3, *shape)
        assert images.min() >= low - 1e-9
        assert images.max() <= low + width + 1e-9

    def test_an_unknown_range_follows_the_dtype(self):
        bytes_like = synthetic.images(self.network(3, 8, 8, dtype="uint8"), None)["x"]
        assert bytes_like.min() == 0
        assert bytes_like.max() == 255
        normalised = synthetic.images(self.network(3, 8, 8), None)["x"]
        assert -normalised.min() == normalised.max() == synthetic.NORMALISED

    def test_neighbours_and_channels_are_alike(self):
        first = synthetic.images(self.network(3, 32, 32), None)["x"]
        last = synthetic.images(self.network(32, 32, 3, perm=(2, 0, 1)), None)["x"]
        for images in (first, last.transpose(0, 3, 1, 2)):
            images = images - images.mean(axis=(2, 3), keepdims=True)
            power = (images**2).mean()
            assert (images[..., 1:] * images[..., :-1]).mean() > 0.5 * power
            assert (images[:, 0] * images[:, 1]).mean() > 0.4 * power

    def test_they_are_the_same_every_time(self):
        one, two = (synthetic.images(self.network(2, 5, 5), (0, 1))["x"] for _ in range(2))
        assert np.array_equal(one, two)


class TestEstimates:
    """What batch norms tell, and what is measured where they tell nothing."""

    @staticmethod
    def network(*shape: int) -> tuple[Network, int, np.random.Generator]:
        network = Network("estimate")
        return network, network.add(Input(name="x", shape=shape)), np.random.default_rng(0)

    @classmethod
    def normalised(cls, *shape: int) -> tuple[Network, int, np.random.Generator]:
        """A network that ends in a batch norm; on a standard normal input its statistics are true."""
        network, x, rng = cls.network(*shape)
        gamma, beta = Constant(rng.uniform(0.5, 2, shape[0])), Constant(rng.normal(size=shape[0]))
        zero, one = Constant(np.zeros(shape[0])), Constant(np.ones(shape[0]))
        norm = network.add(BatchNorm(gamma=gamma, beta=beta, mean=zero, variance=one, epsilon=0.0), x)
        return network, norm, rng

    @staticmethod
    def close(network: Network, node: int, tolerance: float = 0.1) -> None:
        reducer = context(samples(network, 4000)).activations(network, [node], Moments)[node]
        found = before_activation(network)[node]
        assert (np.abs(found.mean - reducer.mean) <= tolerance * reducer.deviation).all()
        assert np.sqrt(found.variance) == pytest.approx(reducer.deviation, rel=tolerance)

    def test_sums_pools_and_maps(self):
        network, x, _ = self.normalised(2, 4, 4)
        self.close(network, x)
        relu = network.add(Relu(), x)
        # behind the ReLU: two results, elements independent within each
        self.close(network, network.add(SumPool(kernel=(2, 2), strides=(2, 2)), relu))
        self.close(network, network.add(AveragePool(kernel=(4, 4), divisors=Constant([[16]])), relu))
        self.close(network, network.add(Concat(axis=0), relu, x))
        self.close(network, network.add(Reshape(shape=(32,)), relu))

    def test_max_pool_is_near(self):
        network, x, _ = self.normalised(2, 4, 4)
        pool = network.add(MaxPool(kernel=(2, 2), strides=(2, 2)), x)
        reducer = context(samples(network, 4000)).activations(network, [pool], Moments)[pool]
        found = before_activation(network)[pool]
        assert (np.abs(found.mean - reducer.mean) <= 0.1 * np.sqrt(found.variance)).all()
        assert (found.variance > reducer.deviation**2).all()

    def test_weights_forget_it_and_the_next_batch_norm_knows_again(self):
        network, norm, rng = self.normalised(3)
        weight = Constant(rng.normal(size=(3, 3)))
        dense = network.add(Dense(weight=weight), network.add(Relu(), norm))
        both = network.add(Add(), dense, norm)
        again = network.add(network.op(norm), both)
        known = before_activation(network)
        assert {norm, again} <= known.keys()
        assert not {dense, both} & known.keys()

    def test_what_no_batch_norm_tells_is_measured_on_synthetic_images(self):
        network, x, rng = self.network(2, 6, 6)
        conv = network.add(Conv2d(weight=Constant(rng.normal(size=(4, 2, 3, 3)))), x)
        relu = network.add(Relu(source="r"), conv)
        given = context(input_range=(0.0, 3.0))
        images = synthetic.images(network, (0.0, 3.0))
        largest = context(images).activations(network, [relu], Histogram)[relu].percentile(100)
        found = given.estimate(network, [relu], per_channel=True)[relu].percentile(50)
        assert np.array_equal(found, np.full(4, largest))
        (warning,) = given.diagnostics.items
        assert "1 from synthetic images" in warning.message

    def test_a_batch_norm_is_what_training_made_it(self):
        network, x, _ = self.network(2)
        gamma, beta = Constant([2.0, 0.5]), Constant([1.0, -1.0])
        norm = network.add(
            BatchNorm(
                gamma=gamma, beta=beta, mean=Constant([50.0, 3.0]), variance=Constant([9.0, 4.0]), epsilon=0.0
            ),
            x,
        )
        found = before_activation(network)[norm]
        assert np.array_equal(found.mean, beta.array)
        assert np.array_equal(found.variance, gamma.array**2)

    @MANY
    @given(st.integers(0, 99), st.floats(60, 99.9))
    def test_percentiles_of_the_mixture(self, seed, percent):
        rng = np.random.default_rng(seed)
        mean, deviation = rng.normal(size=4), rng.uniform(0.1, 2, 4)
        found = float(Gaussian(mean, deviation**2).percentile(percent)[0])
        values = mean + deviation * rng.normal(size=(20000, 4))
        below = float((np.maximum(values, 0) <= found).mean() * 100)
        assert below >= percent - 1
        assert found == 0 or below <= percent + 1

    def test_a_layer_that_hardly_ever_fires_has_percentile_zero(self):
        assert Gaussian(np.array([-5.0]), np.array([1.0])).percentile(99) == [0.0]

    @SOME
    @given(ann_networks())
    def test_every_estimate_is_finite_and_has_the_channels_of_its_tensor(self, network):
        for node, found in before_activation(network).items():
            assert np.isfinite(found.mean).all()
            assert (found.variance >= 0).all()
            if not isinstance(network.op(node), Output):
                assert found.mean.shape == network.type(node).shape[:1]
