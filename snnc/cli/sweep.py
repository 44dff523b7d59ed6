"""``snnc sweep``."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from snnc.cli.options import MOST_JOBS, Integers, base_request, common, request_options
from snnc.cli.run import data_option, limit_option
from snnc.cli.terminal import Terminal, show
from snnc.diagnostics import CompileError, Diagnostic, Diagnostics, SnncError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from snnc.sweep.bench import Bench, Row, Workbench
    from snnc.sweep.execute import Outcome
    from snnc.sweep.grid import Point
    from snnc.sweep.results import Results


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option(
    "--preset", "presets", default="default", show_default=True, metavar="NAME,…", help="What to compare."
)
@click.option("--bits", type=Integers(), default="8", show_default=True, help="Bits of a weight.")
@click.option("--T", "T", type=Integers(), help="Time steps.  [default: those of the schedule]")
@data_option
@limit_option
@request_options
@click.option("-o", "--output", metavar="DIR", help="Where results are.  [default: MODEL's stem + .sweep]")
@click.option(
    "--jobs", type=click.IntRange(1, MOST_JOBS), default=1, show_default=True, help="Local processes."
)
@click.option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster of this scheduler instead.")
@click.option("--front", metavar="NAME,…", default="accuracy,sops", show_default=True, help="Best in what.")
@click.option("--energy", metavar="NAME", default="loihi1", show_default=True, help="Whose prices to show.")
@click.option("--plot", type=click.Choice(["svg", "png"]), help="Draw accuracy over operations, too.")
@common
@click.pass_obj
def sweep(terminal: Terminal, /, model: str, **given: Any) -> None:
    """Compile a model in many ways, and compare accuracy, latency, operations, energy and memory.

    Every combination of presets, bits and T is measured. Rows are kept in the output folder as they come;
    the same command continues a sweep that was stopped. It holds sweep.csv and sweep.json at the end.
    """
    from snnc import cluster
    from snnc.sweep import plot
    from snnc.sweep.bench import prepare
    from snnc.sweep.front import front
    from snnc.sweep.grid import grid
    from snnc.sweep.results import Results, to_csv, to_document

    request = base_request(given)
    presets = [name.strip() for name in given["presets"].split(",") if name.strip()]
    points = grid(request, presets, given["bits"], given["T"] or ())
    costs = _objectives(given["front"].split(","), given["energy"])
    if given["plot"]:
        plot.check()
    if given["scheduler"] and given["jobs"] > 1:
        raise UsageError.of("SNNC0154", "--jobs are local processes, --scheduler runs elsewhere")
    if given["scheduler"]:
        cluster.connect(given["scheduler"]).close()
    results = Results(pathlib.Path(given["output"] or f"{pathlib.Path(model).stem}.sweep"))
    diagnostics = Diagnostics()
    bench = prepare(
        model,
        request,
        diagnostics,
        calibration=given["calib"],
        evaluation=given["data_file"],
        limit=given["limit"],
    )
    failures = _measure(terminal, bench, points, results, diagnostics, given)
    # presets may agree on a pipeline, and so on a row
    found = ((point, results.get(bench.key(point))) for point in points)
    rows = [{**row, "preset": point.preset} for point, row in found if row]
    if rows:
        best = front(rows, costs)
        marked = [{**row, "front": b} for row, b in zip(rows, best, strict=True)]
        results.write("sweep.csv", to_csv(marked))
        results.write("sweep.json", to_document(marked))
        if given["plot"]:
            results.write(f"sweep.{given['plot']}", plot.draw(rows, best, given["plot"]))
        _show(marked, given["energy"])
    if failures:
        raise CompileError(failures)


def _objectives(names: Sequence[str], energy: str) -> list[Callable[[Row], float]]:
    """What ``--front`` and ``--energy`` ask for. Raises UsageError for unknown names."""
    from snnc.spec import known
    from snnc.sweep.front import objectives
    from snnc.targets import load_energy_prices

    prices = [entry.name for entry in load_energy_prices()]
    if energy not in prices:
        remedy = known(energy, prices)
        raise UsageError.of("SNNC0153", f"there are no energy prices {energy!r}", remedy=remedy)
    table = objectives(energy)
    for name in names:
        if name not in table:
            raise UsageError.of("SNNC0153", f"unknown objective {name!r}", remedy=known(name, table))
    return [table[name] for name in names]


def _measure(
    terminal: Terminal,
    bench: Bench,
    points: Sequence[Point],
    results: Results,
    diagnostics: Diagnostics,
    given: dict[str, Any],
) -> list[Diagnostic]:
    """Measure and store what is not there yet; returns the problems of points that have none."""
    from snnc.sweep.bench import Workbench, rehearse

    left = [point for point in points if results.get(bench.key(point)) is None]
    if not left:
        return []
    failures: list[Diagnostic] = []
    with terminal.progress("sweeping") as progress:
        workbench = Workbench(bench, diagnostics)
        rehearse(workbench, left)
        for done, (point, outcome) in enumerate(_outcomes(workbench, left, given), 1):
            if isinstance(outcome, SnncError):
                failures += [replace(d, message=f"{point.label}: {d.message}") for d in outcome.diagnostics]
            else:
                results.add(bench.key(point), outcome)
            progress(len(points) - len(left) + done, len(points))
    return failures


def _outcomes(workbench: Workbench, points: Sequence[Point], given: dict[str, Any]) -> Iterator[Outcome]:
    from snnc.sweep import execute

    if given["scheduler"]:
        return execute.on_cluster(workbench.bench, points, given["scheduler"])
    if given["jobs"] > 1:
        return execute.in_processes(workbench.bench, points, given["jobs"])
    return execute.here(workbench, points)


def _show(rows: Sequence[Row], energy: str) -> None:
    from snnc.backends.report.table import microjoules, quantity, table
    from snnc.sweep.front import quality

    titles = {"snn_top1": "top-1", "agreement": "agreement", "sqnr_db": "SQNR dB"}
    name = quality(rows[0])[0]
    figures = ("bits", "T", "latency", titles[name], "loss", "SOPs", "SOPs/MAC", f"µJ {energy}", "kB")
    columns = (("", "left"), ("preset", "left"), *((title, "right") for title in figures))
    cells = [
        (
            "*" if row["front"] else "",
            row["preset"],
            str(row["bits"]),
            str(row["T"]),
            str(row["latency_steps"]),
            f"{quality(row)[1]:.1f}" if name == "sqnr_db" else f"{quality(row)[1]:.2%}",
            "–" if row["loss_points"] is None else f"{row['loss_points']:.2f}",
            quantity(row["sops"]),
            f"{row['sops'] / row['macs']:.3g}",
            microjoules(row["energy"][energy]),
            f"{row['memory_bits'] / 8000:.1f}",
        )
        for row in rows
    ]
    if rows[0]["ann_top1"] is not None:
        click.echo(f"{rows[0]['samples']} samples, ANN top-1 {rows[0]['ann_top1']:.2%}; * no row beats it")
    show(table(columns, cells))
