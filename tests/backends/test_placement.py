"""Placement: every neuron once, no limit exceeded, totals that add up, spikes that stay."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import Builder
from loihi_networks import deep_networks
from pass_tools import context

from snnc.backends import build
from snnc.backends.base import Activity
from snnc.backends.loihi import Placement, place, split
from snnc.backends.loihi.place import Use, limits, total
from snnc.backends.netlist import executor, lower
from snnc.backends.netlist.emit import describe
from snnc.backends.netlist.model import Memory, Netlist, Projection
from snnc.diagnostics import CompileError, Diagnostics
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.passes import Legalize
from snnc.targets import Chip, load_target

SOME = settings(max_examples=12, deadline=None)
LOIHI = load_target("loihi").chip
SMALL = dataclasses.replace(LOIHI, neurons=24, in_axons=60, out_axons=70, synapse_bits=1 << 15, thresholds=2)


def legal(network: Network, align: bool = False) -> Netlist:
    return lower(Legalize(target="loihi", align=align).apply(network, context()))


def placed(netlist: Netlist, chip: Chip = SMALL, counts=None) -> Placement:
    found = Diagnostics()
    placement = place(netlist, chip, counts or {}, found)
    assert placement is not None, found.items
    return placement


def execute(netlist: Netlist, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    memories = {name: np.asarray(m.values, np.int64) for name, m in netlist.memories.items()}
    return executor.run(executor.Net(describe(netlist), memories), inputs, record=True)


def region(piece, netlist: Netlist) -> tuple[slice, ...]:
    return tuple(slice(*span) for span in piece.tile[: len(netlist.nodes[piece.population].shape)])


@st.composite
def placements(draw: st.DrawFn) -> tuple[Netlist, Placement]:
    netlist = legal(draw(deep_networks()), draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    counts = {p.name: rng.integers(0, 5, p.shape).astype(float) for p in netlist.populations}
    roomy = dataclasses.replace(SMALL, in_axons=200, out_axons=400)
    return netlist, placed(netlist, draw(st.sampled_from([roomy, LOIHI])), counts)


@SOME
@given(placements())
def test_every_neuron_is_placed_once(case):
    netlist, placement = case
    for population in netlist.populations:
        times = np.zeros(population.shape, int)
        for piece in placement.pieces:
            if piece.population == population.name:
                times[region(piece, netlist)] += 1
        assert (times == 1).all()


@SOME
@given(placements())
def test_no_core_exceeds_a_limit(case):
    _, placement = case
    for core in range(placement.cores):
        uses = [piece.use for piece in placement.pieces if piece.core == core]
        assert uses
        assert all(used <= most for used, most in zip(total(uses), limits(placement.chip), strict=True))


def apply(netlist: Netlist, projection: Projection, shape: tuple[int, ...]) -> np.ndarray:
    """What a projection makes of every neuron of ``shape`` spiking alone, [n, …]."""
    small = dataclasses.replace(netlist, projections=(projection,))
    memories = {name: np.asarray(m.values, np.int64) for name, m in small.memories.items()}
    net = executor.Net(describe(small), memories)
    spikes = np.eye(int(np.prod(shape)), dtype=np.int64).reshape(-1, *shape)
    return executor._apply(net, net.description["projections"][0], spikes)


def sent_to(netlist: Netlist, projection: Projection, window: tuple[slice, ...]) -> np.ndarray:
    """How many messages each neuron of the source sends to one tile, by sending every spike."""
    shape = netlist.nodes[projection.source].shape
    operand = netlist.operand_shape(projection)
    bare = dataclasses.replace(projection, kind="none", weights=None)
    links = apply(netlist, bare, shape).reshape(int(np.prod(shape)), -1)
    ones = Memory(projection.weights.name, np.ones_like(projection.weights.values))
    plain = dataclasses.replace(projection, address=(), weights=ones, shift=0)
    reached = apply(netlist, plain, operand)[(slice(None), *window)]
    return (links * reached.reshape(len(reached), -1).any(axis=1)).sum(axis=1).reshape(shape)


@SOME
@given(placements())
def test_messages_are_what_one_finds_by_sending_every_spike(case):
    netlist, placement = case
    sent = {p.name: np.zeros(p.shape, int) for p in netlist.populations}
    for receiver in placement.pieces:
        for projection in netlist.incoming(receiver.population):
            if projection.source in sent:
                sent[projection.source] += sent_to(netlist, projection, region(receiver, netlist))
    for piece in placement.pieces:
        resets = netlist.nodes[piece.population].kind == "if"
        own = sent[piece.population][region(piece, netlist)].sum()
        assert piece.use.out_axons == own + resets * piece.tile.size
        assert piece.use.neurons == piece.tile.size * (1 + resets)


@SOME
@given(placements())
def test_the_report_adds_up(case):
    netlist, _ = case
    counts = {p.name: np.ones(p.shape) for p in netlist.populations if p.kind == "if"}
    (backend,) = build("loihi")
    report = backend.cost(netlist, Activity(counts=counts))
    files = json.loads(backend.emit(netlist, Activity(counts=counts))["placement.json"])
    assert report["cores"] == len(report["per_core"]) == len(files["cores"])
    assert report["chips"] == -(-report["cores"] // 128)
    neurons = sum(t["neurons"] for core in files["cores"] for t in core["tiles"])
    assert neurons == sum(p.size for p in netlist.populations)
    for key, whole in report["totals"].items():
        assert whole == sum(core[key] for core in report["per_core"])
        assert [core["uses"][key] for core in files["cores"]] == [core[key] for core in report["per_core"]]
    moved = sum(core["spikes_out"] for core in report["per_core"])
    assert moved == sum(core["spikes_in"] for core in report["per_core"]) == report["spikes_between_cores"]
    # every neuron spikes once: its messages are its out-axons, but for the one to itself
    resets = sum(p.size for p in netlist.populations if p.kind == "if")
    assert moved + report["spikes_within_cores"] == report["totals"]["out_axons"] - resets


@settings(max_examples=8, deadline=None)
@given(placements())
def test_placement_changes_no_spike(case):
    netlist, placement = case
    inputs = {port.input: x for port, x in zip(netlist.inputs, samples_of(netlist), strict=True)}
    whole, pieces = execute(netlist, inputs), split(netlist, placement)
    parts = execute(pieces, inputs)
    for piece, population in zip(placement.pieces, pieces.populations, strict=True):
        index = (slice(None), slice(None), *region(piece, netlist))
        if population.kind == "if":
            assert (parts["spikes"][population.name] == whole["spikes"][piece.population][index]).all()
            assert (parts["membranes"][population.name] == whole["membranes"][piece.population][index]).all()
    joined = np.concatenate([parts["outputs"][port.name] for port in pieces.outputs], axis=2)
    assert (joined == whole["outputs"]["y"]).all()


def samples_of(netlist: Netlist) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(5)
    for port in netlist.inputs:
        yield rng.normal(0.6, 0.8, (2, *port.array_shape))


def dense(inputs: int, outputs: int = 10) -> Netlist:
    b = Builder("rate", 4)
    return legal(b.read(b.fire(b.dense(b.fire(b.dense(b.input(3), inputs)), outputs))))


def test_what_does_not_fit_says_which_limit_where_and_by_how_much():
    (backend,) = build("loihi")
    found = Diagnostics()
    backend.validate(dense(4100), found)
    (problem,) = found.items
    assert problem.code == "SNNC0131"
    assert problem.message == "one neuron needs 4101 in-axons, 5 more than a core's 4096"
    assert problem.where == ("relu",)
    assert "pool" in problem.remedy
    with pytest.raises(CompileError, match="4101 in-axons"):
        backend.emit(dense(4100), Activity())


def test_a_core_has_few_formats_of_synapses_and_few_profiles():
    b = Builder("rate", 4)
    fired = b.fire(b.conv(b.input(1, 4, 4), 2, pads=(1, 1, 1, 1)))
    paths = [b.conv(fired, 2, pads=(1, 1, 1, 1), shift=shift) for shift in range(3)]
    netlist = legal(b.read(b.fire(*paths, threshold=Constant(np.array(50)))))
    # three exponents and that of the reset, whose threshold is below 128 mantissas
    assert [p.use.synapse_formats for p in placed(netlist, LOIHI).pieces] == [1, 4, 1]
    found = Diagnostics()
    assert place(netlist, dataclasses.replace(LOIHI, synapse_formats=3), {}, found) is None
    assert "4 formats of synapses, 1 more than a core's 3" in found.items[0].message
    alone = placed(netlist, dataclasses.replace(LOIHI, profiles=2))
    assert alone.cores == 3
    assert placed(netlist, LOIHI).cores == 1


def test_a_network_for_no_chip_is_refused():
    b = Builder("rate", 4)
    netlist = lower(Legalize().apply(b.read(b.fire(b.dense(b.input(3), 4))), context()))
    found = Diagnostics()
    build("loihi{chip=loihi2}")[0].validate(netlist, found)
    assert {d.code for d in found.items} == {"SNNC0131"}
    assert all("--target loihi2" in d.remedy for d in found.items)


def test_the_largest_system_is_a_limit_too():
    found = Diagnostics()
    assert place(dense(9), dataclasses.replace(LOIHI, cores=1, chips=1, neurons=4), {}, found) is None
    (problem,) = found.items
    assert "more than the largest system has" in problem.message


def test_the_cost_of_a_list_is_counted_in_blocks_and_words():
    from snnc.backends.loihi.link import index_bits, list_bits

    # 65 synapses of 8 + 6 bits: a block of 64 · 14 + 10 = 906 bits in 15 words, one of 24 bits in one
    assert list_bits(LOIHI, 65, 14) == 16 * 64
    assert list_bits(LOIHI, 1, 8) == 64
    assert [index_bits(LOIHI, n) for n in (1, 2, 64, 65, 512, 4096)] == [0, 6, 6, 7, 9, 12]


def test_positions_share_the_lists_of_a_convolution():
    b = Builder("rate", 4)
    a = b.fire(b.conv(b.input(1, 8, 8), 2, pads=(1, 1, 1, 1)))
    c = b.fire(b.conv(a, 3, pads=(1, 1, 1, 1)), threshold=Constant(np.array(50)))
    netlist = legal(b.read(c))
    (piece,) = [p for p in placed(netlist, LOIHI).pieces if p.population == netlist.populations[1].name]
    assert piece.use.in_axons == 2 * 64 + piece.tile.size
    # 2 channels; border, middle and border in both directions: 2, 3 and 2 taps; 3 outputs; 8 + 8 bits
    per_channel = sum(-(-(a * b * 3 * 16 + 10) // 64) for a in (2, 3, 2) for b in (2, 3, 2))
    assert piece.use.synapse_bits == 64 * (2 * per_channel + 1)
    assert piece.use == Use(2 * 192, 128 + 192, piece.use.out_axons, piece.use.synapse_bits, 1, 1 + 1, 2)
