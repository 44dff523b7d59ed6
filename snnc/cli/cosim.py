"""``snnc cosim``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from snnc.cli.options import common, memory_option
from snnc.cli.run import data_option
from snnc.cli.terminal import show
from snnc.diagnostics import Diagnostics

if TYPE_CHECKING:
    from snnc.backends.verilog.simulation import Outcome


@click.command()
@click.argument("out", metavar="OUT")
@data_option
@click.option(
    "--limit", type=click.IntRange(1), default=1, show_default=True, help="How many samples to run."
)
@click.option(
    "--simulator",
    type=click.Choice(["icarus", "verilator"]),
    default="icarus",
    show_default=True,
    help="Icarus starts at once; Verilator compiles first and then is faster.",
)
@memory_option
@common
def cosim(out: str, data_file: str, limit: int, simulator: Any, max_memory: int) -> None:
    """Run the Verilog of a compiled network in a simulator and compare it with the netlist.

    Every spike of every population at every step, the last membranes, the class and the cycles of work
    have to be equal; the first difference is an error that names it.
    """
    import numpy as np

    from snnc import data
    from snnc.compiled import load
    from snnc.cosim import cosimulate

    network = load(out).network
    dataset = data.evaluation(data_file, network, Diagnostics(), limit=limit, max_memory=max_memory)
    samples = {name: np.asarray(x) for name, x in dataset.inputs.items()}
    _show(cosimulate(out, samples, simulator=simulator))


def _show(outcome: Outcome) -> None:
    from snnc.backends.report.table import table

    samples = len(outcome.cycles)
    rows = [
        [unit, f"{cycles / samples:.0f}", f"{outcome.foretold[unit] / samples:.0f}"]
        for unit, cycles in outcome.work.items()
    ]
    head = (("population", "left"), ("cycles of work", "right"), ("by formula", "right"))
    show(table(head, rows))
    latency = sum(outcome.cycles) / samples
    cycles = f"{latency:.0f} cycles from first event to class, as predicted"
    click.echo(f"{samples} samples, every spike equal; {cycles}")
