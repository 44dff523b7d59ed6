"""Adjusts the populations of an integer network one after the other, against the ANN.

Each population is seen at some positions of each channel, which is enough for statistics per channel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Ran
from snnc.backends.fast.engine import Arriving, FastEngine, sample_bytes, spike_counter
from snnc.backends.onnx import AnnRunner
from snnc.backends.reference.fire import integrate_then_fire, over_time, read_out, total_bias
from snnc.fixedpoint import Floats, Ints, align
from snnc.ir.constants import Constant
from snnc.ir.context import Adjust, Drive
from snnc.ir.groups import group_size
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Op, Output, Readout, has_time
from snnc.ir.projections import neuron_updates

SPIKE_BYTES = 1 << 28
"""The spikes alive together take no more. A constant, so that results do not depend on the machine."""

NEURON_STEPS = 2_400_000_000
"""So often, at most, neurons are updated in all samples together. It bounds the time for deep networks."""

MEAN_STEPS = 550_000_000
"""The same where only means per channel are asked for, of samples that are like all of them together."""

NEURONS = 1024
"""About so many neurons of a population are looked at."""

LEAST_POSITIONS = 4
"""So many positions of a channel, at least."""

_BATCH = 16
_TOGETHER = 8
"""So many samples of a population fire in one thread before it takes the next."""

Array = npt.NDArray[np.generic]


def tune(
    network: Network,
    ann: Network,
    inputs: Mapping[str, Array],
    adjust: Adjust,
    engine: FastEngine,
    positions: int | None = None,
) -> tuple[Network, Ran]:
    """An int-level network with its populations and readouts adjusted on ``inputs``, in order.

    What it then does on those of them that ran comes with it.
    ``inputs`` are in the user's layout. So many ``positions`` of each channel are looked at, or more; without
    a number enough for means per channel, and fewer samples run. A population that stands for no tensor of
    ``ann`` stays as it is.
    """
    most = _most_samples(network, NEURON_STEPS if positions else MEAN_STEPS)
    if positions:
        inputs = {name: x[:most] for name, x in inputs.items()}
    least = positions or LEAST_POSITIONS
    seen = {n: _positions(network.type(n).shape, least) for n in network.of(IfNeuron, Readout)}
    expected = _expected(network, ann, inputs, seen, engine.threads)
    chosen = typical([x.mean(axis=2) for x in expected.values()], most) if expected else slice(most)
    few = {name: x[chosen] for name, x in inputs.items()}

    def adjusted(node: int, arriving: Arriving) -> Mapping[int, Op]:
        op = network.op(node)
        assert isinstance(op, IfNeuron | Readout)
        if node not in expected:
            return {}
        where = seen[node]
        shown = functools.cache(lambda: arriving.currents(where)[..., None, :])

        def arrive() -> Ints:
            z = shown()
            return (z.astype(np.int64) + _bias(network, _at(op, where), z.shape[2:]))[..., 0, :]

        responder = functools.cache(lambda: _responder(network, shown(), where, pool))

        def totals() -> Mapping[int, Ints]:
            return arriving.totals(where)

        goal = _expressible(op, expected[node])
        usual = goal.mean(axis=2).mean(axis=0)
        return adjust(node, Drive(arrive, goal[chosen], usual, lambda op: responder()(op), totals))

    with ThreadPoolExecutor(engine.threads) as pool:
        result, trace = engine.adjusted(network, few, adjusted)
    return result, Ran(few, trace)


def _most_samples(network: Network, patience: int) -> int:
    """What memory and ``patience``, in updates of neurons, allow; never less than one."""
    return max(1, min(SPIKE_BYTES // sample_bytes(network), patience // neuron_updates(network)))


def typical(layers: Sequence[Floats], count: int) -> Ints:
    """The rows of ``count`` samples, or of all, whose means [N, C] in each layer are together those of all.

    One after the other is chosen so that what they are off by together, in standard deviations of a channel,
    has the least square (herding, Welling 2009).
    """
    samples = len(layers[0])
    if count >= samples:
        return np.arange(samples)
    away = np.concatenate([x - x.mean(axis=0) for x in layers], axis=1)
    spread = away.std(axis=0)
    away = away[:, spread > 0] / spread[spread > 0]
    chosen, off = list[int](), np.zeros(away.shape[1])
    for _ in range(count):
        error = np.square(off + away).sum(axis=1)
        error[chosen] = np.inf
        chosen.append(int(error.argmin()))
        off = off + away[chosen[-1]]
    return np.sort(chosen)


def _positions(shape: tuple[int, ...], least: int) -> Ints:
    """Flat positions within a channel, [P], spread at random but always the same."""
    extent = math.prod(shape[1:])
    count = min(extent, max(least, NEURONS // shape[0]))
    return np.sort(np.random.default_rng(0).permutation(extent)[:count])


def _expected(
    network: Network, ann: Network, inputs: Mapping[str, Array], seen: Mapping[int, Ints], threads: int
) -> dict[int, Floats]:
    """The ANN's activations [N, C, P] for every population that stands for one."""
    results = (n for n in ann.nodes if not isinstance(ann.op(n), Output))
    stands_for = {ann.op(n).source: n for n in results if ann.op(n).source}
    twins = {
        node: stands_for[network.op(node).source]
        for node in seen
        if network.op(node).source in stands_for
        and _in_groups(network, node, ann.type(stands_for[network.op(node).source]).shape)
    }
    if not twins:
        return {}
    runner = AnnRunner(ann, sorted(set(twins.values())))

    def part(start: int) -> dict[int, Floats]:
        values = runner.run({name: x[start : start + _BATCH] for name, x in inputs.items()})
        rows = {node: values[twin].reshape(*values[twin].shape[:2], -1) for node, twin in twins.items()}
        looked_at = {node: x[..., seen[node]].astype(np.float64) for node, x in rows.items()}
        return {node: np.repeat(x, group_size(network.op(node)), axis=1) for node, x in looked_at.items()}

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(part, range(0, len(next(iter(inputs.values()))), _BATCH)))
    return {node: np.concatenate([part[node] for part in parts]) for node in twins}


