"""Events as input: counts per step drive the first layer, and the ANN takes their sum."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verilog_tools import need

import snnc
from snnc.backends.base import encode
from snnc.cli import run
from snnc.diagnostics import CompileError, UsageError
from snnc.driver import Request
from snnc.events import count
from snnc.ir.ops import Input
from snnc.sweep.grid import grid

STEPS = 16


@pytest.fixture
def command(capsys, monkeypatch, tmp_path, digits):
    """``command(…)`` runs beside ``events.npz``, the digits' 16 grey levels as events of 16 steps."""
    monkeypatch.chdir(tmp_path)
    with np.load(digits.data) as arrays:
        made = {name: spread(np.rint(arrays[name][:60] * 16)) for name in ("x", "calib")}
        np.savez("events.npz", y=arrays["y"][:60], **made)
        np.savez("frames.npz", x=arrays["x"][:60] * 16, calib=arrays["calib"][:60] * 16, y=arrays["y"][:60])

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return call


def spread(frames: np.ndarray) -> np.ndarray:
    """Counts [N, T, …] that add up to the frames."""
    op = Input(name="x", shape=frames.shape[1:], coding="events", max_count=127)
    return encode(op, frames, STEPS).astype(np.uint8)


COMPILE = ("--scale", "1/16", "--input", "events", "--T", STEPS, "-q", "-o", "out.snnc")


@pytest.mark.parametrize("schedule", ["rate", "layerwise"])
def test_events_compile_evaluate_and_run_alone(command, digits, schedule):
    model = ("compile", digits.model, "--calib", "events.npz", "--schedule", schedule)
    assert command(*model, *COMPILE)[0] == 0
    code, stdout, _ = command("evaluate", "out.snnc", "--data", "events.npz", "--json", "-")
    result = json.loads(stdout)
    assert (code, result["clipped"]) == (0, {"image": 0.0})
    assert result["ann_top1"] > 0.95
    assert result["snn_top1"][-1] > (0.9 if schedule == "layerwise" else 0.6)
    report = json.loads(pathlib.Path("out.snnc/report.json").read_text("utf-8"))
    assert report["totals"]["analog_macs"] == 0
    assert report["layers"][0]["sops"] > 0
    script = [sys.executable, "-I", "out.snnc/simulate.py", "events.npz"]
    alone = subprocess.run(script, capture_output=True, text=True, check=True)
    assert alone.stdout == command("simulate", "out.snnc", "--data", "events.npz")[1]


def test_hardware_takes_events_step_by_step_and_multiplies_nothing(command, digits):
    need("make", "iverilog", "vvp")
    model = ("compile", digits.model, "--calib", "events.npz", "--backend", "verilog{lanes=4}")
    assert command(*model, *COMPILE)[0] == 0
    code, stdout, _ = command("cosim", "out.snnc", "--data", "events.npz")
    assert (code, "every spike equal" in stdout) == (0, True)
    assert ".VALUE(1)" not in pathlib.Path("out.snnc/rtl/snn.v").read_text("ascii")
    bench = pathlib.Path("out.snnc/tb/snn_bench.v").read_text("ascii")
    assert f".TOKENS({STEPS})" in bench


def test_the_ann_takes_the_sum_of_the_events(command, digits):
    assert command("compile", digits.model, "--calib", "events.npz", *COMPILE)[0] == 0
    events = command("evaluate", "out.snnc", "--data", "events.npz", "--json", "-")[1]
    frames = ("--calib", "frames.npz", "--scale", "1/16", "--T", STEPS, "-q", "-o", "frames.snnc")
    assert command("compile", digits.model, *frames)[0] == 0
    plain = command("evaluate", "frames.snnc", "--data", "frames.npz", "--json", "-")[1]
    assert json.loads(events)["ann_top1"] == json.loads(plain)["ann_top1"]


def test_frames_calibrate_a_network_for_events(command, digits):
    one = snnc.compile(digits.model, calibration="events.npz", T=STEPS, input="events")
    other = snnc.compile(digits.model, calibration="frames.npz", T=STEPS, input="events")
    assert one.network == other.network


