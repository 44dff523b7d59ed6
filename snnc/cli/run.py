"""``snnc evaluate`` and ``snnc simulate``."""

from __future__ import annotations

import io
import typing
from typing import Any

import click

from snnc.cli.inspect import json_option, write_json
from snnc.cli.options import MOST_JOBS, Number, common, memory_option
from snnc.cli.terminal import Terminal, show, write_output
from snnc.diagnostics import Diagnostics, GateError, UsageError

engine_option = click.option(
    "--engine",
    type=click.Choice(["fast", "reference"]),
    default="fast",
    show_default=True,
    help="Simulator.",
)
data_option = click.option(
    "--data", "data_file", metavar="FILE[:KEY]", required=True, help="Inputs, and labels y: .npy or .npz."
)
limit_option = click.option("--limit", type=click.IntRange(1), help="Take only the first samples.")


@click.command()
@click.argument("out", metavar="OUT")
@data_option
@json_option
@limit_option
@engine_option
@click.option(
    "--jobs", type=click.IntRange(1, MOST_JOBS), help="Batches at a time.  [default: all processors]"
)
@click.option("--batch", type=click.IntRange(1), help="Samples in a batch; no result depends on it.")
@click.option("--scheduler", metavar="ADDRESS", help="Simulate on the Dask cluster of this scheduler.")
@click.option("--max-loss", type=Number(), metavar="POINTS", help="Exit with 3 if the SNN loses more top-1.")
@memory_option
@common
@click.pass_obj
def evaluate(terminal: Terminal, /, out: str, data_file: str, json_file: str | None, **given: Any) -> None:
    """Compare a compiled network with its ANN on a dataset: accuracy, agreement, spikes, operations."""
    from snnc.compiled import load
    from snnc.evaluation import BATCH, Settings

    compiled = load(out)
    if given["scheduler"] and given["jobs"]:
        raise UsageError.of("SNNC0154", "--jobs are threads of this process, --scheduler runs elsewhere")
    settings = Settings(
        given["engine"], given["jobs"], given["batch"] or BATCH, given["max_memory"], given["scheduler"]
    )
    with terminal.progress("evaluating") as progress:
        result = compiled.evaluate(
            data_file,
            limit=given["limit"],
            settings=settings,
            diagnostics=Diagnostics(),
            progress=progress,
        )
    if json_file is not None:
        write_json(json_file, result)
    if json_file != "-":
        _show(result)
    if given["max_loss"] is not None:
        _gate(result, given["max_loss"])


@click.command()
@click.argument("out", metavar="OUT")
@data_option
@limit_option
@engine_option
@click.option("-o", "--output", metavar="FILE.npz", help="Save membranes, counts, classes and outputs.")
@click.option("--record", is_flag=True, help="Save spikes and membranes of every step, too.")
@memory_option
@common
def simulate(out: str, data_file: str, output: str | None, record: bool, **given: Any) -> None:
    """Run a compiled network on samples and print the class of each, or the value of a single output."""
    import numpy as np

    from snnc import data
    from snnc.compiled import load

    if record and output is None:
        raise UsageError.of("SNNC0154", "--record saves what --output FILE.npz names", remedy="give both")
    compiled = load(out)
    limits = {"limit": given["limit"], "max_memory": given["max_memory"]}
    samples = data.evaluation(data_file, compiled.network, Diagnostics(), **limits).inputs
    result = compiled.simulate(samples, engine=given["engine"], record=record)
    first = next(iter(result.outputs))
    last = result.readouts[first][:, -1].reshape(len(result.readouts[first]), -1)
    classes = last.argmax(axis=1)
    if output is not None:
        buffer = io.BytesIO()
        np.savez(buffer, classes=classes, **typing.cast(Any, result.arrays()))
        write_output(output, buffer.getvalue())
    shown = classes if last.shape[1] > 1 else result.outputs[first][:, -1].ravel()
    for item in shown.tolist():
        click.echo(item)


def _show(result: dict[str, Any]) -> None:
    from snnc.backends.report.table import quantity, table

    click.echo(
        f"{result['samples']} samples, T = {result['T']}, {result['schedule']}, {result['level']} level, "
        f"{result['engine']} engine; the answer after {result['latency_steps']} steps"
    )
    if result["ann_top1"] is not None:
        click.echo(f"ANN top-1 {result['ann_top1']:.2%}")
    columns = [("step", "right")]
    cells: list[list[str]] = [[str(step) for step in result["steps"]]]
    for key, title in (("snn_top1", "SNN top-1"), ("agreement", "agreement")):
        if result[key] is not None:
            columns.append((title, "right"))
            cells.append([f"{value:.2%}" for value in result[key]])
    for name, quality in result["outputs"].items():
        columns.append((f"SQNR dB {name}", "right"))
        cells.append(["–" if value is None else f"{value:.1f}" for value in quality["sqnr_db"]])
    show(table(columns, [list(row) for row in zip(*cells, strict=True)]))
    rate = "" if result["firing_rate"] is None else f", rate {result['firing_rate']:.4f}"
    sops = "" if result["sops_per_sample"] is None else f", {quantity(result['sops_per_sample'])} SOPs"
    click.echo(f"per sample: {quantity(result['spikes_per_sample'])} spikes{rate}{sops}")


def _gate(result: dict[str, Any], limit: float) -> None:
    """Raise GateError if the loss exceeds ``limit`` points, rounded up to whole samples."""
    if result["loss_points"] is None:
        raise UsageError.of("SNNC0154", "--max-loss needs labels and the source model")
    from snnc.evaluation import losses

    samples = result["samples"]
    lost, allowed = losses(result["loss_points"], limit, samples)
    if lost > allowed:
        raise GateError.of(
            "SNNC0170", f"the SNN loses {lost} of {samples} samples, more than the {allowed} allowed"
        )
