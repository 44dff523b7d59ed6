"""``snnc compile`` and ``snnc opt``."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator
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

    Observer = Callable[[int, Pass | None, Network], None]


@click.command("compile")
@click.argument("model", metavar="MODEL.onnx")
@click.option("-o", "--output", metavar="OUT", help="The folder to write.  [default: MODEL's stem + .snnc]")
@click.option("--no-source", is_flag=True, help="Do not keep the ONNX model; evaluate then lacks the ANN.")
@pipeline_options
@common
@click.pass_obj
def compile_command(
    terminal: Terminal, /, model: str, output: str | None, no_source: bool, **given: Any
) -> None:
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
def opt(terminal: Terminal, /, model: str, output: str, blobs: str | None, **given: Any) -> None:
    """Run passes on a model or on IR text and print the resulting IR.

    Without --pipeline or --preset no pass runs. Large constants are written to the blobs folder beside
    an output file, and with --blobs also when the text goes to stdout.
    """
    from snnc.driver import optimise
    from snnc.ir.printer import print_network

    if given["pipeline"] is None and given["preset"] is None:
        given["pipeline"] = ""
    request = make_request(given)
    with watching(terminal, request, given) as observe:
        network = optimise(
            _read_input(model, blobs),
            request,
            calibration=given["calib"],
            statistics=given["stats"],
            diagnostics=Diagnostics(),
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
    from snnc.compiled import Normalisation
    from snnc.driver import Request

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


def _read_input(argument: str, blobs: str | None) -> str | bytes | Network:
    """A network from IR text, or what holds an ONNX model: its path, or its bytes from stdin."""
    from snnc.ir.parser import parse

    if argument == "-":
        content = sys.stdin.buffer.read()
        if not content.lstrip().startswith((b"snnc-ir", b"//")):
            return content
        folder = pathlib.Path(blobs or "blobs")
        return parse(content.decode("utf-8", "replace"), blobs=folder, file="<stdin>")
    path = pathlib.Path(argument)
    if path.suffix != ".snn":
        return argument
    if not path.exists():
        raise UsageError.of("SNNC0164", f"there is no file {path}")
    if not path.is_file():
        raise CompileError.of("SNNC0150", f"{path} is not a regular file")
    text = path.read_bytes().decode("utf-8", "replace")
    return parse(text, blobs=pathlib.Path(blobs) if blobs else path.parent / "blobs", file=str(path))
