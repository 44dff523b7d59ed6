"""The backend ``loihi``: placement.json, and what every core holds and exchanges in the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from snnc.backends.base import Activity, Backend
from snnc.backends.loihi.place import Piece, Placement, Use, limits, place, total
from snnc.backends.netlist.model import Netlist, Population
from snnc.diagnostics import CompileError, Diagnostics
from snnc.targets import Chip, load_target

FORMAT, VERSION = "snnc-placement", 1


@dataclasses.dataclass(frozen=True)
class Loihi(Backend[Netlist]):
    """Which core holds which neurons, for a network compiled with --target loihi or loihi2."""

    name: ClassVar[str] = "loihi"

    chip: Literal["loihi", "loihi2"] = "loihi"

    def validate(self, netlist: Netlist, diagnostics: Diagnostics) -> None:
        """Report what is not in the chip's arithmetic, or else what does not fit onto its cores."""
        for population in netlist.populations:
            for fault in _faults(netlist, population):
                diagnostics.error(
                    "SNNC0131",
                    f"not in the chip's arithmetic: {fault}",
                    where=population.origin,
                    remedy=f"compile with --target {self.chip}, or with --preset {self.chip}",
                )
        if not any(d.severity == "error" for d in diagnostics.items):
            place(netlist, self._limits, {}, diagnostics)

    def emit(self, netlist: Netlist, activity: Activity) -> dict[str, bytes]:
        """placement.json: every core's tiles and what they use."""
        placement = self._place(netlist, activity)
        cores = [
            {
                "core": number,
                "chip": number // self._limits.cores,
                "uses": _named(total(piece.use for piece in pieces)),
                "tiles": [_tile(netlist, piece) for piece in pieces],
            }
            for number, pieces in enumerate(_by_core(placement))
        ]
        content = {
            "format": FORMAT,
            "version": VERSION,
            "target": self.chip,
            "limits": _limits(self._limits),
            "source": self._limits.source,
            "cores": cores,
        }
        text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
        return {"placement.json": f"{text}\n".encode("ascii")}

    def cost(self, netlist: Netlist, activity: Activity) -> Mapping[str, Any]:
        """Use of every resource and spikes in and out, per core and in total; spikes only if counted."""
        placement = self._place(netlist, activity)
        counted = bool(activity.counts)
        sent, received, local = _exchanged(placement)
        cores = [
            {
                "core": number,
                "chip": number // self._limits.cores,
                **_named(total(piece.use for piece in pieces)),
                "spikes_in": received[number] if counted else None,
                "spikes_out": sent[number] if counted else None,
            }
            for number, pieces in enumerate(_by_core(placement))
        ]
        return {
            "target": self.chip,
            "cores": placement.cores,
            "chips": placement.chips,
            "limits": _limits(self._limits),
            "totals": _named(total(piece.use for piece in placement.pieces)),
            "spikes_between_cores": sum(sent) if counted else None,
            "spikes_within_cores": local if counted else None,
            "per_core": cores,
        }

    @property
    def _limits(self) -> Chip:
        chip = load_target(self.chip).chip
        assert chip is not None
        return chip

    def _place(self, netlist: Netlist, activity: Activity) -> Placement:
        found = Diagnostics()
        placement = place(netlist, self._limits, activity.counts, found)
        if placement is None:
            raise CompileError(found.items)
        return placement


def _faults(netlist: Netlist, population: Population) -> Iterator[str]:
    """Signs that legalization for the chip did not run."""
    if netlist.schedule != "rate":
        yield f"the schedule is {netlist.schedule}"
    if population.kind == "max":
        yield "max pools are no neurons of the chip"
    if population.kind == "if" and not (population.compare == "gt" and 0 < population.acc_bits <= 24):
        yield "a membrane wider than 24 bits, or a threshold that need not be exceeded"
    sources = {port.name for port in netlist.inputs}
    if any(not g.delay and g.source not in sources for g in netlist.incoming(population.name)):
        yield "a spike arrives in the step in which it is sent"


def _by_core(placement: Placement) -> list[list[Piece]]:
    cores: list[list[Piece]] = [[] for _ in range(placement.cores)]
    for piece in placement.pieces:
        cores[piece.core].append(piece)
    return cores


def _named(use: Use) -> dict[str, int]:
    fields = use._asdict()
    return {"compartments": fields.pop("neurons"), **fields}


def _limits(chip: Chip) -> dict[str, int | None]:
    finite = [None if most == float("inf") else int(most) for most in limits(chip)]
    return dict(zip(_named(Use(*[0] * len(finite))), finite, strict=True))


def _tile(netlist: Netlist, piece: Piece) -> dict[str, Any]:
    """Where a tile lies in its population: the span of every axis."""
    spans = piece.tile[: len(netlist.nodes[piece.population].shape)]
    return {
        "population": piece.population,
        "spans": [list(span) for span in spans],
        "neurons": piece.tile.size,
    }


def _exchanged(placement: Placement) -> tuple[list[float], list[float], float]:
    """Messages that leave and enter every core, and those that stay within one."""
    sent, received, local = [0.0] * placement.cores, [0.0] * placement.cores, 0.0
    core = [piece.core for piece in placement.pieces]
    for (a, b), messages in placement.traffic.messages.items():
        if core[a] == core[b]:
            local += messages
        else:
            sent[core[a]] += messages
            received[core[b]] += messages
    return sent, received, local
