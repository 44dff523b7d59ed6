"""``snnc check``, ``passes``, ``report`` and ``verify``: commands that only look."""

from __future__ import annotations

import inspect
import json
import pathlib
import sys
from typing import Any

import click

from snnc.cli.options import common, limit_options
from snnc.cli.terminal import Terminal, show, write_output
from snnc.diagnostics import CompileError, Diagnostics, UsageError, printable

json_option = click.option("--json", "json_file", metavar="FILE|-", help="Write JSON instead.")


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@json_option
@limit_options
@common
@click.pass_obj
def check(terminal: Terminal, /, model: str, json_file: str | None, **given: int) -> int:
    """Say node by node what of a model is supported; exit code 1 if something is not."""
    from snnc.backends.report.table import table
    from snnc.check import support
    from snnc.frontend import Limits

    diagnostics = Diagnostics()
    limits = Limits.within(given["max_memory"], given["max_nodes"], given["max_tensors"])
    nodes = support(model, diagnostics, limits)
    rows = [{"name": n.name, "op": n.op_type, "status": n.status, "reason": n.reason} for n in nodes]
    if json_file is not None:
        write_json(json_file, rows)
    else:
        columns = (("node", "left"), ("operator", "left"), ("status", "left"), ("reason", "left"))
        show(table(columns, [[printable(value, 80) for value in row.values()] for row in rows]))
    statuses: list[str] = [n.status for n in nodes]
    kinds = ("ok", "approximated", "refused")
    click.echo(", ".join(f"{statuses.count(kind)} {kind}" for kind in kinds), err=json_file is not None)
    errors = [d for d in diagnostics.items if d.severity == "error"]
    for error in errors:
        terminal.diagnose(error)
    return 1 if errors or "refused" in statuses else 0


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--presets", is_flag=True, help="List the presets alone, as pipeline texts.")
@common
def passes(name: str | None, presets: bool) -> None:
    """List passes, presets and backends, or explain one pass or backend and its options."""
    from snnc import backends
    from snnc.backends.report.table import table
    from snnc.passes import PASSES
    from snnc.spec import known

    emitters = backends.registry()
    if presets:
        if name is not None:
            raise UsageError.of("SNNC0154", "--presets lists them all: leave the name out")
        _list_presets()
    elif name is None:
        rows = [[n, cls.level, cls.promise.value, _summary(cls)] for n, cls in PASSES.items()]
        show(table((("pass", "left"), ("level", "left"), ("promise", "left"), ("does", "left")), rows))
        _list_presets()
        rows = [[n, emitter.takes, _summary(emitter)] for n, emitter in emitters.items()]
        show(table((("backend", "left"), ("takes", "left"), ("writes", "left")), rows))
    elif name in PASSES:
        cls = PASSES[name]
        click.echo(f"{name}: {cls.promise.value}, at the {cls.level} level\n")
        _explain(cls, inspect.getdoc(sys.modules[cls.__module__]))
    elif name in emitters:
        click.echo(f"{name}: a backend that takes the {emitters[name].takes}\n")
        _explain(emitters[name], inspect.getdoc(emitters[name]))
    else:
        remedy = known(name, [*PASSES, *emitters])
        raise UsageError.of("SNNC0153", f"unknown pass or backend {name!r}", remedy=remedy)


@click.command()
@click.argument("out", metavar="OUT")
@json_option
@common
def report(out: str, json_file: str | None) -> None:
    """Print the report of a compiled network: layers, errors, costs, passes; and what `make pnr` built."""
    from snnc import artifact

    folder = pathlib.Path(out)
    content = artifact.read(folder, artifact.manifest(folder), artifact.REPORT)
    parsed = artifact.parse_json(content, artifact.REPORT)
    from snnc.backends.verilog.built import built

    if (made := built(folder)) and isinstance(parsed, dict):
        parsed["built"] = made
    if json_file is not None:
        write_json(json_file, parsed)
        return
    from snnc.backends.report import render

    try:
        show(*render(parsed))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise CompileError.of(
            "SNNC0161", f"{folder}: {artifact.REPORT} is no report of this version"
        ) from None


@click.command()
@click.argument("out", metavar="OUT")
@common
@click.pass_obj
def verify(terminal: Terminal, /, out: str) -> None:
    """Check that a compiled network is complete and unchanged, and that its netlist is its network's."""
    from snnc import artifact
    from snnc.compiled import load
    from snnc.emission import netlist_files

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
    write_output(target, f"{text}\n".encode())


def _list_presets() -> None:
    from snnc.passes import PRESETS

    for preset, text in PRESETS.items():
        click.echo(f"preset {preset}:\n  {text}")


def _explain(cls: type[Any], text: str | None) -> None:
    """Print a description and the options of a pass or a backend."""
    from snnc.backends.report.table import table
    from snnc.spec import describe

    click.echo(text or "")
    rows = [list(option) for option in describe(cls)]
    if rows:
        show(table((("option", "left"), ("type", "left"), ("default", "left")), rows))


def _summary(cls: type[Any]) -> str:
    return (inspect.getdoc(cls) or "").split("\n", maxsplit=1)[0]
