"""Current normalisation (ECC Eq. 7-8).

    W ← κ·(λ_src/λ_dst)·W    b ← κ·b/λ_dst    θ ← κ·θ/λ_dst    amplitude ← 1

λ_src is the amplitude of the spikes that arrive, λ_dst the population's own λ. κ = 1 is weight
normalisation (Rueckauer 2017); the paper takes κ = 100. The spikes do not depend on κ: every
membrane and threshold is scaled alike. A readout has no λ and no threshold, so only the λ_src
of its weights is moved.

With ``theta=balanced``, κ = λ_dst/λ_src for each population, which is threshold balancing (Sengupta
2019): weights stay as they are and thresholds differ. λ_src must be one number; at a join it is that
of the first projection, whose weights stay.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, align
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import ONE, IfNeuron, Input, Level, MaxGate, Readout
from snnc.ir.projections import incoming
from snnc.passes.base import Pass, Promise
from snnc.passes.form_projections import aligned
from snnc.passes.gains import operand_gain, scale_operand
from snnc.passes.spikify import amplitude_of


@dataclasses.dataclass(frozen=True)
class NormalizeCurrents(Pass):
    """Move amplitudes into the weights and set thresholds to κ (ECC Eq. 7-8)."""

    name: ClassVar[str] = "normalize-currents"
    promise: ClassVar[Promise] = Promise.SAME_SPIKES
    level: ClassVar[Level] = "snn"

    kappa: float = 100.0
    theta: Literal["kappa", "balanced"] = "kappa"

    def check_options(self) -> None:
        """A positive kappa."""
        if not self.kappa > 0:
            raise CompileError.of("SNNC0154", f"normalize-currents needs kappa > 0, not {self.kappa}")

    def apply(self, network: Network, context: Context) -> Network:
        """The normalised network: amplitudes are 1."""
        self.require_level(network)
        result = network.copy()
        for population in network.of(IfNeuron, Readout):
            op = network.op(population)
            kappa = self._kappa(network, population)
            for node in incoming(network, population):
                weight = _with_gain(network, node)
                if isinstance(op, IfNeuron):
                    weight = _weight_in_units(weight, op.unit.array, kappa)
                result.set(node, network.op(node).replace(weight=Constant(weight)))
            if isinstance(op, IfNeuron):
                result.set(population, _scaled(op, kappa))
        for gate in network.of(MaxGate):
            result.set(gate, result.op(gate).replace(amplitude=ONE))
        for node in network.of(Input):
            result.set(node, result.op(node).replace(amplitude=1.0))
        return result

    def _kappa(self, network: Network, population: int) -> Floats:
        """κ, or λ_dst/λ_src, [] or [C]."""
        op = network.op(population)
        if self.theta == "kappa" or not isinstance(op, IfNeuron):
            return np.asarray(self.kappa)
        first = incoming(network, population)[0]
        gain = operand_gain(network, first, lambda n: amplitude_of(network, n))
        known = gain[np.isfinite(gain)]
        if known.size and known.min() != known.max():
            raise CompileError.of(
                "SNNC0120",
                "threshold balancing needs spikes of one amplitude, here channels differ",
                where=op.origin,
                remedy="use theta=kappa: the spikes are the same",
            )
        return np.asarray(op.unit.array / (known.max() if known.size else 1.0))


def _weight_in_units(weight: Floats, unit: Floats, kappa: Floats) -> Floats:
    if max(unit.ndim, kappa.ndim) and not weight.ndim:
        weight = np.full(unit.shape, weight)
    return np.asarray(weight / align(unit, weight) * align(kappa, weight))


def _scaled(op: IfNeuron, kappa: Floats) -> IfNeuron:
    def in_units(value: Floats) -> Floats:
        """κ·value/λ; dividing first gives κ exactly where the value was λ."""
        return np.asarray(np.multiply(*aligned(np.divide(*aligned(value, op.unit.array)), kappa)))

    zero = np.zeros(())
    return op.replace(
        threshold=Constant(in_units(op.threshold.array)),
        bias=Constant(in_units(op.bias.array)),
        v_init=Constant(in_units(op.v_init.array) if op.v_init.array.any() else zero),
        amplitude=ONE,
    )


def _with_gain(network: Network, node: int) -> Floats:
    """The weights for spikes of amplitude 1."""
    gain = operand_gain(network, node, lambda n: amplitude_of(network, n))
    return np.asarray(scale_operand(network, node, gain).array, np.float64)
