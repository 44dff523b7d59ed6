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
from snnc.ir.ops import ONE, IfNeuron, Level, MaxGate, Readout, Weighted
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
            factor = self.kappa / op.unit.array if isinstance(op, IfNeuron) else np.ones(())
            for node in incoming(network, population):
                self._scale_weights(network, result, node, factor)
            if isinstance(op, IfNeuron):
                result.set(population, self._scaled(op, factor))
        for gate in network.of(MaxGate):
            result.set(gate, result.op(gate).replace(amplitude=ONE))
        return result

    def _scale_weights(self, network: Network, result: Network, node: int, factor: Floats) -> None:
        op = network.op(node)
        assert isinstance(op, Weighted)
        gain = operand_gain(network, node, lambda n: amplitude_of(network, n))
        weight = scale_operand(network, node, gain).array
        if factor.ndim and not weight.ndim:
            weight = np.full(factor.shape, weight)
        result.set(node, op.replace(weight=Constant(align(factor, weight) * weight)))

    def _scaled(self, op: IfNeuron, factor: Floats) -> IfNeuron:
        """The population with its parameters times ``factor`` = κ/λ, [] or [C]."""
        # dividing first gives θ = κ exactly where θ was λ
        threshold = self.kappa * np.divide(*aligned(op.threshold.array, op.unit.array))
        v_init = np.multiply(*aligned(op.v_init.array, factor)) if op.v_init.array.any() else np.zeros(())
        return op.replace(
            threshold=Constant(threshold),
            bias=Constant(np.multiply(*aligned(op.bias.array, factor))),
            v_init=Constant(v_init),
            amplitude=ONE,
        )