def test_counts_beyond_the_largest_are_reported(command, digits):
    with np.load("events.npz") as arrays:
        first = arrays["x"].copy()
        first[:, 0] += 5
        np.savez("many.npz", x=first, y=arrays["y"])
    few = ("--max-count", 1, "--calib", "frames.npz")
    assert command("compile", digits.model, *few, *COMPILE)[0] == 0
    code, stdout, stderr = command("evaluate", "out.snnc", "--data", "many.npz", "--json", "-")
    assert code == 0
    assert 0 < json.loads(stdout)["clipped"]["image"] < 1
    assert "SNNC0125" in stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--input", "events", "--schedule", "phase"), 1, "events do not count 2^(T−k)"),
        (("--input", "events", "--max-count", "128"), 1, "max_count must lie within 1 and 127"),
        (("--input", "events", "--T", "8"), 1, "events of 8 steps are [N, 8, 1, 8, 8]"),
        (("--T", "16"), 1, "the model takes [N, 1, 8, 8]"),
        (("--input", "events", "--T", "16", "--calib", "negative.npy"), 1, "events are counts"),
        (("--input", "events", "--T", "16", "--calib", "DATA"), 1, "events are counts: whole numbers"),
        (
            ("--input", "events", "--T", "2", "--max-count", "7", "--calib", "frames.npz"),
            1,
            "16 events on one",
        ),
        (("--input", "events", "--T", "16", "--calib", "dense.npy"), 1, "16 events in a step, more than 15"),
    ],
)
def test_what_does_not_fit(command, digits, arguments, code, text):
    np.save("negative.npy", np.full((2, 16, 1, 8, 8), -1))
    np.save("dense.npy", np.full((2, 16, 1, 8, 8), 16))
    arguments = [str(digits.data) if a == "DATA" else a for a in arguments]
    found = command("compile", digits.model, "--calib", "events.npz", *arguments, "-o", "out.snnc")
    assert found[0] == code
    assert text in found[2]


def test_events_need_calibration(command, digits):
    code, _, stderr = command("compile", digits.model, "--input", "events", "-o", "out.snnc")
    assert code == 1
    assert "need calibration data that are counts" in stderr


def test_evaluation_needs_events(command, digits):
    assert command("compile", digits.model, "--calib", "events.npz", *COMPILE)[0] == 0
    code, _, stderr = command("evaluate", "out.snnc", "--data", "frames.npz")
    assert code == 1
    assert "events of 16 steps are [N, 16, 1, 8, 8]" in stderr
    with pytest.raises(UsageError, match="events have their own T"):
        grid(Request(input="events"), ["ecc"], [8], [16])


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 9))
def test_frames_are_spread_evenly(values, steps):
    op = Input(name="x", shape=(len(values),), coding="events", max_count=127)
    counts = encode(op, np.array([values], np.float32), steps)[0]
    assert counts.sum(axis=0).tolist() == values
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()


RECORDINGS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1), st.integers(0, 99)), min_size=1
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=50)
@given(RECORDINGS, st.integers(1, 5))
def test_no_event_of_a_recording_is_lost(recordings, steps):
    events = np.array([event for recording in recordings for event in sorted(recording, key=lambda e: e[3])])
    offsets = np.cumsum([0, *map(len, recordings)])
    x, y, polarity, time = events.T
    counts = count(x, y, polarity, time, offsets, shape=(2, 4, 3), steps=steps)
    assert (counts.dtype, counts.shape) == (np.uint8, (len(recordings), steps, 2, 4, 3))
    for one, recording in zip(counts, recordings, strict=True):
        assert one.sum() == len(recording)
        for px, py, pp, when in recording:
            first = min(e[3] for e in recording)
            last = max(e[3] for e in recording)
            step = min((when - first) * steps // max(last - first, 1), steps - 1)
            assert one[step, pp, py, px] > 0


@pytest.mark.parametrize(
    ("x", "offsets", "text"),
    [
        ([0, 9], [0, 2], "outside"),
        ([0, 1], [0, 2, 2], "has no events"),
        ([0] * 300, [0, 300], "more than 255"),
    ],
)
def test_recordings_that_do_not_fit(x, offsets, text):
    zero = np.zeros(len(x), np.int64)
    with pytest.raises(CompileError, match=text):
        count(np.array(x), zero, zero, zero, np.array(offsets), shape=(1, 2, 3), steps=2)
