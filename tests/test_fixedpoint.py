"""The laws of the integer arithmetic (docs/semantics.md §7)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snnc import fixedpoint as fp

MANY = settings(max_examples=100, deadline=None)
WEIGHTS = st.floats(-100, 100).filter(lambda w: w == 0 or abs(w) > 1e-6)
BITS = st.integers(2, 16)


def matrices(rows: int | None = None, low: int = -20, high: int = 20):
    shape = st.tuples(st.just(rows) if rows else st.integers(1, 3), st.integers(1, 4))
    return hnp.arrays(np.int64, shape, elements=st.integers(low, high))


class TestRounding:
    @MANY
    @given(st.floats(-(2**52), 2**52))
    def test_is_to_the_nearest_and_ties_to_even(self, value):
        found = int(fp.round_half_even(value))
        assert found == round(value)
        assert abs(found - value) <= 0.5

    @pytest.mark.parametrize("value", [2.0**53, -(2.0**60), np.inf, np.nan])
    def test_refuses_what_float64_cannot_hold(self, value):
        with pytest.raises(OverflowError):
            fp.round_half_even([1.0, value])

    def test_of_nothing(self):
        assert fp.round_half_even(np.zeros((0, 3))).shape == (0, 3)

    @MANY
    @given(st.integers(-(2**62), 2**62), st.integers(0, 2**62))
    def test_signed_bits_are_necessary_and_sufficient(self, low, size):
        high = low + size
        bits = fp.signed_bits(low, high)
        assert -(1 << (bits - 1)) <= low
        assert high < 1 << (bits - 1)
        if bits > 1:
            assert low < -(1 << (bits - 2)) or high >= 1 << (bits - 2)

    @MANY
    @given(
        hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-50, 50)),
        st.floats(0.01, 5),
        st.integers(0, 12),
    )
    def test_a_sum_over_time_never_drifts_more_than_half_a_unit(self, rates, scale, fraction):
        steps = fp.split_over_time(rates, scale, fraction)
        wanted = np.cumsum(rates) / scale * 2.0**fraction
        assert (np.abs(np.cumsum(steps) - wanted) <= 0.5 + 1e-6).all()

    @MANY
    @given(st.floats(-1e4, 1e4), st.floats(0.01, 10), st.integers(0, 20))
    def test_membranes_are_within_half_a_unit(self, value, scale, fraction):
        unit = scale * 2.0**-fraction
        assert abs(int(fp.to_membrane(value, scale, fraction)) * unit - value) <= unit / 2 * (1 + 1e-9)


class TestInputs:
    @pytest.mark.parametrize(
        ("x", "code"), [(0.49, 0), (0.5, 1), (1.5, 2), (-0.5, 0), (-0.51, -1), (7.4, 7), (7.5, 7), (-9.0, -8)]
    )
    def test_round_half_up_and_saturate(self, x, code):
        assert fp.quantize_input(np.array([x]), 1.0, -8, 7)[0] == code

    @MANY
    @given(hnp.arrays(np.float64, (3, 2), elements=st.floats(-10, 10)), st.floats(0.01, 1))
    def test_counts_what_it_clips(self, x, scale):
        codes, clipped = fp.quantize_input(x, scale, -8, 7)
        free = np.floor(x / scale + 0.5)
        assert clipped == np.count_nonzero(free != codes)
        inside = free == codes
        assert (np.abs(codes * scale - x)[inside] <= scale / 2 * (1 + 1e-9)).all()


class TestScales:
    @MANY
    @given(
        st.lists(hnp.arrays(np.float64, (2, 3), elements=WEIGHTS), min_size=1, max_size=3),
        BITS,
        st.booleans(),
    )
    def test_every_weight_has_a_code_within_half_a_step(self, weights, bits, per_channel):
        found = fp.choose_scale(weights, bits, per_channel=per_channel)
        assert found.scale.shape == ((2,) if per_channel else ())
        for weight, exponent in zip(weights, found.exponents, strict=True):
            assert exponent <= 0
            code = fp.quantize_weight(weight, found.scale, exponent, bits)
            step = fp.align(found.scale, weight) * 2.0**exponent
            assert np.abs(code).max() <= fp.symmetric_limit(bits)
            assert (np.abs(code * step - weight) <= step / 2 * (1 + 1e-9)).all()

    @MANY
    @given(hnp.arrays(np.float64, (2, 3), elements=WEIGHTS), BITS)
    def test_the_largest_weight_takes_the_largest_code(self, weight, bits):
        found = fp.choose_scale([weight], bits, per_channel=False)
        assert (found.scale > 0).all()
        code = fp.quantize_weight(weight, found.scale, found.exponents[0], bits)
        assert np.abs(code).max() == (fp.symmetric_limit(bits) if weight.any() else 0)

    @MANY
    @given(hnp.arrays(np.float64, (2, 3), elements=WEIGHTS), st.floats(0.01, 100), BITS)
    def test_an_identity_is_a_code_and_costs_less_than_a_bit(self, weight, identity, bits):
        skip = np.asarray(identity)
        plain = fp.choose_scale([weight, skip], bits, per_channel=False)
        found = fp.choose_scale([weight, skip], bits, per_channel=False, identity=skip)
        code = fp.quantize_weight(skip, found.scale, found.exponents[1], bits)
        assert float(code * found.scale * 2.0 ** found.exponents[1]) == pytest.approx(identity, rel=1e-14)
        assert plain.scale * (1 - 1e-12) <= found.scale < 2 * plain.scale

    @MANY
    @given(st.integers(1, 256), st.floats(1e-4, 10), st.floats(0.01, 100), st.integers(-5, 5))
    def test_fractions_are_the_least_that_hold_the_run(self, steps, scale, threshold, exponent):
        bits = fp.fraction_bits(steps, np.asarray(scale), np.asarray(threshold), (exponent, 0))
        assert bits >= max(0, -exponent)
        # N roundings of at most half a unit stay within ε/2 of a spike
        assert steps * scale * 2.0**-bits <= fp.EPSILON_SPIKES * threshold * (1 + 1e-9)
        if bits > max(0, -exponent):
            assert steps * scale * 2.0 ** -(bits - 1) > fp.EPSILON_SPIKES * threshold * (1 - 1e-9)


@MANY
@given(matrices(), st.integers(-8, 0), st.integers(0, 8), st.data())
def test_products_stay_in_their_range_and_reach_it(matrix, low, high, data):
    least, most = fp.product_range(matrix, low, high)
    shape = (matrix.shape[1],)
    x = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(low, high)))
    assert (least <= matrix @ x).all()
    assert (matrix @ x <= most).all()
    for row, (a, b) in enumerate(zip(least, most, strict=True)):
        worst = np.where(matrix[row] > 0, high, low)
        assert matrix[row] @ worst == b
        assert matrix[row] @ np.where(matrix[row] > 0, low, high) == a


def events(matrix: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Partial sums [C, K + 1] of W·x when its terms arrive in a random order."""
    terms = (matrix * x)[:, rng.permutation(len(x))]
    return np.concatenate([np.zeros((len(matrix), 1), np.int64), np.cumsum(terms, axis=1)], axis=1)


