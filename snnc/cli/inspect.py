"""``snnc check``, ``passes``, ``report`` and ``verify``: commands that only look."""

from __future__ import annotations

import inspect
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import click

from snnc.cli.options import common
from snnc.cli.terminal import Terminal, show
from snnc.diagnostics import CompileError, Diagnostics, UsageError, printable

if TYPE_CHECKING:
    from snnc.passes.base import Pass

json_option = click.option("--json", "json_file", metavar="FILE|-", help="Write JSON instead.")


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@json_option
@common
@click.pass_obj
def check(terminal: Terminal, /, model: str, json_file: str | None) -> int:
    """Say node by node what of a model is supported; exit code 1 if something is not."""
    from snnc.backends.report.table import table
    from snnc.frontend import inspect as inspect_model

    diagnostics = Diagnostics()
    nodes = inspect_model(model, diagnostics)
    rows = [{"name": n.name, "op": n.op_type, "status": n.status, "reason": n.reason} for n in nodes]
    if json_file is not None:
        write_json(json_file, rows)
    else:
        columns = (("node", "left"), ("operator", "left"), ("status", "left"), ("reason", "left"))
        show(table(columns, [[printable(value, 80) for value in row.values()] for row in rows]))
    statuses: list[str] = [n.status for n in nodes]
    kinds = ("ok", "approximated", "unsupported")
    click.echo(", ".join(f"{statuses.count(kind)} {kind}" for kind in kinds), err=json_file is not None)
    errors = [d for d in diagnostics.items if d.severity == "error"]
    for error in errors:
        terminal.diagnose(error)
    return 1 if errors or "unsupported" in statuses else 0


@click.command()
@click.argument("name", metavar="[PASS]", required=False)
@common
def passes(name: str | None) -> None:
    """List the passes and presets, or explain one pass and its options."""
    from snnc.backends.report.table import table
    from snnc.passes import PASSES, PRESETS
    from snnc.spec import describe, known

    if name is None:
        rows = [[n, cls.level, cls.promise.value, _summary(cls)] for n, cls in PASSES.items()]
        show(table((("pass", "left"), ("level", "left"), ("promise", "left"), ("does", "left")), rows))
        for preset, text in PRESETS.items():
            click.echo(f"preset {preset}:\n  {text}")
        return
    if name not in PASSES:
        raise UsageError.of("SNNC0153", f"unknown pass {name!r}", remedy=known(name, PASSES))
    cls = PASSES[name]
    click.echo(f"{name}: {cls.promise.value}, at the {cls.level} level\n")
    click.echo(inspect.getdoc(sys.modules[cls.__module__]) or "")
    rows = [list(option) for option in describe(cls)]
    if rows:
        show(table((("option", "left"), ("type", "left"), ("default", "left")), rows))


@click.command()
@click.argument("out", metavar="OUT")
@json_option
@common
def report(out: str, json_file: str | None) -> None:
    """Print the report of a compiled network: layers, errors, costs, passes."""
    from snnc import artifact

    folder = pathlib.Path(out)
    content = artifact.read(folder, artifact.manifest(folder), artifact.REPORT)
    parsed = artifact.parse_json(content, artifact.REPORT)
    if json_file is not None:
        write_json(json_file, parsed)
        return
    from snnc.backends.report import render

    show(*render(parsed))


@click.command()
@click.argument("out", metavar="OUT")
@common
@click.pass_obj
def verify(terminal: Terminal, /, out: str) -> None:
    """Check that a compiled network is complete and unchanged, and that its netlist is its network's."""
    from snnc import artifact
    from snnc.compiled import load, netlist_files

    folder = pathlib.Path(out)
    manifest = artifact.verify_artifact(folder)
    compiled = load(folder)
    netlist = netlist_files(compiled.network)
    for name, content in netlist.items():
        # another version of snnc may ship another simulator
        if name != "simulate.py" and (folder / name).read_bytes() != content:
            raise CompileError.of("SNNC0161", f"{folder}: {name} is not what {artifact.NETWORK} lowers to")
    broken = [p["pass"] for p in manifest["promises"] if not p["held"]]
    if broken:
        raise CompileError.of("SNNC0141", f"{folder}: promises did not hold: {', '.join(broken)}")
    if not terminal.quiet:
        lowered = ", the netlist is the network's" if netlist else ""
        click.echo(f"{folder}: {len(manifest['files'])} files unchanged{lowered}")


def write_json(target: str, content: Any) -> None:
    """Write strict JSON to a file or, for ``-``, to stdout. Raises UsageError if that is impossible."""
    text = json.dumps(content, indent=1, allow_nan=False)
    if target == "-":
        click.echo(text)
        return
    try:
        pathlib.Path(target).write_text(text + "\n", "utf-8")
    except OSError as error:
        raise UsageError.of("SNNC0160", f"cannot write {target}: {error.strerror}") from None


def _summary(cls: type[Pass]) -> str:
    return (inspect.getdoc(cls) or "").split("\n", maxsplit=1)[0]
