"""Placement on the cores of Loihi: what goes where, what every core holds, and a netlist of the pieces."""

from __future__ import annotations

from snnc.backends.loihi.backend import Loihi
from snnc.backends.loihi.place import Placement, place
from snnc.backends.loihi.split import split

__all__ = ["Loihi", "Placement", "place", "split"]
