"""``snnc compile`` and ``snnc opt``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from snnc.cli.dumps import Dumper
from snnc.cli.options import Points, base_request, common, pipeline_options, pipeline_text
from snnc.cli.terminal import Terminal, show, write_output
from snnc.diagnostics import Diagnostics, UsageError
from snnc.files import read_regular

if TYPE_CHECKING:
    from snnc.driver import Request
    from snnc.ir.network import Network
    from snnc.passes.base import Pass

    Observer = Callable[[int, Pass | None, Network], None]


@click.command("compile")
@click.argument("model", metavar="MODEL.onnx|MODEL.nir")
@click.option("-o", "--output", metavar="OUT", help="The folder to write.  [default: MODEL's stem + .snnc]")
@click.option(
    "--backend", "backends", metavar="NAME{…}", multiple=True, help="What else to write; see snnc passes."
)
@click.option(
    "--budget-accuracy",
    "budget",
    type=Points(),
    help="Choose the cheapest preset, T and bits that lose no more top-1 on --data.",
)
@click.option("--data", "data_file", metavar="FILE[:KEY]", help="Inputs and labels y for --budget-accuracy.")
@click.option("--no-source", is_flag=True, help="Do not keep the ONNX model; evaluate then lacks the ANN.")
@pipeline_options
@common
@click.pass_obj
def compile_command(
    terminal: Terminal,
    /,
    model: str,
    output: str | None,
    no_source: bool,
    backends: tuple[str, ...],
    **given: Any,
) -> None:
    """Compile an ONNX model, or a spiking network in a NIR file.

    Writes one folder: the network, its netlist, a simulator that needs only NumPy, the statistics of the
    calibration, a report, and a manifest of it all. An existing folder is replaced only if it is such a
    one; nothing is written if anything fails.
    """
    from snnc import artifact
    from snnc.driver import compile_model, with_preset

    out = pathlib.Path(output if output is not None else f"{pathlib.Path(model).stem}.snnc")
    artifact.check_output(out)
    request = with_preset(make_request(given, keep_source=not no_source, backends=backends), model)
    if (given["budget"] is None) != (given["data_file"] is None):
        raise UsageError.of("SNNC0154", "--budget-accuracy and --data go together")
    if given["budget"] is not None:
        request = _within_budget(terminal, model, request, given)
    with watching(terminal, request, given) as observe:
        compiled = compile_model(
            model,
            request,
            calibration=given["calib"],
            statistics=given["stats"],
            diagnostics=Diagnostics(),
            observe=observe,
        )
    compiled.save(out)
    if terminal.verbosity:
        from snnc.backends import report

        show(*report.render(compiled.report()))
    click.echo(out)


def _within_budget(terminal: Terminal, model: str, request: Request, given: dict[str, Any]) -> Request:
    """The request with the preset, T and bits that are cheapest within the budget."""
    from snnc.backends.report.table import quantity
    from snnc.sweep.bench import Workbench, prepare
    from snnc.sweep.budget import candidates, choose

    if request.pipeline is not None or given["stats"] is not None or request.stop_after is not None:
        taken = "--pipeline, --stats and --stop-after"
        raise UsageError.of("SNNC0154", f"--budget-accuracy chooses among presets: it excludes {taken}")
    diagnostics = Diagnostics()
    bench = prepare(model, request, diagnostics, calibration=given["calib"], evaluation=given["data_file"])
    row = choose(Workbench(bench, diagnostics), request, candidates(request), given["budget"], diagnostics)
    if not terminal.quiet:
        chosen = f"preset {row['preset']}, T = {row['T']}, {row['bits']} bits"
        loss = f"{row['loss_points']:.2f} points on {row['samples']} samples"
        click.echo(f"{chosen}: loses {loss} with {quantity(row['sops'])} SOPs", err=True)
    return dataclasses.replace(request, preset=row["preset"], T=row["T"], bits=row["bits"])


@click.command()
@click.argument("model", metavar="MODEL.onnx|NETWORK.snn|-")
@click.option("-o", "--output", metavar="FILE", default="-", help="Where to print the IR.  [default: stdout]")
@click.option("--blobs", metavar="DIR", help="Where large constants are.  [default: blobs beside the file]")
@pipeline_options
@common
@click.pass_obj
def opt(terminal: Terminal, /, model: str, output: str, blobs: str | None, **given: Any) -> None:
    """Run passes on a model or on IR text and print the resulting IR.

    Without --pipeline or --preset no pass runs. Large constants are written to the blobs folder beside
    an output file, and with --blobs also when the text goes to stdout.
    """
    from snnc.driver import optimise
    from snnc.ir.printer import print_network

    if given["pipeline"] is None and given["preset"] is None:
        given["pipeline"] = ""
    request, path = make_request(given), pathlib.Path(output)
    # os.path takes names that no file can have for absent, where pathlib raises
    if output != "-" and (os.path.isdir(path) or not os.path.isdir(path.parent)):
        raise UsageError.of(
            "SNNC0160", f"cannot write {output}", remedy="name a file in a folder that exists"
        )
    with watching(terminal, request, given) as observe:
        network = optimise(
            _read_input(model, blobs, given["max_memory"]),
            request,
            calibration=given["calib"],
            statistics=given["stats"],
            diagnostics=Diagnostics(),
            observe=observe,
        )
    beside = None if output == "-" else path.parent / "blobs"
    try:
        text = print_network(network, blobs=pathlib.Path(blobs) if blobs else beside)
    except OSError as error:
        raise UsageError.of("SNNC0160", f"cannot write blobs: {error.strerror}") from None
    if output == "-":
        click.echo(text, nl=False)
    else:
        write_output(output, text.encode())


def make_request(given: dict[str, Any], **others: Any) -> Request:
    """The compilation that the options ask for; ``others`` are further fields of the request."""
    return base_request(
        given,
        preset=given["preset"],
        pipeline=pipeline_text(given["pipeline"]),
        bits=given["bits"],
        T=given["T"],
        input_range=given["input_range"],
        reset=given["reset"],
        compare=given["compare"],
        stop_after=given["stop_after"],
        **others,
    )


@contextlib.contextmanager
def watching(terminal: Terminal, request: Request, given: dict[str, Any]) -> Iterator[Observer]:
    """Dumps passes and shows progress while they run; gives the function to call after each.

    Raises UsageError for faulty pipelines and for dumps of passes that do not run.
    """
    from snnc.driver import build_passes
    from snnc.spec import known

    names = [step.name for step in build_passes(request)]
    for name in given["print_ir_after"]:
        if name not in names:
            raise UsageError.of("SNNC0153", f"the pipeline has no pass {name!r}", remedy=known(name, names))
    dumper = Dumper(given["print_ir_after"], given["print_ir_after_all"], given["dump_ir"])
    with terminal.progress("compiling") as progress:

        def observe(index: int, step: Pass | None, network: Network) -> None:
            dumper(index, step, network)
            progress(index, len(names))

        yield observe


def _read_input(argument: str, blobs: str | None, max_memory: int) -> str | bytes | Network:
    """A network from IR text, or what holds an ONNX model: its path, or its bytes from stdin."""
    from snnc.ir.parser import MOST_CHARACTERS, parse

    if argument == "-":
        content = sys.stdin.buffer.read(max_memory + 1)
        if not content.lstrip().startswith((b"snnc-ir", b"//")):
            return content
        folder = pathlib.Path(blobs or "blobs")
        return parse(content.decode("utf-8", "replace"), blobs=folder, file="<stdin>")
    path = pathlib.Path(argument)
    if path.suffix != ".snn":
        return argument
    try:
        text = read_regular(path, limit=MOST_CHARACTERS)
    except FileNotFoundError:
        raise UsageError.of("SNNC0164", f"there is no file {path}") from None
    except OSError as error:
        raise UsageError.of("SNNC0101", f"cannot read {path}: {error.strerror or error}") from None
    return parse(
        text.decode("utf-8", "replace"),
        blobs=pathlib.Path(blobs) if blobs else path.parent / "blobs",
        file=str(path),
    )
