"""Networks of real numbers under ``rate``, run as integers.

What a spike adds does not depend on the membrane, so that it is rounded once, W ≈ R(2^F·W)·2^−F, and added
up without further error, in whatever order. For each channel of a population F is as large as sums of 32 bits
allow; its membrane has :data:`MEMBRANE_BITS` more for what comes once per step. So u(t) is off by at most

    2^−(F+1)·(n + (3t + 2)·2^−8)

where n counts the weights that were added: where u is nearer to θ a spike may differ from the reference's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.fast.currents import Currents
from snnc.backends.fast.layout import channel_last
from snnc.backends.fast.part import parts_of, timed_nodes
from snnc.backends.reference.drive import Clock, peak
from snnc.backends.reference.kernels import weigh
from snnc.fixedpoint import Floats, Ints, align, round_half_even
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Readout, Weighted
from snnc.ir.projections import incoming

Array = npt.NDArray[Any]

MEMBRANE_BITS = 8

_SUM_BITS = 31
# rounding moves a sum by half a unit for each weight
_MARGIN = 1 + 2.0**-12


def in_integers(network: Network) -> tuple[Network, dict[int, Ints]]:
    """The network with integers wherever spikes arrive, and F [C] of each population and readout.

    What flows into a population flows into no other. Weights of constant currents and all that a readout adds
    itself remain real.
    """
    result, fractions, timed = network.copy(), {}, timed_nodes(network)
    for node in network.of(IfNeuron, Readout):
        op = network.op(node)
        assert isinstance(op, IfNeuron | Readout)
        moving = [n for n in incoming(network, node) if n in timed]
        own = (op.threshold, op.bias, op.v_init) if isinstance(op, IfNeuron) else ()
        places = fractions[node] = _fraction(network, node, moving, own)
        for weighted in moving:
            result.set(weighted, _rounded(network, weighted, places))
        if isinstance(op, IfNeuron):
            fine = places + MEMBRANE_BITS
            threshold, bias, start = (_in_units(c, fine, network.type(node).shape) for c in own)
            result.set(node, op.replace(threshold=threshold, bias=bias, v_init=start))
    return result, fractions


def _fraction(network: Network, node: int, moving: Sequence[int], own: Sequence[Constant]) -> Ints:
    """F of each channel: 2^F·(Σ|W|·peak) fits into a sum, as do the population's ``own`` parameters."""
    shape = network.type(node).shape
    bound = np.zeros(shape[0])
    for weighted in moving:
        weight = np.abs(_weight(network, weighted))
        bound += weight.reshape(shape[0], -1).sum(axis=1) * peak(network.operand_types(weighted)[0])
    for constant in own:
        bound = np.maximum(bound, _per_channel(np.abs(constant.array), shape))
    exponents = np.frexp(bound * _MARGIN)[1]
    return np.where(bound > 0, _SUM_BITS - exponents, 0).astype(np.int64)


def _weight(network: Network, node: int) -> Floats:
    """The weights of an op, output channel first, also where one stands for all."""
    weight: Floats = _op(network, node).weight.array.astype(np.float64)
    return weight if weight.ndim else np.broadcast_to(weight, network.type(node).shape[:1])


def _op(network: Network, node: int) -> Weighted:
    op = network.op(node)
    assert isinstance(op, Weighted)
    return op


def _per_channel(value: Floats, shape: tuple[int, ...]) -> Floats:
    """The greatest value of each channel of a parameter [], [C], [C, H, W], or with a time axis in front."""
    if value.ndim in (2, 4):
        value = value.max(axis=0)
    return value.reshape(len(value), -1).max(axis=1) if value.ndim else np.broadcast_to(value, shape[:1])


def _rounded(network: Network, node: int, places: Ints) -> Weighted:
    weight = _weight(network, node)
    whole = round_half_even(np.ldexp(weight, align(places, weight).astype(np.int64)))
    return _op(network, node).replace(weight=Constant(whole.astype(np.int32)), shift=MEMBRANE_BITS)


def _in_units(constant: Constant, places: Ints, shape: tuple[int, ...]) -> Constant:
    """R(2^places·p) of a parameter, with an axis of channels."""
    value = constant.array.astype(np.float64)
    if value.ndim not in (3, 4):
        return Constant(round_half_even(np.ldexp(value, places)))
    return Constant(round_half_even(np.ldexp(value, places[:, None, None])))


class RealCurrents(Currents):
    """What flows into a population that :func:`in_integers` scaled by 2^F, or into a readout.

    A constant current 2^5 times as large as all else that a step can bring decides alone, and is cut to that.
    """

    def __init__(self, network: Network, node: int, clock: Clock, timed: set[int], places: Ints) -> None:
        """``places`` is F [C]."""
        self._fires = isinstance(network.op(node), IfNeuron)
        self._most = min(1 << 52, (1 << 61) >> clock.length.bit_length())
        super().__init__(clock, network.type(node).shape, parts_of(network, node, clock, timed))
        self._channels, self._places = places, np.tile(places, self.grid.width)

    def _largest_still(self) -> int:
        return self._most

    def constant(self, signals: Mapping[int, Array], samples: int) -> Array:
        """What the constant parts add at every step [N, H, W·C]: integers, or reals into a readout."""
        if not self._still:
            return np.zeros((1, 1, self.row), np.int64 if self._fires else np.float64)
        total = np.zeros((samples, *self.shape))
        for source, part in self._still:
            # one by one: BLAS may add up a larger batch in another order
            rows = [weigh(part.op, signals[source][n : n + 1], len(part.shape), 0) for n in range(samples)]
            total += np.concatenate(rows) if rows else 0.0
        still = channel_last(total, self.shape).reshape(samples, self.grid.height, self.row)
        if not self._fires:
            return still
        units = np.ldexp(still, self._places + MEMBRANE_BITS)
        return round_half_even(np.clip(units, 1 - self._most, self._most - 1))

    @property
    def kind(self) -> npt.DTypeLike:
        """See :class:`Currents`."""
        return np.float64

    def whole(self, z: Array) -> Array:
        """See :class:`Currents`."""
        return np.ldexp(z.astype(np.float64), -self._channels)

    def membranes(self, rows: Array) -> Array:
        """See :class:`Currents`."""
        return np.ldexp(rows.astype(np.float64), -self._places - MEMBRANE_BITS)