def _in_groups(network: Network, node: int, shape: tuple[int, ...]) -> bool:
    """Whether a population is that of a tensor of such a shape, with a group for each channel."""
    return network.type(node).shape == (shape[0] * group_size(network.op(node)), *shape[1:])


def _expressible(op: IfNeuron | Readout, activation: Floats) -> Floats:
    if isinstance(op, Readout):
        return activation
    unit = align(op.unit.array, activation[0])
    return np.clip(activation, -unit if op.negative else 0, unit)


def _bias(network: Network, op: IfNeuron | Readout, shape: tuple[int, ...]) -> Ints:
    """The op's own bias, [T or 1, *shape] under ``rate``, else its sum over the run, [1, *shape]."""
    assert network.steps is not None
    if network.schedule == "rate":
        return over_time(op.bias, shape, network.steps)
    return total_bias(op.bias, shape, network.full_count)[None]


def _responder(
    network: Network, z: Ints, positions: Ints, pool: ThreadPoolExecutor
) -> Callable[[IfNeuron | Readout], Floats]:
    """What ops make of a current [N, S, C, 1, P]; see ``Drive``."""
    pieces = [z[start : start + _TOGETHER] for start in range(0, len(z), _TOGETHER)]
    largest = max(pool.map(lambda piece: max(int(piece.max()), -int(piece.min())), pieces))

    def respond(op: IfNeuron | Readout) -> Floats:
        op = _at(op, positions)
        if isinstance(op, Readout):
            membrane = read_out(op, z.astype(np.int64), network)[:, -1]
            return np.asarray(membrane[..., 0, :] * (op.unit / network.full_count))
        if network.schedule == "rate":
            count = spike_counter(network, op, z.shape[2:], largest)
            counts = np.concatenate(list(pool.map(count, pieces)))
        else:
            counts = integrate_then_fire(op, z[:, 0].astype(np.int64), network.full_count)[0]
        said = counts[..., 0, :]
        return np.asarray(said * align(op.unit.array, said[0]) / network.full_count)

    return respond


def _at(op: IfNeuron | Readout, positions: Ints) -> IfNeuron | Readout:
    """The op at those positions of each channel: a bias for each neuron becomes [(T,) C, 1, P]."""
    bias = op.bias.array
    if bias.ndim < 3:
        return op
    lead = bias.shape[: 2 if has_time(bias) else 1]
    return op.replace(bias=Constant(bias.reshape(*lead, -1)[..., None, positions]))
