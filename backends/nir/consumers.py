"""What the known importers make of a file, for its metadata; docs/interop.md shows the measurements."""

from __future__ import annotations

from snnc.interop.metadata import Dialect

_IMPORTERS: dict[Dialect, dict[str, str]] = {
    "if": {
        "spikingjelly": "exact",
        "sinabs": "exact",
        "norse": "exact for reset to zero, which is all it has",
        "snntorch": "reads IF as a neuron with leak: export with dialect=lif",
        "nirtorch": "has no IF of its own: export with dialect=explicit-soft-reset",
    },
    "lif": {
        "spikingjelly": "exact",
        "sinabs": "does not read it: export with dialect=if",
        "norse": "divides the current by tau and never fires: export with dialect=if",
        "snntorch": "exact for reset to zero",
        "nirtorch": "has no LIF of its own: export with dialect=explicit-soft-reset",
    },
    "explicit-soft-reset": {
        "spikingjelly": "does not read I and Threshold: export with meaning=metadata",
        "sinabs": "does not read I and Threshold: export with meaning=metadata",
        "norse": "does not read I and Threshold",
        "snntorch": "does not read I and Threshold",
        "nirtorch": "exact",
    },
}


def consumers(dialect: Dialect) -> dict[str, str]:
    """A sentence for each importer; exact means spike for spike, loaded with snnc.interop."""
    return _IMPORTERS[dialect]
