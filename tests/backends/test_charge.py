"""Charge is conserved: what comes in is what spikes take away and what stays (docs/semantics.md §7)."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_networks import random_chain, samples

from snnc.backends import netlist as backend
from snnc.backends.netlist import executor
from snnc.backends.netlist.emit import describe


@settings(max_examples=40)
@given(st.integers(0, 1 << 32))
def test_charge_is_conserved(seed):
    network = random_chain(seed)
    lowered = backend.lower(network)
    memories = {name: memory.values.astype(np.int64) for name, memory in lowered.memories.items()}
    net = executor.Net(describe(lowered), memories)
    inputs = samples(network)
    found = executor.run(net, inputs, record=True)
    worth = np.array(net.spike_values)
    steps = sum(worth) if net.integrates else net.steps
    ports, gain = net.description["inputs"], steps if net.integrates else 1
    values = {port["name"]: executor.encode(port, inputs, net.steps) * gain for port in ports}
    for population in net.description["populations"]:
        name = population["name"]
        if population["kind"] == "readout":
            continue
        spikes = found["spikes"][name].astype(np.int64)
        spent = spikes * worth.reshape(-1, *(1,) * (spikes.ndim - 2))
        if population["kind"] == "if":
            z = executor._drive(net, population, values)
            bias, threshold, v_init = (
                executor._parameter(net, population, field) for field in ("bias", "threshold", "v_init")
            )
            total = z.sum(axis=1) if z.shape[1] > 1 or net.integrates else z[:, 0] * net.steps
            total = total + (bias.sum(axis=0) if len(bias) > 1 else bias[0] * steps)
            left = (threshold * spent).sum(axis=1) + found["membranes"][name][:, -1] - v_init[0]
            assert (total == left).all()
        values[name] = spent.sum(axis=1, keepdims=True) if net.integrates else spikes
