"""How the input of a network that spikes already comes to it (docs/semantics.md §5).

A file of a spiking network says what its input injects, not how. As a ``current`` the array is injected at
every step; as ``events`` step t injects the counts of step t, x(t) ∈ {0, …, max_count}, as spikes do.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from snnc.diagnostics import CompileError
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import Input, Level
from snnc.passes.base import Pass, Promise
from snnc.passes.spikify import MOST_EVENTS


@dataclasses.dataclass(frozen=True)
class EncodeInput(Pass):
    """Say whether the inputs of a spiking network are constant currents or events."""

    name: ClassVar[str] = "encode-input"
    promise: ClassVar[Promise] = Promise.APPROXIMATE
    level: ClassVar[Level] = "snn"

    input: Literal["current", "rate", "events"] = "current"
    max_count: int = 15

    def check_options(self) -> None:
        """A count that a spike's type can hold; no encoder, which the network was not trained with."""
        if self.input == "rate":
            message = "a network that spikes already has its own encoder"
            raise CompileError.of("SNNC0154", message, remedy="use --input current or events")
        if not 1 <= self.max_count <= MOST_EVENTS:
            message = f"max_count must lie within 1 and {MOST_EVENTS}, not {self.max_count}"
            raise CompileError.of("SNNC0154", message)

    def apply(self, network: Network, context: Context) -> Network:
        """The network with inputs of events, or as it was."""
        self.require_level(network)
        result = network.copy()
        for node in network.of(Input) if self.input == "events" else ():
            op = network.op(node)
            assert isinstance(op, Input)
            result.set(node, op.replace(coding="events", max_count=self.max_count))
        return result
