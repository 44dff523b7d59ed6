"""Co-simulation: the Verilog of an artifact against its netlist, on a user's data."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from snnc import artifact, backends
from snnc.diagnostics import CompileError, UsageError

if TYPE_CHECKING:
    from snnc.backends.verilog import Verilog
    from snnc.backends.verilog.simulation import Outcome, Simulator

_PARTS = ("rtl", "mem", "tb", "Makefile")


def cosimulate(
    out: str | os.PathLike[str],
    samples: Mapping[str, npt.NDArray[Any]],
    *,
    simulator: Simulator = "icarus",
) -> Outcome:
    """Run ``samples``, by input name, through the testbench of an artifact and compare everything.

    Raises CompileError: SNNC0161 if a file was changed or there is no Verilog, SNNC0132 at the first
    difference between hardware and netlist. Raises UsageError (SNNC0163) if a program is missing.
    """
    from snnc.backends.netlist import load_netlist
    from snnc.backends.verilog import simulation

    folder = pathlib.Path(out)
    manifest = artifact.verify_artifact(folder)
    verilog = _verilog(manifest, folder)
    simulation.require(simulator)
    netlist = load_netlist(folder)
    design = verilog.design(netlist)
    with tempfile.TemporaryDirectory(prefix="snnc-cosim-") as work:
        place = pathlib.Path(work)
        for part in _PARTS:
            source = folder / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place / part)
        for name, content in verilog.testbench(netlist, samples).items():
            (place / name).write_bytes(content)
        outcome = simulation.simulate(place, design, simulator)
    if outcome.difference is not None:
        origin = next((p.origin for p in netlist.populations if p.name == outcome.difference.unit), ())
        raise CompileError.of("SNNC0132", str(outcome.difference), where=origin)
    for sample, (cycles, predicted) in enumerate(zip(outcome.cycles, outcome.predicted, strict=True)):
        if cycles != predicted:
            message = f"sample {sample} took {cycles} cycles, the model says {predicted}"
            raise CompileError.of("SNNC0132", message)
    for unit, cycles in outcome.work.items():
        if cycles != outcome.foretold[unit]:
            message = f"{unit} worked {cycles} cycles, the formula says {outcome.foretold[unit]}"
            raise CompileError.of("SNNC0132", message)
    return outcome


def _verilog(manifest: Mapping[str, Any], folder: pathlib.Path) -> Verilog:
    """The backend, with the options it was run with."""
    from snnc.backends.verilog import Verilog

    for text in manifest["backends"]:
        for backend in backends.build(text):
            if isinstance(backend, Verilog):
                return backend
    raise UsageError.of(
        "SNNC0164", f"{folder} holds no Verilog", remedy="compile with --backend 'verilog{lanes=8}'"
    )
