"""``snnc compile`` and ``snnc opt``."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from snnc.cli.dumps import Dumper
from snnc.cli.options import common, pipeline_options, pipeline_text
from snnc.cli.terminal import Terminal, show
from snnc.diagnostics import CompileError, Diagnostics, UsageError

if TYPE_CHECKING:
    from snnc.driver import Request
    from snnc.ir.network import Network
    from snnc.passes.base import Pass


@click.command("compile")
@click.argument("model", metavar="MODEL.onnx")
@click.option("-o", "--output", metavar="OUT", help="The folder to write.  [default: MODEL's stem + .snnc]")
@click.option("--no-source", is_flag=True, help="Do not keep the ONNX model; evaluate then lacks the ANN.")
@pipeline_options
@common
@click.pass_obj
def compile_command(terminal: Terminal, model: str, output: str | None, no_source: bool, **given: Any) -> None:
    """Compile an ONNX model into a spiking network.

    Writes one folder: the network, its netlist, a simulator that needs only NumPy, the statistics of the
    calibration, a report, and a manifest of it all. An existing folder is replaced only if it is such a
    one; nothing is written if anything fails.
    """
    from snnc import artifact
    from snnc.driver import compile_model

    out = pathlib.Path(output if output is not None else f"{pathlib.Path(model).stem}.snnc")
    artifact.check_output(out)
    request = make_request(given, keep_source=not no_source)
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


@click.command()
@click.argument("model", metavar="MODEL.onnx|NETWORK.snn|-")
@click.option("-o", "--output", metavar="FILE", default="-", help="Where to print the IR.  [default: stdout]")
@click.option("--blobs", metavar="DIR", help="Where large constants are.  [default: blobs beside the file]")
@pipeline_options
@common
@click.pass_obj
def opt(terminal: Terminal, model: str, output: str, blobs: str | None, **given: Any) -> None:
    """Run passes on a model or on IR text and print the resulting IR.

    Without --pipeline or --preset no pass runs. Large constants are written to the blobs folder beside
    an output file, and with --blobs also when the text goes to stdout.
    """
    from snnc.driver import build_passes, optimise
    from snnc.ir.printer import print_network

    if given["pipeline"] is None and given["preset"] is None:
        given["pipeline"] = ""
    request = make_request(given)
    build_passes(request)
    diagnostics = Diagnostics()
    with watching(terminal, request, given) as observe:
        network = optimise(
            _read_input(model, blobs),
            request,
            calibration=given["calib"],
            statistics=given["stats"],
            diagnostics=diagnostics,
            observe=observe,
        )
    if output == "-":
        click.echo(print_network(network, blobs=pathlib.Path(blobs) if blobs else None), nl=False)
        return
    path = pathlib.Path(output)
    try:
        text = print_network(network, blobs=pathlib.Path(blobs) if blobs else path.parent / "blobs")
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError.of("SNNC0160", f"cannot write {path}: {error.strerror}") from None


def make_request(given: dict[str, Any], *, keep_source: bool = True) -> Request:
    """The compilation that the options ask for."""
    from snnc.driver import Normalisation, Request

    before = {name: given[name] for name in ("mean", "std", "scale") if given[name] is not None}
    return Request(
        preset=given["preset"],
        pipeline=pipeline_text(given["pipeline"]),
        bits=given["bits"],
        T=given["T"],
        schedule=given["schedule"],
        input=given["input_"],
        target=given["target"],
        normalisation=Normalisation(**before) if before else None,
        probe=given["probe"],
        max_memory=given["max_memory"],
        stop_after=given["stop_after"],
        keep_source=keep_source,
    )


class watching:
    """A context in which passes are dumped and progress is shown; gives the observer."""