SIGNS = {
    "single": {"signed": False},
    "signed": {"signed": True},
    "rectified": {"signed": True, "rectified": True},
}


def back(u, theta, sent, signed, rectified=False):
    """Whether a neuron sends −1."""
    return (2 * u < -theta) & (sent > 0) if rectified else (u < 0) & signed


def trains(draw, steps: int, size: int, low: int) -> np.ndarray:
    """Input spikes [steps, size]: random, or as bad as can be for one sign."""
    kind = draw(st.sampled_from(("random", "worst")))
    if kind == "random":
        return draw(hnp.arrays(np.int64, (steps, size), elements=st.integers(low, 1)))
    row = draw(hnp.arrays(np.int64, size, elements=st.integers(low, 1)))
    return np.broadcast_to(row, (steps, size))


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(sorted(SIGNS)), st.booleans(), st.sampled_from(("subtract", "zero")))
def test_no_membrane_leaves_its_range_whatever_the_order_of_events(data, sign, timed, reset):
    assume(reset == "subtract" or sign != "rectified")
    signs = SIGNS[sign]
    draw = data.draw
    matrix, steps = draw(matrices()), draw(st.integers(1, 7))
    channels, size = matrix.shape
    shape = (steps, channels) if timed else (channels,)
    bias = draw(hnp.arrays(np.int64, shape, elements=st.integers(-15, 15)))
    threshold = draw(hnp.arrays(np.int64, shape, elements=st.integers(1, 40)))
    v = draw(hnp.arrays(np.int64, channels, elements=st.integers(-20, 40)))
    low = -1 if draw(st.booleans()) else 0
    drive = fp.Range(*fp.product_range(matrix, low, 1))
    found = fp.membrane_range(drive, bias, threshold, v, steps, **signs)
    sent = np.zeros(channels, np.int64)
    x, rng = trains(draw, steps, size, low), np.random.default_rng(0)
    for t in range(steps):
        b, theta = (np.broadcast_to(p, (steps, channels))[t] for p in (bias, threshold))
        before_bias = draw(st.booleans())
        partial = events(matrix, x[t], rng) + v[:, None]
        u = partial[:, -1] + b
        if before_bias:
            partial = partial + b[:, None]
        s = (u >= theta).astype(np.int64) - back(u, theta, sent, **signs)
        sent += s
        v = u - theta * s if reset == "subtract" else np.where(s != 0, 0, u)
        for values in (partial, u[:, None], v[:, None]):
            assert (found.low[:, None] <= values).all()
            assert (values <= found.high[:, None]).all()


