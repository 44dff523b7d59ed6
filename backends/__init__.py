"""Simulators and emitters; the registry of the emitters."""

from __future__ import annotations

if __name__ != "snnc.backends":
    raise ImportError("import snnc.backends: this folder is that package, 'backends' would be a second copy")

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnc.backends.base import Backend


@functools.cache
def registry() -> dict[str, type[Backend[Any]]]:
    """The emitters by name. Imported when asked for: simulators have no use for them."""
    from snnc.backends.loihi import Loihi
    from snnc.backends.netlist import NetlistFiles
    from snnc.backends.nir import Nir
    from snnc.backends.verilog import Verilog

    return {cls.name: cls for cls in (NetlistFiles, Verilog, Nir, Loihi)}


def build(text: str) -> tuple[Backend[Any], ...]:
    """The backends that a text ``name{option=value},…`` describes.

    Raises UsageError for malformed text, unknown backends or options.
    """
    from snnc.spec import bind_all

    return bind_all(text, registry(), kind="backend")
