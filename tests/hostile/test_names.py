"""Names are data: they reach no path, shell, module or terminal, whatever they hold."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from hostile.seeds import model

import snnc
from snnc.cli import run

NAMES = {
    "paths": ("../../etc/passwd", "/etc/passwd", "a/b\\c", "..", "nul\0"),
    "shell": ("$(touch pwned)", "`id`", "; rm -rf *", 'quote"', "'"),
    "terminal": ("\x1b[31mred", "\u202egnp.exe", "line\nbreak", "\x07", "\u200b"),
    "keywords": ("module", "endmodule", "always", "class", "lambda"),
    "clashes": ("a.b", "a_b", "a b", "A_B", "a-b"),
    "generated": ("p1", "snn", "top", "p1_weights0", "clk"),
    "long": tuple(f"{'n' * 10_000}{k}" for k in range(5)),
}
NODES = "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) f = Flatten(r) y = Gemm<transB=1>(f, d, e)"
WEIGHTS = "float[2,1,3,3] w; float[2] b; float[3,32] d; float[3] e"
OPTIONS = {
    "verilog": {"preset": "default"},
    "nir": {"preset": "per-layer", "reset": "zero"},
}


def named(names: tuple[str, ...]):
    """A small network whose tensors and nodes have these names, as do its graph and its output."""
    proto = model("float[N,1,4,4] x", WEIGHTS, NODES)
    new = dict(zip(("x", "c", "r", "f", "y"), names, strict=True))
    graph = proto.graph
    graph.name, proto.producer_name = names[0], names[1]
    graph.input[0].name, graph.output[0].name = new["x"], new["y"]
    for node in graph.node:
        node.name = new[node.output[0]]
        for field in (node.input, node.output):
            field[:] = [new.get(name, name) for name in field]
    return proto


def compiled(names: tuple[str, ...], backend: str):
    samples = np.random.default_rng(0).random((8, 1, 4, 4), np.float32)
    options = OPTIONS[backend]
    return snnc.compile(named(names), calibration=samples, T=4, probe=1, backends=[backend], **options)


@pytest.fixture(scope="module")
def plain():
    return compiled(("x", "c", "r", "f", "y"), "verilog")


@pytest.mark.parametrize("kind", NAMES)
def test_hardware_knows_no_name_of_the_model(kind, plain, tmp_path):
    out = compiled(NAMES[kind], "verilog").save(tmp_path / "out.snnc")
    hardware = [name for name in plain.emitted if name.endswith((".v", ".mem", "Makefile"))]
    assert hardware
    assert all((out / name).read_bytes() == plain.emitted[name] for name in hardware)
    if shutil.which("iverilog"):
        sources = [str(path) for path in out.glob("rtl/*.v")]
        done = subprocess.run(["iverilog", "-g2005", "-t", "null", *sources], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("backend", OPTIONS)
@pytest.mark.parametrize("kind", NAMES)
def test_an_artifact_of_a_model_with_such_names(kind, backend, tmp_path, capsys):
    if backend == "nir":
        pytest.importorskip("nir")
    out = compiled(NAMES[kind], backend).save(tmp_path / "out.snnc")
    made = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert all(re.fullmatch(r"out\.snnc[A-Za-z0-9_./]*", name) for name in made)
    for command in ("verify", "report"):
        assert run([command, str(out)]) == 0
    said = capsys.readouterr()
    assert all(line.isprintable() and len(line) < 500 for line in (said.out + said.err).split("\n"))
