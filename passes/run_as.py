"""Runs a spiking network under another neuron model, or for another number of steps.

Reset to zero and a strict comparison are what NIR's neurons have and what many networks were trained
with (docs/semantics.md §2):

    s(t) = [u > θ]  instead of  [u ≥ θ]        V(t) = (1 − s(t))·u  instead of  u − θ·s(t)

With ``spikes=signed`` a neuron takes back what it sent too early (Wang 2022, "signed neuron with memory";
Li 2022): it keeps the sum n of its spikes, and

    s(t) = −1 if u < −θ/2 and n(t−1) > 0

so that n never falls below 0 and the activation remains a ReLU. Nearer to 0, where Li has the lower
threshold, spikes go back and forth; at Wang's −θ, more of what is too much stays.

The weights stay as they are. A network converted from an ANN loses accuracy under reset to zero, for
the charge above θ is lost with every spike; a network that was trained so loses it under soft reset.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from snnc.diagnostics import CompileError
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Level, Readout, has_time
from snnc.ir.schedule import Schedule
from snnc.passes.base import Pass, Promise


@dataclasses.dataclass(frozen=True)
class RunAs(Pass):
    """Set reset, comparison, spikes and number of steps of a spiking network; what is not given stays."""

    name: ClassVar[str] = "run-as"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "snn"

    reset: Literal["subtract", "zero"] | None = None
    compare: Literal["ge", "gt"] | None = None
    spikes: Literal["single", "signed"] | None = None
    T: int | None = None

    def require_level(self, network: Network) -> None:
        """Integers are as good as real numbers: nothing here depends on them."""
        if network.level != "int":
            super().require_level(network)

    def check_schedule(self, schedule: Schedule, steps: int) -> None:
        """Signed spikes under ``rate`` alone."""
        if self.spikes == "signed" and schedule != "rate":
            raise CompileError.of(
                "SNNC0155",
                f"neurons fire once all has arrived under {schedule}, and have nothing to take back",
                remedy="use the schedule rate, or spikes=single",
            )

    def apply(self, network: Network, context: Context) -> Network:
        """The network with other neurons."""
        self.require_level(network)
        self.require_schedule(network)
        changes = {"reset": self.reset, "compare": self.compare}
        given = {name: value for name, value in changes.items() if value is not None}
        result = network.copy()
        for node in network.of(IfNeuron):
            op = network.op(node)
            assert isinstance(op, IfNeuron)
            op = op.replace(**given, **self._signs(op, network))
            if op.signed and op.reset == "zero":
                raise CompileError.of("SNNC0154", "a signed population has no reset to zero", where=op.origin)
            result.set(node, op)
        if self.T is not None:
            self._set_steps(result, self.T)
        return result

    def _signs(self, op: IfNeuron, network: Network) -> dict[str, bool]:
        """A linear edge keeps its signed spikes, whatever the other populations have."""
        if self.spikes is None or op.negative:
            return {}
        takes_back = self.spikes == "signed"
        return {"signed": takes_back, "rectified": takes_back}

    def _set_steps(self, network: Network, steps: int) -> None:
        for node in network.of(IfNeuron, Readout):
            op = network.op(node)
            timed = [n for n in ("bias", "threshold") if (c := getattr(op, n, None)) and has_time(c)]
            if timed and steps != network.steps:
                raise CompileError.of(
                    "SNNC0154",
                    f"the {timed[0]} is given for {network.steps} steps, not for T={steps}",
                    where=op.origin,
                )
        network.steps = steps
