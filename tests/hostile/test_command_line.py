"""The command line where something around it fails: a code and a sentence, no traceback, nothing left."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

import snnc
from snnc import artifact
from snnc.cli import run

VALUES = {
    ("evaluate", "--jobs"): ("0", "-1", "x", "99999999999999999999"),
    ("evaluate", "--batch"): ("0", "1.5", "nan"),
    ("evaluate", "--limit"): ("0", "-3", ""),
    ("evaluate", "--max-loss"): ("nan", "inf", "x"),
    ("evaluate", "--max-memory"): ("0", "-1", "lots"),
    ("evaluate", "--engine"): ("", "slow"),
    ("evaluate", "--json"): ("none/x.json", ".", "/dev/full"),
    ("simulate", "-o"): ("none/x.npz", ".", "/dev/full"),
    ("compile", "--T"): ("0", "65537", "1e9"),
    ("compile", "--bits"): ("1", "17", "8.0"),
    ("compile", "--probe"): ("0", "x"),
    ("compile", "--max-nodes"): ("0", "3"),
    ("compile", "--scale"): ("nan", "1/0", "1e400"),
    ("compile", "--std"): ("0", "1,2"),
    ("compile", "--budget-accuracy"): ("nan", "-1"),
    ("check", "--json"): ("none/x.json", ".", "/dev/full"),
    ("opt", "-o"): ("none/x.snn", ".", "/dev/full"),
    ("report", "--json"): ("none/x.json", "/dev/full"),
}


@pytest.fixture(scope="session")
def made(digits, tmp_path_factory) -> pathlib.Path:
    """A small artifact of the digits model."""
    arrays = np.load(digits.data)
    network = snnc.compile(digits.model, calibration=arrays["calib"][:16], T=4, probe=1)
    return network.save(tmp_path_factory.mktemp("made") / "digits.snnc")


def arguments(command: str, digits, made) -> list[str]:
    data = ["--data", str(digits.data), "--limit", "2"]
    if command in ("evaluate", "simulate"):
        return [command, str(made), *data]
    return [command, str(made if command == "report" else digits.model)]


@pytest.mark.parametrize(
    ("command", "option", "value"), [(*key, v) for key, values in VALUES.items() for v in values]
)
def test_values_that_no_option_takes(digits, made, tmp_path, monkeypatch, capsys, command, option, value):
    if value.startswith("/dev") and not os.path.exists(value):
        pytest.skip("the platform has no /dev/full")
    monkeypatch.chdir(tmp_path)
    code = run([*arguments(command, digits, made), option, value, "-q"])
    said = capsys.readouterr().err
    assert code in (1, 2)
    assert "Error: " in said or "error[SNNC0" in said
    assert "SNNC0190" not in said
    assert len(said.splitlines()) <= 6
    assert os.listdir(tmp_path) == []


DAMAGE = {"missing": None, "empty": b"", "junk": b"\xff\xfejunk{" * 9, "zeros": bytes(64)}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["manifest.json", "network.snn", "netlist.json", "report.json", "source/model.onnx"]
)
def test_damaged_artifacts(digits, made, tmp_path, capsys, name, damage):
    broken = tmp_path / "broken.snnc"
    shutil.copytree(made, broken)
    (broken / name).unlink()
    if DAMAGE[damage] is not None:
        (broken / name).write_bytes(DAMAGE[damage])
    assert run(["verify", str(broken)]) == 1
    for command in ("evaluate", "simulate", "report"):
        code = run([*arguments(command, digits, broken), "-q"])
        assert code in (0, 1)
    assert run(["cosim", str(broken)]) in (1, 2)
    said = capsys.readouterr().err
    assert "SNNC0161" in said
    assert "SNNC0190" not in said


def environment(**changes: str | None) -> dict[str, str]:
    found = {**os.environ, "PYTHONPATH": str(REPOSITORY), **changes}
    return {name: value for name, value in found.items() if value is not None}


def snnc_in_shell(script: str, folder: pathlib.Path, **variables: str | None) -> subprocess.CompletedProcess:
    """Run ``script`` in a shell in which ``snnc`` is this one."""
    text = f'set -o pipefail; snnc() {{ "{sys.executable}" -m snnc "$@"; }}; {script}'
    return subprocess.run(
        ["bash", "-c", text], cwd=folder, env=environment(**variables), capture_output=True, timeout=300
    )


SHELL = {
    "a reader that leaves": ("snnc passes | head -n 1", 0, ""),
    "a reader that never reads": ("snnc simulate OUT --data DATA | true", 0, ""),
    "no standard output": ("snnc passes >&-", 0, ""),
    "no standard error": ("snnc compile none.onnx 2>&-", 2, ""),
    "no standard input": ("snnc opt - <&-", 1, "SNNC0102"),
    "a full standard output": ("snnc passes > /dev/full", 2, "SNNC0160"),
    "a full disk": ("ulimit -f 8; snnc compile MODEL --T 2 --probe 1 -q", 2, "SNNC0160"),
    "a name in no encoding": ("snnc compile $'n\\xff\\xe2\\x80\\xae.onnx'", 2, "SNNC0164"),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("case", SHELL)
def test_what_surrounds_the_process(digits, made, tmp_path, case):
    script, code, text = SHELL[case]
    for name, path in (("MODEL", digits.model), ("DATA", digits.data), ("OUT", made)):
        script = script.replace(name, f"'{path}'")
    done = snnc_in_shell(script, tmp_path)
    assert (done.returncode, b"Traceback" in done.stderr, b"SNNC0190" in done.stderr) == (code, False, False)
    assert text in done.stderr.decode("utf-8", "replace")
    assert os.listdir(tmp_path) == []


PLACES = {
    "no home": {"HOME": None},
    "a home that cannot be": {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "TMPDIR": "/proc/none"},
    "an old terminal": {
        "LANG": "C",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "TERM": "dumb",
    },
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("place", PLACES)
def test_places_that_lack_something(digits, made, tmp_path, place):
    evaluate = f"snnc evaluate '{made}' --data '{digits.data}' --limit 2"
    script = f"{evaluate} && snnc compile '{digits.model}' --T 2 -o out"
    done = snnc_in_shell(script, tmp_path, **PLACES[place])
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert os.listdir(tmp_path) == ["out"]


def compiling(digits, folder: pathlib.Path) -> subprocess.Popen:
    """A compilation into ``out`` that has begun to write."""
    program = (
        "import sys, time; from snnc import artifact, cli; seal = artifact.seal\n"
        "artifact.seal = lambda *a: (seal(*a), print('written', flush=True), time.sleep(600))\n"
        "sys.exit(cli.run(sys.argv[1:]))"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "compile",
        str(digits.model),
        "--T",
        "2",
        "--probe",
        "1",
        "-o",
        "out",
    ]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_compilation_that_is_stopped_leaves_what_was_there(digits, made, tmp_path, stop, code):
    shutil.copytree(made, tmp_path / "out")
    process = compiling(digits, tmp_path)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    assert artifact.verify_artifact(tmp_path / "out") == artifact.manifest(made)
    if stop == signal.SIGINT:
        assert os.listdir(tmp_path) == ["out"]
    # what a killed process left is in nobody's way
    assert (
        run(["compile", str(digits.model), "--T", "2", "--probe", "1", "-q", "-o", str(tmp_path / "out")])
        == 0
    )
    artifact.verify_artifact(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_two_compilations_into_one_folder_do_not_mix(digits, tmp_path):
    commands = [
        [
            sys.executable,
            "-m",
            "snnc",
            "compile",
            str(digits.model),
            "--T",
            steps,
            "--probe",
            "1",
            "-q",
            "-o",
            "out",
        ]
        for steps in ("2", "3")
    ]
    running = [
        subprocess.Popen(c, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) for c in commands
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    found = artifact.verify_artifact(tmp_path / "out")
    assert found["options"]["T"] in (2, 3)
    assert os.listdir(tmp_path) == ["out"]
