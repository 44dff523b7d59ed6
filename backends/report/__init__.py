"""The report of a compilation: what each layer is, what it loses against the ANN, what a run costs."""

from __future__ import annotations

from snnc.backends.report.build import build
from snnc.backends.report.table import render

__all__ = ["build", "render"]
