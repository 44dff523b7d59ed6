"""Sweeps: every combination once, the same rows however they are measured, nothing lost."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnc.cli import run
from snnc.diagnostics import CompileError, GateError, UsageError
from snnc.driver import Request
from snnc.sweep.bench import prepare
from snnc.sweep.budget import candidates, choose
from snnc.sweep.execute import on_cluster
from snnc.sweep.front import front
from snnc.sweep.grid import grid
from snnc.sweep.results import ROWS, Results

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
COMBINATIONS = ("--preset", "ecc,layerwise", "--bits", "4..5", "--T", "4,8", "--limit", "40")


@pytest.fixture
def command(capsys, monkeypatch, tmp_path, digits):
    """``command(…)`` sweeps the digits in an empty folder; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    common = ("sweep", digits.model, "--data", digits.data, "--calib", digits.data)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(a) for a in (*common, *arguments)])
        return code, *capsys.readouterr()

    return call


def test_every_combination_is_a_row(command):
    code, stdout, _ = command(*COMBINATIONS, "-o", "out")
    document = json.loads(pathlib.Path("out/sweep.json").read_text("utf-8"))
    assert code == 0
    found = [(row["preset"], row["T"], row["bits"]) for row in document["rows"]]
    assert found == list(itertools.product(("ecc", "layerwise"), (4, 8), (4, 5)))
    with pathlib.Path("out/sweep.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sops"]) for row in rows] == [row["sops"] for row in document["rows"]]
    assert [row["latency_steps"] for row in document["rows"]] == [4, 4, 8, 8, 8, 8, 16, 16]
    starred = [line for line in stdout.splitlines() if line.startswith(" *")]
    assert len(starred) == sum(row["front"] for row in document["rows"]) > 0


def test_rows_depend_neither_on_processes_nor_on_an_earlier_run(command):
    assert command(*COMBINATIONS, "-o", "one")[0] == 0
    assert command(*COMBINATIONS, "-o", "two", "--jobs", 2)[0] == 0
    assert command(*COMBINATIONS[:-4], "--T", 8, "--limit", 40, "-o", "three")[0] == 0
    lines = pathlib.Path("three", ROWS).read_bytes()
    # a killed run leaves a line that it was writing
    pathlib.Path("three", ROWS).write_bytes(lines + b'{"key": "12')
    assert command(*COMBINATIONS, "-o", "three")[0] == 0
    assert pathlib.Path("three", ROWS).read_bytes().startswith(lines)
    for name in ("sweep.json", "sweep.csv"):
        wanted = pathlib.Path("one", name).read_bytes()
        assert pathlib.Path("two", name).read_bytes() == wanted
        assert pathlib.Path("three", name).read_bytes() == wanted


@pytest.mark.slow
def test_a_killed_sweep_continues(command, digits):
    arguments = ["--data", digits.data, "--calib", digits.data, *COMBINATIONS, "-o", "out"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    child = subprocess.Popen(
        [sys.executable, "-m", "snnc", "sweep", digits.model, *arguments], env=environment
    )
    while not pathlib.Path("out", ROWS).exists():
        time.sleep(0.01)
    child.kill()
    child.wait()
    kept = pathlib.Path("out", ROWS).read_bytes().rpartition(b"\n")[0]
    assert 2 <= len(kept.splitlines()) < 9
    assert command(*COMBINATIONS, "-o", "out")[0] == 0
    assert pathlib.Path("out", ROWS).read_bytes().startswith(kept)
    assert len(json.loads(pathlib.Path("out/sweep.json").read_text("utf-8"))["rows"]) == 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_cluster_that_loses_a_worker_loses_no_row(digits, workers):
    """With one worker the only copy of the data goes, too."""
    distributed = pytest.importorskip("distributed")
    request = Request(T=8)
    points = grid(request, ["ecc", "layerwise"], range(4, 9), [8])
    bench = prepare(
        digits.model,
        request,
        diagnostics(),
        calibration=digits.data,
        evaluation=str(digits.data),
        limit=100,
    )
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        outcomes = on_cluster(bench, points, cluster.scheduler_address)
        rows = [next(outcomes)]
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        rows += outcomes
    assert sorted(p.label for p, _ in rows) == sorted(p.label for p in points)
    assert all(row["samples"] == 100 for _, row in rows)


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there():
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="SNNC0165"):
        next(on_cluster(None, [], "nonsense://127.0.0.1:1"))


