"""Current normalisation (ECC Eq. 7-8).

    W ← κ·(λ_src/λ_dst)·W    b ← κ·b/λ_dst    θ ← κ·θ/λ_dst    amplitude ← 1

λ_src is the amplitude of the spikes that arrive, λ_dst the population's own λ. κ = 1 is weight
normalisation (Rueckauer 2017); the paper takes κ = 100. The spikes do not depend on κ: every
membrane and threshold is scaled alike. A readout has no λ and no threshold, so only the λ_src
of its weights is moved.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats, align
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import ONE, IfNeuron, Level, MaxGate, Readout
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

    def apply(self, network: Network, context: Context) -> Network:
        """The normalised network: amplitudes are 1."""
        self.require_level(network)
        if not self.kappa > 0:
            raise CompileError.of("SNNC0154", f"normalize-currents needs kappa > 0, not {self.kappa}")
        result = network.copy()
        for population in network.of(IfNeuron, Readout):
            op = network.op(population)
            for node in incoming(network, population):
                weight = _with_gain(network, node)
                if isinstance(op, IfNeuron):
                    weight = self._weight_in_units(weight, op.unit.array)
                result.set(node, network.op(node).replace(weight=Constant(weight)))
            if isinstance(op, IfNeuron):
                result.set(population, self._scaled(op))
        for gate in network.of(MaxGate):
            result.set(gate, result.op(gate).replace(amplitude=ONE))
        return result

    def _weight_in_units(self, weight: Floats, unit: Floats) -> Floats:
        if unit.ndim and not weight.ndim:
            weight = np.full(unit.shape, weight)
        return np.asarray(weight / align(unit, weight) * self.kappa)

    def _scaled(self, op: IfNeuron) -> IfNeuron:
        zero = np.zeros(())
        return op.replace(
            threshold=Constant(self._in_units(op.threshold.array, op.unit.array)),
            bias=Constant(self._in_units(op.bias.array, op.unit.array)),
            v_init=Constant(
                self._in_units(op.v_init.array, op.unit.array) if op.v_init.array.any() else zero
            ),
            amplitude=ONE,
        )

    def _in_units(self, value: Floats, unit: Floats) -> Floats:
        """κ·value/λ; dividing first gives κ exactly where the value was λ."""
        return np.asarray(np.divide(*aligned(value, unit)) * self.kappa)


def _with_gain(network: Network, node: int) -> Floats:
    """The weights for spikes of amplitude 1."""
    gain = operand_gain(network, node, lambda n: amplitude_of(network, n))
    return np.asarray(scale_operand(network, node, gain).array, np.float64)
