"""The network as a NIR graph, for the tools that read it."""

from __future__ import annotations

from snnc.backends.nir.backend import Nir

__all__ = ["Nir"]
