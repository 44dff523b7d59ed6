"""What NIR, or its consumers, cannot say: every such thing is an error, all of them together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from snnc.backends.netlist.model import InputPort, Netlist, Population, SumPool
from snnc.backends.nir.fold import InexpressibleError, Linear, linear
from snnc.diagnostics import Diagnostics
from snnc.interop.metadata import Dialect, Meaning

EXACT_BITS = 25
"""Integers of so many bits, sign included, are exact in float32, in which consumers compute."""

WIDEST_THRESHOLD = 1 << 23
"""Thresholds stand half-way between integers: beyond, float32 has no halves."""

_CODE = "SNNC0135"


def check(netlist: Netlist, dialect: Dialect, meaning: Meaning, diagnostics: Diagnostics) -> None:
    """Record an error for everything about ``netlist`` that a file in this dialect would change."""
    if netlist.schedule != "rate":
        diagnostics.error(
            _CODE,
            f"NIR has neurons that fire as they integrate, and no schedule {netlist.schedule}",
            remedy="compile with --schedule rate",
        )
    for what, ports in (("input", netlist.inputs), ("output", netlist.outputs)):
        if len(ports) != 1:
            diagnostics.error(_CODE, f"a NIR file has one {what} for its importers, not {len(ports)}")
    variants = {(p.reset, p.compare) for p in netlist.populations if p.kind == "if"}
    if len(variants) > 1:
        diagnostics.error(_CODE, "the populations differ in reset or comparison", remedy="run run-as on all")
    for population in netlist.populations:
        faults = _kind_faults(population)
        if population.kind == "if" and not population.signed:
            faults = [*_neuron_faults(population), *_dialect_faults(population, dialect, meaning)]
        for message, remedy in (*faults, *_current_faults(netlist, population)):
            diagnostics.error(_CODE, message, where=population.origin, remedy=remedy)


Fault = tuple[str, str]


def _kind_faults(population: Population) -> list[Fault]:
    if population.kind == "max":
        return [("NIR has no max-pool population", "train with average pooling, or strides")]
    if population.rectified:
        return [("NIR has no neurons that take spikes back", "use spikes=single")]
    if population.signed:
        return [("NIR has no population of signed spikes", "put a ReLU on the linear edge")]
    return []


def _neuron_faults(population: Population) -> Iterator[Fault]:
    assert population.threshold is not None
    assert population.v_init is not None
    threshold = population.threshold.values
    if threshold.ndim in (2, 4):
        yield "NIR has no threshold that varies in time", ""
    elif (threshold != threshold.flat[0]).any():
        yield (
            "its channels have different thresholds, which importers refuse or ignore",
            "compile with --preset per-layer",
        )
    if threshold.max() >= WIDEST_THRESHOLD:
        yield "its threshold and a half are not exact in float32", "use fewer --bits"
    if population.v_init.values.any():
        yield "NIR has no initial membrane", "use inject-tre{as=bias} and --input current"
    if population.saturates:
        yield "NIR has no membrane that saturates", "compile without --acc-bits"
    if not 0 < population.acc_bits <= EXACT_BITS:
        bits = f"{population.acc_bits} bits" if population.acc_bits else "an unproved number of bits"
        yield (
            f"its membrane takes {bits}; consumers compute in float32, exact up to {EXACT_BITS}",
            "use fewer --bits or a smaller --T" if population.acc_bits else "add legalize to the pipeline",
        )


def _dialect_faults(population: Population, dialect: Dialect, meaning: Meaning) -> Iterator[Fault]:
    if dialect == "explicit-soft-reset" and population.reset != "subtract":
        yield "its reset is to zero, which this dialect does not say", "use nir{dialect=if}"
    if dialect != "explicit-soft-reset" and population.reset == "subtract" and meaning == "nir":
        yield (
            f"it is reset by subtraction, while NIR's {dialect.upper()} is reset to zero",
            f"use nir{{dialect=explicit-soft-reset}}; or nir{{dialect={dialect},meaning=metadata}} and "
            "snnc.interop to load the file; or compile with --preset per-layer --reset zero",
        )
    if dialect != "explicit-soft-reset" and (population.reset, population.compare) == ("subtract", "gt"):
        yield "its comparison is >, and importers that reset by subtraction compare with ≥", "--compare ge"


def _current_faults(netlist: Netlist, population: Population) -> Iterator[Fault]:
    if population.bias is not None:
        values = population.bias.values
        rows = values.reshape(*values.shape[:1], -1) if values.ndim else values.reshape(1, 1)
        if values.ndim in (2, 4):
            yield "NIR has no bias that varies in time", "use a constant bias"
        elif (rows != rows[:, :1]).any():
            yield (
                "its bias differs between positions of a channel",
                "normalise the input before the model, not inside of it",
            )
    projections = list(netlist.incoming(population.name))
    if population.kind == "readout" and len(projections) != 1:
        yield "its output is a sum, and importers take one edge into the output", ""
    for projection in projections:
        if projection.delay:
            yield "the delay of a projection is not exported", ""
        if population.kind == "max":
            continue
        try:
            parts = linear(netlist, projection)
        except InexpressibleError as error:
            yield str(error), ""
            continue
        if population.kind == "readout":
            yield from _output_faults(parts, netlist.nodes[projection.source])


def _output_faults(parts: Linear, source: InputPort | Population) -> Iterator[Fault]:
    """A readout's proved width is that of its sum over a run; the file's output is one step of it."""
    weights = parts.weights.weight
    reach = int(np.abs(weights).reshape(len(weights), -1).sum(axis=1).max())
    reach *= 1 if isinstance(source, Population) else 1 << source.bits
    if isinstance(parts.pool, SumPool):
        reach *= math.prod(parts.pool.kernel)
    if reach >= 1 << (EXACT_BITS - 1):
        yield f"its currents reach {reach}, beyond what float32 holds exactly", "use fewer --bits"
