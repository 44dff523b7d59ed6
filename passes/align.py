"""Delays: every projection is one step late, and paths of unlike depth can be made to meet.

The depth of a population is the number of delayed projections on the longest path to it. Where each
projection takes one step, a skip arrives before what it is added to. Aligned, the paths into a
population of depth d arrive in the same step; it then lives d steps behind the input, and the network
runs D = max d steps longer. Its bias is switched on with its input, b(t) = 0 for t ≤ d, so that its spikes
are exactly those of the network without delays, d steps late.
"""

from __future__ import annotations

import numpy as np

from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import Concat, Delay, IfNeuron, Op, Readout
from snnc.ir.projections import incoming


def delay_by_one(network: Network) -> Network:
    """A copy in which the spikes of every population arrive one step later."""
    result = network.copy()
    for node in network.of(IfNeuron):
        _after(result, node)
    return result


def _after(network: Network, node: int) -> int:
    late = network.add(Delay(origin=network.op(node).origin), node)
    network.redirect(node, late, keep=[late])
    return late


def delay_by_depth(network: Network, most: int, context: Context) -> Network:
    """A copy in which all paths into a population are equally late, T + D steps long.

    A projection can be late by at most ``most`` steps beyond the first: SNNC0131 names those that are not.
    """
    times, depths = _depths(network)
    lags = _lags(network, times, depths)
    result = network.copy()
    late = {node: _after(result, node) for node in network.of(IfNeuron)}
    for (source, user), lag in lags.items():
        if lag > most:
            context.diagnostics.error(
                "SNNC0131",
                f"a path must wait {lag} steps for another one, {lag - most} more than a synapse can",
                where=network.op(user).origin,
                remedy="compile without --align",
            )
        before = late.get(source, source)
        waiting = result.add(Delay(steps=lag, origin=network.op(user).origin), before)
        operands = [waiting if s == before else s for s in result.operands(user)]
        result.set(user, result.op(user), operands)
    context.diagnostics.raise_errors()
    assert network.steps is not None
    extra = max(depths.values())
    result.steps = network.steps + extra
    for node, depth in depths.items():
        result.set(node, _shifted(network.op(node), depth, network.steps, extra))
    return result


def _depths(network: Network) -> tuple[dict[int, int | None], dict[int, int]]:
    """How late every node's result is, None for what is constant, and the depth of every population.

    All readouts are read in the same step, so that they have one depth.
    """
    times: dict[int, int | None] = {}
    depths: dict[int, int] = {}
    for node in network.nodes:
        op = network.op(node)
        known = [t for s in network.operands(node) if (t := times[s]) is not None]
        times[node] = max(known, default=None)
        if isinstance(op, Delay) and known:
            times[node] = known[0] + op.steps
        if isinstance(op, IfNeuron | Readout):
            depths[node] = max(known, default=0)
            times[node] = depths[node] + 1
    last = max(depths[node] for node in network.of(Readout))
    return times, depths | dict.fromkeys(network.of(Readout), last)


def _lags(
    network: Network, times: dict[int, int | None], depths: dict[int, int]
) -> dict[tuple[int, int], int]:
    """The edges that must wait: the early parts of a concatenation, and early weighted ops."""
    waits: dict[tuple[int, int], int] = {}
    for node in network.of(Concat):
        for source in network.operands(node):
            waits[source, node] = _difference(times[node], times[source])
    for population, depth in depths.items():
        for weighted in incoming(network, population):
            (source,) = network.operands(weighted)
            waits[source, weighted] = _difference(depth, times[weighted])
    return {edge: lag for edge, lag in waits.items() if lag}


def _difference(late: int | None, early: int | None) -> int:
    return 0 if late is None or early is None else late - early


def _shifted(op: Op, depth: int, steps: int, extra: int) -> Op:
    """A population that lives ``depth`` steps behind the input, in a run of ``steps`` + ``extra``.

    Its unit is that of the longer run: a = unit·n/(T + D).
    """
    assert isinstance(op, IfNeuron | Readout)
    stretch = (steps + extra) / steps
    unit = Constant(op.unit.array * stretch) if isinstance(op, IfNeuron) else op.unit * stretch
    if not depth or not op.bias.array.any():
        return op.replace(unit=unit)
    row = op.bias.array.reshape(op.bias.shape or (1,))
    bias = np.broadcast_to(row, (steps + extra, *row.shape)).copy()
    bias[:depth] = 0
    return op.replace(bias=Constant(bias), unit=unit)