@MANY
@given(
    st.integers(-20, 0),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 6),
    st.sampled_from(sorted(SIGNS)),
)
def test_membrane_ranges_are_reached(low, high, threshold, steps, sign):
    """Against every membrane that drives from ``low`` to ``high`` can lead to."""
    drive, zero = fp.Range(np.array([low]), np.array([high])), np.zeros(1, np.int64)
    found = fp.membrane_range(drive, zero, np.array([threshold]), zero, steps, **SIGNS[sign])
    reached, seen = {(0, 0)}, {0}
    for _ in range(steps):
        u = {(v + z, sent) for v, sent in reached for z in range(low, high + 1)}
        spikes = {(v, n, int(v >= threshold) - int(back(v, threshold, n, **SIGNS[sign]))) for v, n in u}
        reached = {(v - threshold * s, n + s) for v, n, s in spikes}
        seen |= {v for v, _ in u | reached}
    assert max(seen) <= found.high[0]
    assert found.low[0] == min(seen)
    if sign == "single":
        # one more than ≥ leaves, for comparison by >
        assert found.high[0] <= max(seen) + 1


@MANY
@given(st.data(), st.booleans())
def test_integrals_stay_in_their_range_whatever_the_order(data, timed):
    draw = data.draw
    matrix, steps = draw(matrices()), draw(st.integers(1, 7))
    channels, size = matrix.shape
    bias = draw(
        hnp.arrays(np.int64, (steps, channels) if timed else (channels,), elements=st.integers(-15, 15))
    )
    v = draw(hnp.arrays(np.int64, channels, elements=st.integers(-20, 40)))
    drive = fp.Range(*fp.product_range(matrix, -1, 1))
    found = fp.integral_range(drive, bias, v, steps)
    x = trains(draw, steps, size, -1)
    terms = [*(matrix * row for row in x), np.broadcast_to(bias, (steps, channels)).T]
    flat = np.concatenate(terms, axis=1)[:, np.random.default_rng(1).permutation(size * steps + steps)]
    partial = v[:, None] + np.cumsum(flat, axis=1)
    assert (found.low[:, None] <= partial).all()
    assert (partial <= found.high[:, None]).all()


@MANY
@given(st.integers(-(2**40), 2**40), st.integers(0, 12), st.integers(1, 4095))
def test_a_register_holds_the_nearest_mantissa(value, exponent, limit):
    mantissa = min(max(math.floor(value / 2**exponent + 0.5), -limit), limit)
    assert int(fp.in_register(value, exponent, limit)) == mantissa * 2**exponent


def test_a_range_is_as_wide_as_its_widest_channel():
    assert fp.Range(np.array([0, -5]), np.array([3, 0])).bits == 4
    assert fp.Range(np.array([0]), np.array([255])).bits == 9
    assert fp.symmetric_limit(8) == 127
    assert math.log2(fp.FLOAT32_EXACT) == 24


@given(st.integers(0, 99), st.integers(2, 16), st.booleans())
def test_clipped_weights_have_no_larger_squared_error(seed, bits, per_channel):
    weight = np.random.default_rng(seed).standard_t(3, size=(3, 20))

    def error(clip: bool) -> float:
        found = fp.choose_scale([weight], bits, per_channel=per_channel, clip=clip)
        step = fp.align(found.scale, weight) * 2.0 ** found.exponents[0]
        code = fp.quantize_weight(weight, found.scale, found.exponents[0], bits)
        return float(((weight - step * code) ** 2).sum())

    assert error(True) <= error(False) * (1 + 1e-9)


@given(st.integers(0, 99), st.sampled_from(((4, 5, 3, 3), (3, 1, 3, 3), (3, 40))), st.integers(2, 16))
def test_balanced_errors_cancel_in_every_kernel_and_channel(seed, shape, bits):
    weight = np.random.default_rng(seed).standard_t(3, size=shape)
    found = fp.choose_scale([weight], bits, per_channel=True)
    step = fp.align(found.scale, weight) * 2.0 ** found.exponents[0]
    code = fp.quantize_weight(weight, found.scale, found.exponents[0], bits, balanced=True)
    error = (code - weight / step).reshape(*shape[:2], -1)
    slack = 1e-6
    assert np.abs(code).max() <= fp.symmetric_limit(bits)
    assert np.abs(error).max() <= 1 + slack
    assert np.abs(error.sum(axis=2)).max() <= 1 + slack
    assert np.abs(error.sum(axis=(1, 2))).max() <= 0.5 + slack


@given(st.integers(0, 99), st.integers(2, 16))
def test_balanced_codes_of_weights_on_the_grid_are_the_nearest(seed, bits):
    limit = fp.symmetric_limit(bits)
    codes = np.random.default_rng(seed).integers(-limit, limit + 1, size=(2, 3, 3, 3))
    found = fp.quantize_weight(codes * 0.25, np.asarray(0.25), 0, bits, balanced=True)
    assert (found == codes).all()
