"""What the Verilog backend takes, refuses, writes and reports."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Activity, Backend
from snnc.backends.netlist.model import InputPort, Netlist, Population
from snnc.backends.netlist.record import record
from snnc.backends.verilog import cost, folder
from snnc.backends.verilog.plan import Design
from snnc.backends.verilog.testbench import testbench
from snnc.diagnostics import Diagnostics

MOST_LANES = 64
MOST_FIFO = 1 << 16
WIDEST_WORD = 2048


@dataclasses.dataclass(frozen=True)
class Verilog(Backend[Netlist]):
    """An event-driven FPGA design with memory files, a self-checking testbench and a Makefile.

    ``lanes`` neurons of a population are updated at a time, a power of two. Every projection has a queue
    of ``fifo`` events. ``clock_mhz`` turns cycles into time; ``device`` is what ``make pnr`` aims at.
    """

    name: ClassVar[str] = "verilog"
    takes_events = True

    lanes: int = 8
    fifo: int = 16
    clock_mhz: float = 12.0
    device: Literal["hx8k", "up5k"] = "hx8k"

    def validate(self, subject: Netlist, diagnostics: Diagnostics) -> None:
        """See :class:`snnc.backends.base.Backend`."""
        for option, value, most in (("lanes", self.lanes, MOST_LANES), ("fifo", self.fifo, MOST_FIFO)):
            least = 1 if option == "lanes" else 2
            if not least <= value <= most or value & (value - 1):
                message = f"{option}={value} is not a power of two within {least} and {most}"
                diagnostics.error("SNNC0154", message, remedy=f"use {option}={8 if least == 1 else 16}")
        if not self.clock_mhz > 0:
            diagnostics.error("SNNC0154", f"clock_mhz={self.clock_mhz} is not positive")
        for population in subject.populations:
            self._validate_population(subject, population, diagnostics)

    def _validate_population(
        self, netlist: Netlist, population: Population, diagnostics: Diagnostics
    ) -> None:
        def refuse(message: str, remedy: str, code: str = "SNNC0131") -> None:
            diagnostics.error(code, f"{message} (verilog)", where=population.origin, remedy=remedy)

        if not re.fullmatch("[a-z][a-z0-9_]*", population.name):
            refuse(f"{population.name!r} is no name for a module", "lower the network again", "SNNC0161")
        if population.gate == "leading" and netlist.schedule == "rate":
            refuse("a max pool passes its leading input", "use lower-pooling{max=count-max}, which is exact")
        if population.kind != "max" and not population.acc_bits:
            refuse("the width of a membrane is not proved", "add legalize to the pipeline", "SNNC0130")
        word = self.lanes * population.acc_bits
        if word > WIDEST_WORD:
            refuse(
                f"{self.lanes} lanes of {population.acc_bits} bits make words of {word} bits, "
                f"more than {WIDEST_WORD}",
                f"use lanes={1 << (WIDEST_WORD // population.acc_bits).bit_length() - 1} or fewer",
            )
        sources = (netlist.nodes[p.source] for p in netlist.incoming(population.name))
        retracts = any(isinstance(s, Population) and s.signed for s in sources)
        if population.kind == "max" and retracts and netlist.schedule == "rate":
            refuse(
                "max pools keep the largest count only, which spikes that are taken back may lessen",
                "use spikes=single, or --schedule layerwise",
            )
        for projection in netlist.incoming(population.name):
            if projection.register is not None:
                refuse("currents are rounded into a register", "compile for target=generic")
            if projection.delay:
                refuse(
                    f"a projection is late by {projection.delay} steps, and queues hold no whole steps",
                    "remove the delay: populations work within the same step",
                )

    def emit(self, subject: Netlist, activity: Activity) -> dict[str, bytes]:
        """See :class:`snnc.backends.base.Backend`."""
        design = self.design(subject)
        return folder.files(design, self.device) | self.testbench(subject, vectors(subject, activity))

    def testbench(self, netlist: Netlist, samples: Mapping[str, npt.NDArray[Any]]) -> dict[str, bytes]:
        """The files of the testbench for samples, by input name and in the user's layout."""
        return testbench(self.design(netlist), record(netlist, samples), "snn")

    def design(self, netlist: Netlist) -> Design:
        """The netlist as hardware with these options."""
        return Design(netlist, self.lanes, self.fifo)

    def cost(self, subject: Netlist, activity: Activity) -> dict[str, Any]:
        """See :class:`snnc.backends.base.Backend`."""
        design = self.design(subject)
        recording = record(subject, vectors(subject, activity))
        return cost.section(design, recording, self.clock_mhz, calibrated=bool(activity.samples))


def vectors(netlist: Netlist, activity: Activity) -> dict[str, npt.NDArray[Any]]:
    """One sample for the testbench: of the calibration data, or of random codes if there are none."""
    if activity.samples:
        return {name: np.asarray(x[:1]) for name, x in activity.samples.items()}
    return {port.input: _random(port, netlist.steps) for port in netlist.inputs}


def _random(port: InputPort, steps: int) -> npt.NDArray[Any]:
    if port.coding == "events":
        shape = (1, steps, *port.array_shape)
        return np.random.default_rng(0).integers(0, port.max_count + 1, shape)
    low = -(1 << (port.bits - 1)) if port.signed else 0
    codes = np.random.default_rng(0).integers(low, low + (1 << port.bits), (1, *port.array_shape))
    return codes * port.scale
