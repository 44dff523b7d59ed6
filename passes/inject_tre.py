"""Thresholding for residual elimination (ECC Eq. 9).

Charge that stays in a membrane after the last step is lost; adding η·θ over the run shifts the
error's range from [0, θ) to less than (½ + |½ − η|)·θ either way (Proposition 2, for constant
currents within [0, θ]):

    b(t) ← b(t) + η·θ/N        (as=bias, the paper's form)
    v_init ← v_init + η·θ      (as=potential: the same counts for constant current, not the same spikes)

Of r neurons that stand for one activation together, the i-th takes (i + η)/r instead of η.
Only IF populations take it: not readouts, linear edges with their signed spikes, max gates or input encoders.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, Level
from snnc.ir.projections import incoming, is_identity, paths
from snnc.passes.base import Pass, Promise
from snnc.passes.form_projections import aligned


@dataclasses.dataclass(frozen=True)
class InjectTre(Pass):
    """Add η·θ to every membrane over the run (ECC Eq. 9)."""

    name: ClassVar[str] = "inject-tre"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "snn"

    eta: float = 0.5
    as_: Literal["bias", "potential"] = "bias"

    def check_options(self) -> None:
        """0 ≤ eta < 1."""
        if not 0 <= self.eta < 1:
            raise CompileError.of("SNNC0154", f"inject-tre needs 0 ≤ eta < 1, not {self.eta}")

    def apply(self, network: Network, context: Context) -> Network:
        """The network with residual elimination."""
        self.require_level(network)
        result = network.copy()
        for node in network.of(IfNeuron):
            op = network.op(node)
            assert isinstance(op, IfNeuron)
            if not op.negative and not is_encoder(network, node):
                share = op.shares(self.eta, network.type(node).shape[0])
                result.set(node, self._inject(op, share, network.full_count))
        return result

    def _inject(self, op: IfNeuron, share: Floats, full: int) -> IfNeuron:
        if self.as_ == "potential":
            threshold = op.threshold.array
            # a threshold that varies in time starts with its first value
            first = threshold[0] if threshold.ndim == 2 else threshold
            return op.replace(v_init=Constant(op.v_init.array + share * first))
        extra = np.multiply(*aligned(op.threshold.array, share)) / full
        return op.replace(bias=Constant(np.add(*aligned(op.bias.array, extra))))


def is_encoder(network: Network, node: int) -> bool:
    """Whether a population only turns an input into spikes."""
    weighted = incoming(network, node)
    return all(
        is_identity(network.op(w)) and all(isinstance(network.op(p.source), Input) for p in paths(network, w))
        for w in weighted
    )
