"""What of a model is supported, node by node, before anything is calibrated or converted."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from snnc import frontend
from snnc.calibrate import CompileContext
from snnc.diagnostics import CompileError, Diagnostics, HeldBack
from snnc.estimate import Largest
from snnc.ir.network import Network
from snnc.passes import PRESETS, build

if TYPE_CHECKING:
    from snnc.frontend import Limits, NodeSupport
    from snnc.frontend.loader import Source


def support(model: Source, diagnostics: Diagnostics, limits: Limits) -> list[NodeSupport]:
    """What becomes of each ONNX node, in the model's order: when it is read, and when it is made to spike.

    Problems are recorded in ``diagnostics``. Raises CompileError or UsageError if there is no model.
    """
    rows, network = frontend.inspect(model, diagnostics, limits=limits)
    if network.level != "ann" or any(d.severity == "error" for d in diagnostics.items):
        return rows
    try:
        _make_spike(network)
    except CompileError as error:
        diagnostics.items += error.diagnostics
        reasons = {name: fault.message for fault in error.diagnostics for name in fault.where}
        refused = (r for r in rows if r.name in reasons)
        worse = {r.name: dataclasses.replace(r, status="refused", reason=reasons[r.name]) for r in refused}
        rows = [worse.get(row.name, row) for row in rows]
    return rows


def _make_spike(network: Network) -> None:
    """Run what the default preset does before weights are quantized. Raises CompileError."""
    context = _Unseen(HeldBack())
    for step in itertools.takewhile(lambda step: "bits" not in step.options(), build(PRESETS["default"], {})):
        network = step.apply(network, context)


class _Unseen(CompileContext):
    """There are no data, and whether a network can spike depends on none: every activation may reach 1."""

    def estimate(self, network: Network, nodes: Sequence[int], *, per_channel: bool) -> Mapping[int, Largest]:
        """λ = 1 everywhere."""
        return {n: Largest(np.ones(network.type(n).shape[0] if per_channel else 1)) for n in nodes}
