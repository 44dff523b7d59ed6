"""The command line: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from snnc.cli import run
from snnc.ir.parser import parse
from snnc.passes import PASSES, PRESETS, build

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def out(digits, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("cli") / "net.snnc"
    arguments = ["compile", digits.model, "--calib", digits.data, "--bits", "8", "--T", "32", "-o", folder]
    assert run([str(a) for a in arguments]) == 0
    return folder


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """``command(…)`` runs in an empty folder and returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return call


def test_help_imports_nothing_heavy():
    heavy = {"numpy", "onnx", "onnxruntime", "networkx", "numba", "lark", "rich"}
    program = (
        "import sys, snnc.cli\n"
        "assert snnc.cli.run(['--help']) == 0 and snnc.cli.run(['compile', '--help']) == 0\n"
        f"sys.stderr.write(' '.join(sorted({heavy!r} & set(sys.modules))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stderr == ""
    for name in ("compile", "opt", "check", "passes", "evaluate", "simulate", "report", "verify", "sweep"):
        assert f"\n  {name} " in done.stdout


def test_version_names_the_formats(command):
    code, stdout, _ = command("--version")
    assert (code, stdout) == (0, "snnc 0.1.0 (snnc-ir 1, snnc-netlist 1)\n")


def test_compile_writes_beside_the_user_and_prints_the_folder(command, digits):
    code, stdout, stderr = command("compile", digits.model, "--calib", digits.data, "--T", 8)
    assert (code, stdout, stderr) == (0, "digits.snnc\n", "")
    assert pathlib.Path("digits.snnc/netlist.json").is_file()


def test_compile_without_data_warns(command, digits):
    code, _, stderr = command("compile", digits.model, "--T", 8)
    assert code == 0
    assert "warning[SNNC0122]" in stderr
    assert command("compile", digits.model, "--T", 8, "-q")[2] == ""


def test_evaluate_reports_every_figure(command, digits, out):
    code, stdout, _ = command("evaluate", out, "--data", digits.data, "--limit", 100, "--json", "e.json")
    assert code == 0
    assert "ANN top-1 99.00%" in stdout
    result = json.loads(pathlib.Path("e.json").read_text())
    assert result["samples"] == 100
    assert result["steps"] == [1, 2, 4, 8, 16, 32]
    for key in ("snn_top1", "agreement"):
        assert len(result[key]) == len(result["steps"])
        assert all(0 <= value <= 1 for value in result[key])
    assert result["ann_top1"] == 0.99
    assert result["sops_per_sample"] > result["spikes_per_sample"] > 0


def test_evaluate_does_not_depend_on_how_it_runs(command, digits, out):
    results = []
    for how in (("--jobs", 1, "--batch", 7), ("--jobs", 3), ("--engine", "reference", "--max-memory", "20M")):
        code, stdout, _ = command("evaluate", out, "--data", digits.data, "--limit", 40, "--json", "-", *how)
        assert code == 0
        result = json.loads(stdout)
        results.append({k: v for k, v in result.items() if k not in ("engine", "outputs")})
    assert results[0] == results[1] == results[2]


def test_evaluate_without_labels_or_source(command, digits, out):
    x = np.load(digits.data)["x"][:20]
    np.save("x.npy", x)
    code, stdout, _ = command("evaluate", out, "--data", "x.npy", "--json", "-")
    result = json.loads(stdout)
    assert (code, result["snn_top1"], result["ann_top1"]) == (0, None, None)
    assert result["agreement"][-1] > 0.9
    assert command("compile", digits.model, "--T", 4, "--no-source", "-q")[0] == 0
    code, _, stderr = command("evaluate", "digits.snnc", "--data", "x.npy")
    assert code == 1
    assert "nothing to compare with" in stderr
    code, stdout, _ = command("evaluate", "digits.snnc", "--data", digits.data, "--limit", 20, "--json", "-")
    assert (code, json.loads(stdout)["agreement"]) == (0, None)


@pytest.mark.parametrize(("schedule", "steps"), [("layerwise", 16), ("phase", 5)])
def test_integrate_then_fire_has_one_answer(command, digits, schedule, steps):
    arguments = ("--calib", digits.data, "--T", steps, "--schedule", schedule, "-o", "l.snnc")
    assert command("compile", digits.model, *arguments)[0] == 0
    code, stdout, _ = command("evaluate", "l.snnc", "--data", digits.data, "--limit", 50, "--json", "-")
    result = json.loads(stdout)
    assert (code, result["steps"]) == (0, [steps])
    assert result["agreement"][0] > 0.9


def test_a_missed_gate_is_exit_code_3(command, digits, out):
    arguments = ("evaluate", out, "--data", digits.data, "--limit", 20, "--max-loss")
    assert command(*arguments, 100)[0] == 0
    code, _, stderr = command(*arguments, -50)
    assert code == 3
    assert "SNNC0170" in stderr


def test_simulate_says_what_the_emitted_simulator_says(command, digits, out):
    np.save("x.npy", np.load(digits.data)["x"][:16])
    code, stdout, _ = command("simulate", out, "--data", "x.npy", "-o", "ours.npz", "--record")
    assert code == 0
    arguments = [sys.executable, str(out / "simulate.py"), "x.npy", "--out", "theirs.npz"]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == stdout
    with np.load("ours.npz") as ours, np.load("theirs.npz") as theirs:
        assert (ours["classes"] == theirs["classes"]).all()
        counts = [name for name in theirs.files if name.startswith("count_")]
        assert len(counts) == 2
        for name in counts:
            assert np.array_equal(ours[name], theirs[name])
            spikes = ours[name.replace("count", "spikes")]
            assert np.array_equal(spikes.sum(axis=1), ours[name])


def test_report_as_table_and_json(command, out):
    code, stdout, _ = command("report", out)
    assert code == 0
    assert "SQNR" in stdout
    assert "same spikes" in stdout
    code, stdout, _ = command("report", out, "--json", "-")
    report = json.loads(stdout)
    assert code == 0
    first, *_, last = report["layers"]
    assert first["origin"] == ["conv1", "bn1", "relu1"]
    assert first["shape"] == [16, 8, 8]
    assert first["neurons"] == 1024
    assert first["weight_bits"] == 8
    assert first["sqnr_db"] > 15
    assert first["sops"] == 0
    assert last["kind"] == "readout"
    assert last["spikes"] is None
    totals = report["totals"]
    assert totals["sops"] == sum(layer["sops"] for layer in report["layers"])
    assert totals["eq13"] > 2 * totals["macs"]
    assert [p["name"] for p in report["passes"]] == [step.name for step in build(PRESETS["default"], {})]
    for entry in report["energy"]:
        assert entry["source"]
        assert (entry["total_picojoules"] is None) == bool(entry["unpriced"])


def test_verify(command, out, tmp_path):
    code, stdout, _ = command("verify", out)
    assert code == 0
    assert "the netlist is the network's" in stdout


def test_check_lists_every_node(command, digits):
    code, stdout, _ = command("check", digits.model, "--json", "-")
    assert code == 0
    nodes = json.loads(stdout)
    assert [n["op"] for n in nodes][:3] == ["Conv", "BatchNormalization", "Relu"]
    assert {n["status"] for n in nodes} == {"ok"}
    assert "10 ok, 0 approximated, 0 refused" in command("check", digits.model)[1]


@pytest.mark.parametrize("name", PASSES)
def test_passes_explains_each(command, name):
    code, stdout, _ = command("passes", name)
    assert code == 0
    assert stdout.startswith(f"{name}: ")
    assert f" {name} " in command("passes")[1]


def test_opt_prints_ir_that_opt_reads(command, digits, monkeypatch):
    code, stdout, _ = command("opt", digits.model)
    assert code == 0
    assert "batch_norm" in stdout
    code, _, _ = command(
        "opt", digits.model, "--preset", "ecc", "--T", 4, "--calib", digits.data, "-o", "a.snn"
    )
    assert code == 0
    network = parse(pathlib.Path("a.snn").read_text("utf-8"), blobs=pathlib.Path("blobs"))
    assert (network.level, network.steps) == ("int", 4)
    assert command("opt", "a.snn")[1] == pathlib.Path("a.snn").read_text("utf-8")


def test_opt_reads_standard_input(digits):
    arguments = [sys.executable, "-m", "snnc", "opt", "-", "--pipeline", "simplify,fold-batchnorm"]
    model = digits.model.read_bytes()
    done = subprocess.run(arguments, input=model, capture_output=True, check=True, cwd=REPOSITORY)
    assert done.stdout.startswith(b"snnc-ir 1\n")
    assert b"batch_norm" not in done.stdout


def test_dumps_follow_mlir(command, digits):
    arguments = ("opt", digits.model, "--pipeline", "simplify,fold-batchnorm,lower-pooling")
    code, _, stderr = command(*arguments, "--print-ir-after", "fold-batchnorm", "--dump-ir", "dumps")
    assert code == 0
    assert stderr.startswith("// -----// IR after fold-batchnorm //----- //\nsnnc-ir 1\n")
    names = sorted(p.name for p in pathlib.Path("dumps").glob("*.snn"))
    assert names == ["00-import.snn", "01-simplify.snn", "02-fold-batchnorm.snn", "03-lower-pooling.snn"]
    last = pathlib.Path("dumps/03-lower-pooling.snn").read_text("utf-8")
    assert parse(last, blobs=pathlib.Path("dumps/blobs")).level == "ann"
    assert last.count("= sum_pool(") == 2
    stopped = command(*arguments, "--stop-after", "simplify", "--print-ir-after-all")
    assert "batch_norm" in stopped[1]
    assert "IR after fold-batchnorm" not in stopped[2]


def test_pipelines_from_files(command, digits):
    pathlib.Path("p.txt").write_text("simplify,  # first\nfold-batchnorm\n")
    code, stdout, _ = command("opt", digits.model, "--pipeline", "@p.txt")
    assert code == 0
    assert "batch_norm" not in stdout
    assert command("opt", digits.model, "--pipeline", "@none.txt")[0] == 2


def test_raw_pixels_compile_with_a_normalisation(command, digits):
    with np.load(digits.data) as arrays:
        raw = {name: np.rint(arrays[name] * 16).astype(np.uint8) for name in ("x", "calib")}
        np.savez("raw.npz", y=arrays["y"], **raw)
    arguments = ("--calib", "raw.npz", "--scale", "1/16", "--T", 64, "-q", "-o", "raw.snnc")
    assert command("compile", digits.model, *arguments)[0] == 0
    code, stdout, _ = command(
        "evaluate", "raw.snnc", "--data", "raw.npz", "--limit", 100, "--json", "-", "-q"
    )
    result = json.loads(stdout)
    assert (code, result["ann_top1"]) == (0, 0.99)
    assert result["agreement"][-1] > 0.95


WRONG = {
    "no model": (("compile", "none.onnx"), 2, "SNNC0164"),
    "broken model": (("compile", "broken.onnx"), 1, "SNNC0102"),
    "no calibration file": (("compile", "MODEL", "--calib", "none.npz"), 2, "SNNC0164"),
    "no such key": (("compile", "MODEL", "--calib", "DATA:none"), 2, "SNNC0164"),
    "wrong shape": (("compile", "MODEL", "--calib", "DATA:y"), 1, "SNNC0123"),
    "NaN": (("compile", "MODEL", "--calib", "nan.npy"), 1, "SNNC0123"),
    "output is a file": (("compile", "MODEL", "-o", "broken.onnx"), 2, "SNNC0160"),
    "output is not ours": (("compile", "MODEL", "-o", "."), 2, "SNNC0160"),
    "output nowhere": (("compile", "MODEL", "-o", "none/out"), 2, "SNNC0164"),
    "unknown pass": (("compile", "MODEL", "--pipeline", "spikfy"), 2, "SNNC0153"),
    "malformed pipeline": (("compile", "MODEL", "--pipeline", "spikify{"), 2, "SNNC0152"),
    "unknown preset": (("compile", "MODEL", "--preset", "best"), 2, "SNNC0153"),
    "unknown backend": (("compile", "MODEL", "--backend", "vhdl"), 2, "SNNC0153"),
    "malformed backend": (("compile", "MODEL", "--backend", "netlist{"), 2, "SNNC0152"),
    "backend option": (("compile", "MODEL", "--backend", "netlist{lanes=2}"), 2, "SNNC0153"),
    "backend twice": (("compile", "MODEL", "--backend", "netlist,netlist"), 2, "SNNC0154"),
    "preset and pipeline": (("compile", "MODEL", "--preset", "ecc", "--pipeline", "simplify"), 2, "SNNC0154"),
    "contradiction": (("compile", "MODEL", "--pipeline", "spikify{T=8}", "--T", "9"), 2, "SNNC0154"),
    "idle flag": (("compile", "MODEL", "--pipeline", "simplify", "--bits", "4"), 2, "SNNC0154"),
    "stop after nothing": (("compile", "MODEL", "--stop-after", "none"), 2, "SNNC0153"),
    "print after nothing": (("compile", "MODEL", "--print-ir-after", "none"), 2, "SNNC0153"),
    "nothing spikes": (("compile", "MODEL", "--pipeline", "simplify"), 1, "SNNC0155"),
    "wrong level": (("compile", "MODEL", "--pipeline", "quantize"), 1, "SNNC0155"),
    "no statistics": (("compile", "MODEL", "--stats", "none.json"), 2, "SNNC0164"),
    "foreign statistics": (("compile", "MODEL", "--stats", "broken.onnx"), 1, "SNNC0124"),
    "no artifact": (("evaluate", "none", "--data", "DATA"), 2, "SNNC0164"),
    "not an artifact": (("verify", "."), 1, "SNNC0161"),
    "evaluation of other shape": (("evaluate", "OUT", "--data", "DATA:y"), 1, "SNNC0162"),
    "record without output": (("simulate", "OUT", "--data", "DATA", "--record"), 2, "SNNC0154"),
    "IR that is none": (("opt", "broken.snn"), 1, "SNNC0150"),
    "no IR": (("opt", "none.snn"), 2, "SNNC0164"),
    "unknown pass to explain": (("passes", "none"), 2, "SNNC0153"),
    "unknown option": (("compile", "MODEL", "--nonsense"), 2, "No such option"),
    "malformed size": (("compile", "MODEL", "--max-memory", "lots"), 2, "not a size"),
    "malformed range": (("compile", "MODEL", "--input-range", "1,0"), 2, "not a range"),
    "range and data": (("compile", "MODEL", "--input-range", "0,1", "--calib", "DATA"), 2, "SNNC0154"),
    "malformed number": (("compile", "MODEL", "--mean", "0.5,x"), 2, "not a number"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_have_a_code_and_leave_nothing(command, digits, out, mistake):
    pathlib.Path("broken.onnx").write_bytes(b"not a model")
    pathlib.Path("broken.snn").write_text("not IR")
    np.save("nan.npy", np.full((2, 1, 8, 8), np.nan, np.float32))
    before = sorted(pathlib.Path().iterdir())
    arguments, expected, text = WRONG[mistake]
    names = {"MODEL": digits.model, "DATA": digits.data, "OUT": out}
    for name, path in names.items():
        arguments = tuple(a.replace(name, str(path)) for a in arguments)
    code, stdout, stderr = command(*arguments)
    assert (code, stdout) == (expected, "")
    assert text in stderr
    assert "Traceback" not in stderr
    assert sorted(pathlib.Path().iterdir()) == before


def test_diagnostics_as_json_lines(command):
    code, _, stderr = command("compile", "none.onnx", "--diagnostics", "json")
    (line,) = stderr.splitlines()
    assert code == 2
    assert json.loads(line)["code"] == "SNNC0164"
    assert command("--diagnostics", "json", "compile", "none.onnx")[2] == stderr


def test_an_internal_error_has_a_traceback_only_for_debugging(command, digits, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("snnc.frontend.load", fail)
    code, _, stderr = command("compile", digits.model)
    assert code == 4
    assert stderr.startswith("error[SNNC0190]: ZeroDivisionError: oops")
    assert "Traceback" in command("compile", digits.model, "--debug")[2]


def test_an_interrupt_is_130(command, digits, monkeypatch):
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snnc.frontend.load", interrupt)
    assert command("compile", digits.model)[0] == 130


@pytest.mark.parametrize(
    "arguments", [("evaluate", "--json", "got.json"), ("simulate", "--output", "got.npz")]
)
def test_an_interrupt_leaves_nothing_half_written(command, out, digits, tmp_path, monkeypatch, arguments):
    whole = os.replace

    def interrupted(*names: object) -> None:
        # all is written and has not got its name yet
        assert len(list(tmp_path.iterdir())) == 1
        os.kill(os.getpid(), signal.SIGINT)
        whole(*names)

    monkeypatch.setattr(os, "replace", interrupted)
    name, *options = arguments
    code, _, stderr = command(name, out, "--data", digits.data, "--limit", 4, *options)
    assert (code, stderr.strip()) == (130, "interrupted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_an_interrupt_stops_a_long_evaluation(out, digits, tmp_path):
    np.save(tmp_path / "x.npy", np.concatenate([np.load(digits.data)["x"]] * 400))
    arguments = ["-m", "snnc", "evaluate", str(out), "--data", "x.npy", "--json", "got.json"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, *arguments], stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.strip()) == (130, "interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
