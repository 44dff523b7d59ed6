"""Costs are counted, not estimated: every figure has a brute-force twin."""

import dataclasses

import numpy as np
import pytest
from integer_networks import MAKERS, Builder, make, samples

from snnc.backends import netlist as backend
from snnc.backends.costs import cost_report, energy_estimate, fanout
from snnc.backends.netlist import executor
from snnc.backends.netlist.emit import describe
from snnc.backends.netlist.model import Memory, SumPool
from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import UsageError
from snnc.ir.ops import SumPool as SumPoolOp
from snnc.targets import load_energy_prices, load_target, target_names


def report_of(network):
    trace = ReferenceEngine().simulate(network, samples(network))
    position = {node: f"p{i}" for i, node in enumerate(network.nodes)}
    counts = {position[n]: count.mean(axis=0) for n, count in trace.emitted().items()}
    return cost_report(backend.lower(network), counts), counts


def ones(stored):
    return None if stored is None else Memory(stored.name, np.ones_like(stored.values))


def brute_fanout(projection, netlist):
    """Send one spike at a time through the executor with unit weights; add up what arrives."""
    steps = tuple(
        dataclasses.replace(s, multiplicity=ones(s.multiplicity)) if isinstance(s, SumPool) else s
        for s in projection.address
    )
    unit = dataclasses.replace(
        projection, address=steps, weights=ones(projection.weights), shift=0, register=None
    )
    small = dataclasses.replace(netlist, projections=(unit,))
    memories = {name: m.values for name, m in small.memories.items()}
    description = describe(small)
    net = executor.Net(description, memories)
    shape = netlist.nodes[projection.source].shape
    spikes = np.eye(int(np.prod(shape)), dtype=np.int64).reshape(-1, *shape)
    arrived = executor._apply(net, description["projections"][0], spikes)
    return arrived.reshape(len(spikes), -1).sum(axis=1).reshape(shape)


@pytest.mark.parametrize("name", [n for n in MAKERS if n.endswith("rate")])
def test_fanout_is_the_number_of_weights_that_one_spike_meets(name):
    netlist = backend.lower(make(name))
    for projection in netlist.projections:
        found = fanout(projection, netlist)
        assert found.dtype == np.int64
        if projection.kind == "none":
            assert not found.any()
        else:
            assert (found == brute_fanout(projection, netlist)).all()


@pytest.mark.parametrize("name", MAKERS)
def test_totals_are_the_sums_of_the_layers(name):
    report, counts = report_of(make(name))
    fired = [counts[layer.population].sum() for layer in report.layers if layer.kind != "readout"]
    assert report.totals.spikes == pytest.approx(sum(fired))
    assert report.totals.sops == pytest.approx(sum(p.sops for x in report.layers for p in x.projections))
    assert report.totals.neurons == sum(x.neurons for x in report.layers)


def test_figures_of_a_small_network_by_hand():
    b = Builder(steps=4)
    a = b.fire(b.conv(b.input(1, 4, 4), 2, pads=(1, 1, 1, 1)), acc_bits=12)
    pooled = b.add(SumPoolOp(kernel=(2, 2), strides=(2, 2)), a)
    netlist = backend.lower(b.read(pooled, 3, acc_bits=10))
    hidden = netlist.populations[0]
    counts = np.arange(32).reshape(2, 4, 4) / 8
    report = cost_report(netlist, {hidden.name: counts})
    first, last = report.layers
    assert (first.neurons, first.neuron_updates, first.macs, first.eq13) == (32, 128, 288, 32 * 19)
    # 4 corners meet 4 taps, 8 edges 6 and 4 inner pixels 9, in two channels
    assert first.analog_macs == first.synapses == 2 * (4 * 4 + 8 * 6 + 4 * 9)
    assert (first.sops, first.spikes, first.mean_rate) == (0, counts.sum(), counts.sum() / 128)
    assert (last.sops, last.synapses, last.macs, last.eq13) == (3 * counts.sum(), 96, 24, 3 * 17)
    assert (first.eq14, last.eq14, last.spikes) == (3 * counts.sum(), 0, 0)
    # 24 weights, each once, times the spikes of one of 32 neurons; the input is no spikes
    assert (first.kernel_ops, last.kernel_ops) == (0, 24 * counts.sum() / 32)
    assert (first.state_bits, last.state_bits) == (32 * 12, 30)
    assert first.weight_bits == 18 * next(netlist.incoming(hidden.name)).weights.bits
    assert report.totals.eq13 == 32 * 19 + 3 * 17


