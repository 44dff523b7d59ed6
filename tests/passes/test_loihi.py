"""Legalization for Loihi: the chip's integers, its delays, and what stays exactly as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import Builder, samples
from loihi_networks import deep_networks
from pass_tools import context

from snnc.backends.fast.engine import FastEngine
from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Concat,
    Delay,
    IfNeuron,
    MaxGate,
    Readout,
    Weighted,
)
from snnc.ir.projections import incoming, paths
from snnc.ir.verify import verify
from snnc.passes import Legalize
from snnc.passes.align import delay_by_depth
from snnc.passes.loihi_arithmetic import driven_by_host
from snnc.targets import load_target

SOME = settings(max_examples=15, deadline=None)


def legal(network: Network, **options) -> Network:
    result = Legalize(**({"target": "loihi"} | options)).apply(network, context())
    verify(result)
    return result


@SOME
@given(deep_networks(), st.booleans())
def test_every_number_is_one_of_the_chips(network, align):
    chip = load_target("loihi").arithmetic
    result = legal(network, align=align)
    for node in result.of(IfNeuron):
        op = result.op(node)
        assert op.compare == "gt"
        assert (op.threshold.array % 64 == 0).all()
        assert (op.threshold.array >> 6 < 1 << 17).all()
        assert op.acc_bits <= 24
        mantissas = [op.bias.array >> e for e in range(8) if not (op.bias.array % (1 << e)).any()]
        assert any((np.abs(m) <= 4095).all() for m in mantissas)
        for weighted in incoming(result, node):
            w = result.op(weighted)
            mixed = w.weight.array.min() < 0 < w.weight.array.max()
            if driven_by_host(result, weighted):
                assert w.register_exponent <= 7
                assert w.register_limit + np.abs(op.bias.array >> w.register_exponent).max() <= 4095
            else:
                assert 6 <= w.shift <= 6 + mixed + chip.weight_exponent_most
                assert np.abs(w.weight.array.astype(int)).max() * (1 + mixed) <= 255


@SOME
@given(deep_networks(), st.booleans())
def test_engines_agree_on_what_is_legal(network, align):
    result = legal(network, align=align)
    inputs = samples(result)
    one = ReferenceEngine().simulate(result, inputs, record=True)
    other = FastEngine().simulate(result, inputs, record=True)
    assert (one.outputs["y"] == other.outputs["y"]).all()
    for node in result.of(IfNeuron):
        assert (one.spikes[node] == other.spikes[node]).all()
        assert (one.membranes[node] == other.membranes[node]).all()


@SOME
@given(deep_networks(exact=True))
def test_aligned_spikes_are_those_of_the_network_without_delays(network):
    inputs, steps = samples(network), network.steps
    old = ReferenceEngine().simulate(network, inputs, record=True)
    result = legal(network, align=True)
    new = ReferenceEngine().simulate(result, inputs, record=True)
    depths = []
    for before, after in zip(network.of(IfNeuron), result.of(IfNeuron), strict=True):
        late = [
            d
            for d in range(result.steps - steps + 1)
            if (new.spikes[after][:, d : d + steps] == old.spikes[before]).all()
            and not new.spikes[after][:, :d].any()
        ]
        assert late, before
        depths.append(min(late))
    assert depths[0] == 0
    # the answer comes D steps later, and is the same
    factor = result.op(next(result.of(Readout))).fraction_bits
    assert (new.outputs["y"][:, -steps:] == old.outputs["y"] << factor).all()


@SOME
@given(deep_networks())
def test_without_alignment_every_projection_is_one_step_late(network):
    result = legal(network)
    assert result.steps == network.steps
    for node in result.of(Weighted):
        for path in paths(result, node):
            delays = [result.op(n) for n, _ in path.steps if isinstance(result.op(n), Delay)]
            assert [d.steps for d in delays] == ([] if driven_by_host(result, node) else [1])


def simple(schedule: str = "rate", weight: int = 5, **options) -> Network:
    b = Builder(schedule, 8)
    a = b.fire(b.conv(b.input(1, 6, 6), 2))
    c = b.conv(a, 2)
    b.network.set(c, b.network.op(c).replace(weight=Constant(np.full((2, 2, 3, 3), weight, np.int16))))
    return b.read(b.fire(c, **options))


def refused(network: Network, **options) -> list[str]:
    with pytest.raises(CompileError) as caught:
        legal(network, **options)
    assert {d.code for d in caught.value.diagnostics} == {"SNNC0131"}
    assert all(d.remedy for d in caught.value.diagnostics)
    return [d.message for d in caught.value.diagnostics]


def test_what_the_chip_cannot_do_is_refused():
    assert refused(simple("layerwise")) == ["the chip's neurons fire while they integrate"]
    assert refused(simple(signed=True)) == ["the chip's spikes have no sign"]
    legal(simple(signed=True), target="loihi2")
    timed = Constant(np.arange(16).reshape(8, 2))
    assert refused(simple(bias=timed)) == ["the chip's biases and thresholds do not change in time"]
    b = Builder("rate", 4)
    gate = b.add(MaxGate(kernel=(2, 2), strides=(2, 2)), b.fire(b.conv(b.input(1, 8, 8), 2)))
    assert refused(b.read(gate)) == ["max pools count spikes, which the chip cannot"]
    b = Builder("rate", 4)
    x = b.input(2, 5, 5)
    both = b.add(Concat(axis=0), x, b.fire(b.conv(x, 2, pads=(1, 1, 1, 1))))
    assert refused(b.read(b.fire(b.conv(both, 2)))) == ["one weighted op takes inputs and spikes together"]


def test_a_limit_is_named_with_the_excess():
    assert refused(simple(threshold=Constant(1 << 30))) == [
        "the threshold is close to the membrane's limit, by 15 bits"
    ]
    assert refused(simple(bias=Constant(1 << 20))) == ["a bias exceeds the chip's 524160, by 8 bits"]
    # 18 weights of 2^15: 2^20 at bit 6
    (wide,) = refused(simple(weight=1 << 14))[:1]
    assert wide == "a step's current exceeds the chip's 24 bits, by 2 bits"


def test_weights_beyond_8_bits_are_refused():
    with pytest.raises(CompileError, match="weights of 9 bits exceed the 8 bits of target loihi"):
        legal(simple(weight=200))


def test_a_path_can_wait_only_so_long():
    b = Builder("rate", 4)
    early = a = b.fire(b.dense(b.input(4), 4))
    for _ in range(4):
        a = b.fire(b.dense(a, 4))
    network = b.read(b.fire(b.dense(a, 4), b.scale(early, Constant(np.int8(9)))))
    with pytest.raises(CompileError, match="must wait 4 steps for another one, 1 more than a synapse can"):
        delay_by_depth(network, 3, context())


def test_alignment_needs_a_target_with_delays():
    with pytest.raises(CompileError, match="align has no effect"):
        Legalize(align=True).apply(simple(), context())