def diagnostics():
    from snnc.diagnostics import Diagnostics

    return Diagnostics()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--preset", "ecc,best"), 2, "unknown preset 'best'"),
        (("--preset", ","), 2, "the sweep is empty"),
        (("--bits", "5..4"), 2, "is empty"),
        (("--bits", "1..3"), 2, "not 1 and 8"),
        (("--T", "8;16"), 2, "neither a number nor a range"),
        (("--preset", "phase", "--T", "8,17"), 2, "at most 16 steps, not 17"),
        (("--preset", "layerwise", "--schedule", "rate"), 2, "schedule=layerwise"),
        (("--front", "beauty"), 2, "unknown objective 'beauty'"),
        (("--energy", "sun"), 2, "no energy prices 'sun'"),
        (("--jobs", 2, "--scheduler", "127.0.0.1:1"), 2, "--jobs are local processes"),
        (("--data", "labels.npz"), 1, "label 12 is not one of the network's 10 classes"),
        (("--data", "short.npz"), 1, "the labels have shape (1,)"),
        (("--calib", "none.npz"), 2, "there is no file none.npz"),
        (("-o", "full"), 2, "holds no sweep"),
        (("-o", "none/out"), 2, "there is no folder"),
    ],
)
def test_mistakes_are_found_before_any_work(command, monkeypatch, arguments, code, text):
    def work(*_: object, **__: object) -> None:
        raise AssertionError("a pass was run")

    monkeypatch.setattr("snnc.pipeline.run", work)
    x = np.zeros((2, 1, 8, 8), np.float32)
    np.savez("labels.npz", x=x, y=np.array([0, 12]))
    np.savez("short.npz", x=x, y=np.array([0]))
    pathlib.Path("full").mkdir()
    pathlib.Path("full/file").touch()
    before = sorted(pathlib.Path().rglob("*"))
    found = command(*arguments)
    assert (found[0], found[1]) == (code, "")
    assert text in found[2]
    assert sorted(pathlib.Path().rglob("*")) == before


def test_a_preset_that_the_model_cannot_take_is_named_before_any_row(command, monkeypatch):
    from snnc.passes.quantize import Quantize

    def refuse(self, network, context):
        raise CompileError.of("SNNC0120", "not this one", where=("relu1",))

    monkeypatch.setattr(Quantize, "apply", refuse)
    code, stdout, stderr = command("--preset", "ecc,default", "--T", 4, "-o", "out")
    assert (code, stdout) == (1, "")
    assert "ecc: not this one" in stderr
    assert "default: not this one" in stderr
    assert not pathlib.Path("out").exists()


def test_a_problem_of_one_combination_leaves_the_others(command, monkeypatch):
    from snnc.passes.quantize import Quantize

    before = Quantize.apply

    def refuse_five(self, network, context):
        if self.bits == 5:
            raise CompileError.of("SNNC0130", "too wide")
        return before(self, network, context)

    monkeypatch.setattr(Quantize, "apply", refuse_five)
    code, _, stderr = command("--preset", "ecc", "--T", 4, "--bits", "4..6", "--limit", 20, "-o", "out")
    assert code == 1
    assert "ecc, bits=5, T=4: too wide" in stderr
    rows = json.loads(pathlib.Path("out/sweep.json").read_text("utf-8"))["rows"]
    assert [row["bits"] for row in rows] == [4, 6]


def test_plots_are_the_same_bytes_again(command):
    pytest.importorskip("matplotlib")
    made = []
    for kind in ("svg", "svg", "png", "png"):
        assert command("--preset", "ecc", "--T", "4,8", "--limit", 20, "-o", "out", "--plot", kind)[0] == 0
        made.append(pathlib.Path(f"out/sweep.{kind}").read_bytes())
    assert made[0] == made[1]
    assert made[2] == made[3]
    assert b"T=8, 8 bits" in made[0]


POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=20)


@given(POINTS)
def test_the_front_is_what_no_row_beats(points):
    rows = [{"values": p} for p in points]
    marked = front(rows, [lambda row, i=i: row["values"][i] for i in range(3)])
    assert any(marked)
    for point, best in zip(points, marked, strict=True):
        as_good = [q for q in points if all(a <= b for a, b in zip(q, point, strict=True))]
        assert best == all(q == point for q in as_good)


def test_damaged_results_are_refused(tmp_path):
    results = Results(tmp_path / "out")
    results.add("a", {"preset": "ecc"})
    path = tmp_path / "out" / ROWS
    assert Results(tmp_path / "out").get("a") == {"preset": "ecc"}
    assert Results(tmp_path / "out").get("b") is None
    path.write_bytes(path.read_bytes() + b"not JSON\n")
    with pytest.raises(CompileError, match="line 3 is not JSON"):
        Results(tmp_path / "out")
    path.write_bytes(b"something else\n")
    with pytest.raises(CompileError, match="is not snnc-sweep version 1"):
        Results(tmp_path / "out")


class Recorded:
    """A workbench whose rows are known."""

    def __init__(self, losses: dict[tuple[str, int, int], tuple[float, float]]) -> None:
        self.losses, self.measured = losses, []
        self.bench = type("Bench", (), {"data": type("Data", (), {"labels": np.zeros(1)})})

    def measure(self, point) -> dict[str, object]:
        self.measured.append((point.preset, point.T, point.bits))
        loss, sops = self.losses[point.preset, point.T, point.bits]
        fields = {"preset": point.preset, "T": point.T, "bits": point.bits, "samples": 1000}
        return {**fields, "loss_points": loss, "sops": sops}


def test_the_budget_is_met_by_the_fewest_operations_then_bits():
    bench = Recorded(
        {
            ("ecc", 8, 8): (5.0, 100),
            ("ecc", 16, 8): (0.5, 200),
            # as dear as the best so far: no further step is tried
            ("layerwise", 8, 8): (0.9, 150),
            ("layerwise", 16, 8): (0.1, 250),
            ("phase", 4, 8): (0.5, 120),
            ("phase", 4, 7): (0.4, 121),
            ("phase", 4, 6): (0.6, 119),
        }
    )
    row = choose(bench, Request(), ["ecc", "layerwise", "phase"], 0.5, diagnostics())
    assert (row["preset"], row["T"], row["bits"]) == ("phase", 4, 7)
    assert len(bench.measured) == 7


def test_the_candidates_are_made_for_the_target():
    assert candidates(Request(preset="ecc", target="loihi")) == ["ecc"]
    assert {"default", "ecc", "layerwise", "phase"} <= set(candidates(Request()))
    assert "loihi" not in candidates(Request())


def test_a_budget_that_nothing_meets():
    bench = Recorded({("ecc", 8, 5): (3.0, 100)})
    with pytest.raises(GateError, match=r"no preset stays within 0.5 points; the nearest loses 3.00"):
        choose(bench, Request(T=8, bits=5), ["ecc"], 0.5, diagnostics())


def test_compile_within_a_budget(monkeypatch, tmp_path, digits, capsys):
    monkeypatch.chdir(tmp_path)
    data = str(digits.data)
    arguments = ["compile", str(digits.model), "--calib", data, "--data", data, "--preset", "phase"]
    assert run([*arguments, "--budget-accuracy", "0.5", "-o", "out.snnc"]) == 0
    assert "preset phase, T = 4" in capsys.readouterr().err
    assert run(["evaluate", "out.snnc", "--data", data, "--max-loss", "0.5"]) == 0
    assert run([*arguments, "--pipeline", "simplify", "--budget-accuracy", "1"]) == 2
    assert run([*arguments[:4], "--budget-accuracy", "1"]) == 2


def test_presets_are_listed_as_pipeline_texts(capsys):
    from snnc.passes import PRESETS

    assert run(["passes", "--presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [line for name, text in PRESETS.items() for line in (f"preset {name}:", f"  {text}")]
