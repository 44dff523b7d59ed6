"""The backend that writes model.nir."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import ClassVar, Literal

from snnc.backends.base import Activity, Backend
from snnc.backends.netlist.model import Netlist
from snnc.backends.nir.check import check
from snnc.backends.nir.consumers import consumers
from snnc.backends.nir.graph import DT, build
from snnc.backends.nir.write import to_bytes
from snnc.diagnostics import Diagnostics
from snnc.interop.metadata import Dialect, InputCodes, Meaning, Metadata

FILE = "model.nir"


@dataclasses.dataclass(frozen=True)
class Nir(Backend[Netlist]):
    """model.nir, for the tools that read the Neuromorphic Intermediate Representation.

    NIR's IF and LIF are reset to zero. A network with soft reset is written with explicit-soft-reset, or
    with meaning=metadata: then the neurons stand for what the metadata say, and snnc.interop loads them
    so. docs/interop.md says which tool runs which.
    """

    name: ClassVar[str] = "nir"

    dialect: Dialect = "if"
    meaning: Meaning = "nir"

    def validate(self, subject: Netlist, diagnostics: Diagnostics) -> None:
        """Refuse what NIR or its importers would change, and say what the file leaves to its reader."""
        if importlib.util.find_spec("nir") is None:
            diagnostics.error("SNNC0163", "the package nir is missing", remedy="pip install 'snnc[nir]'")
        before = len(diagnostics.items)
        check(subject, self.dialect, self.meaning, diagnostics)
        if len(diagnostics.items) > before:
            return
        diagnostics.note(
            "SNNC0136",
            f"{FILE} takes the input's integer codes, the same at each of {subject.steps} steps; the answer "
            "is the sum of its outputs over the steps",
            remedy="snnc.interop.codes makes the codes of an array",
        )
        if self.meaning == "metadata" and _neuron(subject)[0] == "subtract":
            diagnostics.warning(
                "SNNC0136",
                f"{FILE} writes neurons with soft reset as {self.dialect.upper()}, which NIR resets to zero",
                remedy="load it with snnc.interop: what ignores its metadata computes another network",
            )

    def emit(self, subject: Netlist, activity: Activity) -> Mapping[str, bytes]:
        """The file."""
        return {FILE: to_bytes(build(subject, self.dialect), self._metadata(subject).items())}

    def _metadata(self, netlist: Netlist) -> Metadata:
        (port,), (output,) = netlist.inputs, netlist.outputs
        reset, compare = _neuron(netlist)
        readout = netlist.populations[-1]
        return Metadata(
            network=netlist.name,
            dialect=self.dialect,
            meaning=self.meaning,
            T=netlist.steps,
            dt=DT,
            reset=reset,
            compare=compare,
            bits=max(p.weights.bits for p in netlist.projections if p.weights is not None),
            input=InputCodes(
                name=port.input,
                shape=port.shape,
                array_shape=port.array_shape,
                perm=port.perm,
                dtype=port.dtype,
                bits=port.bits,
                signed=port.signed,
                scale=port.scale,
            ),
            output={
                "name": output.name,
                "activation": output.activation,
                "unit": readout.unit[0],
                "shape": readout.shape,
            },
            populations={
                p.name: {"origin": p.origin, "source": p.source, "unit": p.unit, "shape": p.shape}
                for p in netlist.populations
            },
            consumers=consumers(self.dialect),
        )


def _neuron(netlist: Netlist) -> tuple[Literal["subtract", "zero"], Literal["ge", "gt"]]:
    """Reset and comparison, the same in every population of a netlist that passed the checks."""
    return next(((p.reset, p.compare) for p in netlist.populations if p.kind == "if"), ("subtract", "ge"))
