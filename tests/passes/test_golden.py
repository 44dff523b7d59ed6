"""Each pass on small networks: tests/golden/passes/NAME.snn in, NAME.out out.

The first line of an input is the pipeline, as a comment. ``// calib: LOW HIGH`` calibrates with inputs that
rise from LOW to HIGH, ``// no data`` leaves them out. Diagnostics follow the network as comments.
"""

from __future__ import annotations

import re

import pytest
from conftest import GOLDEN
from pass_tools import context, ramp

from snnc.diagnostics import SnncError
from snnc.ir.parser import parse
from snnc.ir.printer import print_network
from snnc.passes import PASSES
from snnc.pipeline import Pipeline

FILES = sorted(path.stem for path in (GOLDEN / "passes").glob("*.snn"))


def source(name: str) -> str:
    return (GOLDEN / "passes" / f"{name}.snn").read_text(encoding="utf-8")


def optimised(text: str) -> str:
    """What the pipeline in the first line makes of a network, or the error."""
    network = parse(text)
    span = re.search(r"^// calib: (\S+) (\S+)$", text, re.MULTILINE)
    data = None if "// no data" in text else ramp(network, *map(float, span.groups() if span else (-1, 1)))
    compile_context = context(data)
    try:
        result = Pipeline(text.splitlines()[0].removeprefix("// ")).run(network, compile_context)
    except SnncError as error:
        return f"{type(error).__name__}: {error}\n"
    notes = "".join(f"// {line}\n" for d in compile_context.diagnostics.items for line in str(d).split("\n"))
    return print_network(result.network) + notes


@pytest.mark.parametrize("name", FILES)
def test_pass(name, golden):
    golden(f"passes/{name}.out", optimised(source(name)))


def test_every_pass_has_a_golden_test():
    tested = {name for file in FILES for name in re.findall(r"[a-z-]+", source(file).splitlines()[0])}
    assert tested >= PASSES.keys()