def test_an_identity_skip_is_one_operation_per_spike_and_no_mac():
    network = make("residual-rate")
    netlist = backend.lower(network)
    report, counts = report_of(network)
    layer = report.layers[1]
    skip = layer.projections[1]
    assert skip.sops == counts[skip.source][:, ::2, ::2].sum()
    assert layer.macs == 2 * 9 * layer.neurons
    assert [p.is_identity for p in netlist.incoming(layer.population)] == [False, True]


def test_events_are_operations_and_no_products():
    network = make("events-rate")
    report, counts = report_of(network)
    events, still = report.layers[0].projections
    memory = next(p.weights for p in backend.lower(network).incoming("p5") if p.source == "p0")
    assert report.layers[0].kernel_ops == counts["p0"].mean() * memory.values.size
    assert events.sops == (counts["p0"] * fanout_of(network, "p0", "p5")).sum() > 0
    assert (events.analog_macs, still.sops) == (0, 0)
    assert still.analog_macs > 0


def fanout_of(network, source, target):
    netlist = backend.lower(network)
    (found,) = (p for p in netlist.projections if (p.source, p.target) == (source, target))
    return fanout(found, netlist)


def test_negative_spikes_count():
    netlist = backend.lower(make("signed-rate"))
    counts = {p.name: np.full(p.shape, -1.0) for p in netlist.populations if p.kind == "if"}
    assert cost_report(netlist, counts).totals.spikes == sum(c.size for c in counts.values())


def test_a_max_gate_holds_counters_and_costs_no_synaptic_operation():
    report, _ = report_of(make("gates-rate"))
    gates = [x for x in report.layers if x.kind == "max"]
    assert [(g.sops, g.synapses, g.macs, g.eq13, g.weight_bits) for g in gates] == [(0, 0, 0, 0, 0)] * 2
    # T = 6 needs three bits for each input of the gate
    assert gates[0].state_bits == 3 * 4 * 3 * 3


def test_energy_is_counts_times_prices_and_hides_nothing():
    report, _ = report_of(make("plain-rate"))
    totals = report.totals
    estimates = {e.prices.name: e for e in energy_estimate(totals, load_energy_prices())}
    loihi = estimates["loihi1"]
    assert loihi.picojoules["sops"] == totals.sops * 23.6
    assert loihi.picojoules["neuron_updates"] == totals.neuron_updates * 81
    assert "analog_macs" in loihi.unpriced
    assert loihi.total is None
    without_input = dataclasses.replace(totals, analog_macs=0)
    odin = {e.prices.name: e for e in energy_estimate(without_input, load_energy_prices())}["odin"]
    assert odin.unpriced == ()
    assert odin.total == totals.sops * 12.7


def test_every_price_names_its_source_and_kind():
    prices = load_energy_prices()
    assert len({p.name for p in prices}) == len(prices)
    for entry in prices:
        assert entry.source
        assert entry.kind in ("simulated", "measured", "all-in")
        assert entry.picojoules["sops"] > 0


def test_targets_are_found_by_name():
    assert "energy" not in target_names()
    for name in target_names():
        assert load_target(name).name == name
    assert load_target("generic").weight_bits == (2, 16)


@pytest.mark.parametrize("name", ["energy", "", "../generic", "loihi9"])
def test_unknown_targets_are_a_usage_error(name):
    with pytest.raises(UsageError, match=r"SNNC0153(.|\n)*generic"):
        load_target(name)
