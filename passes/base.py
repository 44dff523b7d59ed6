"""What a pass is, and what it can promise."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, ClassVar

from snnc.diagnostics import CompileError
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import Level
from snnc.ir.schedule import Schedule


class Promise(enum.Enum):
    """What a pass preserves; the pipeline proves it after every run (docs/semantics.md §8)."""

    SAME_FUNCTION = "same function"
    CLIPPED_RATES = "rates of the clipped ANN"
    SAME_SPIKES = "same spikes"
    APPROXIMATE = "approximate, measured"


@dataclasses.dataclass(frozen=True)
class Pass:
    """A transformation of a network. Subclasses are frozen dataclasses whose fields are its options.

    Pipeline text, help and defaults derive from the fields; a field named with a trailing underscore
    is an option that is a Python keyword (``lambda_``).
    """

    name: ClassVar[str]
    promise: ClassVar[Promise]
    level: ClassVar[Level]

    def apply(self, network: Network, context: Context) -> Network:
        """The transformed network; ``network`` itself is left as it is.

        Raises CompileError if the network or the options do not allow the transformation.
        """
        raise NotImplementedError

    def check_options(self) -> None:
        """Raise CompileError (SNNC0154) for options out of range; called before any pass runs."""
        return

    def check_schedule(self, schedule: Schedule, steps: int) -> None:
        """Raise CompileError (SNNC0155) where the pass means nothing under a schedule of T = ``steps``.

        Called before any pass runs where spikify stands before it in the pipeline.
        """
        return

    def require_schedule(self, network: Network) -> None:
        """Raise CompileError where the pass means nothing under the network's own schedule."""
        if network.schedule is not None and network.steps is not None:
            self.check_schedule(network.schedule, network.steps)

    def options(self) -> dict[str, Any]:
        """Option names as written in pipeline text, and their values."""
        return {f.name.rstrip("_"): getattr(self, f.name) for f in dataclasses.fields(self)}

    def guarantee(self) -> Promise:
        """What this pass promises with the options it has."""
        return self.promise

    def require_level(self, network: Network) -> None:
        """Raise CompileError unless the network is at this pass's level."""
        if network.level != self.level:
            raise CompileError.of(
                "SNNC0155",
                f"pass {self.name} takes a network at the {self.level} level, this one is at the "
                f"{network.level} level",
                remedy="check the order of the passes: spikify makes snn, quantize makes int",
            )
