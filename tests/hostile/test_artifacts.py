"""Artifacts, IR text, statistics and arrays of a stranger: bounded, through no link, never executed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import struct
import zipfile

import numpy as np
import pytest

import snnc
from snnc import artifact
from snnc.array_file import ArrayFile
from snnc.cli import run
from snnc.data import CALIBRATION
from snnc.diagnostics import CompileError, UsageError
from snnc.files import NotRegularError, read_inside, write_whole
from snnc.ir.constants import Constant
from snnc.ir.parser import parse


@pytest.fixture(scope="module")
def compiled(digits):
    return snnc.compile(digits.model, calibration=digits.data, T=2)


@pytest.fixture
def out(compiled, tmp_path) -> pathlib.Path:
    return compiled.save(tmp_path / "net.snnc")


def tamper(out: pathlib.Path, name: str, content: bytes) -> None:
    """Change a file and its digest, as whoever made the artifact can."""
    (out / name).write_bytes(content)
    manifest = json.loads((out / "manifest.json").read_bytes())
    if manifest["files"].get(name) is not None:
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (out / "manifest.json").write_bytes(artifact.to_json(manifest))


def refusal(out: pathlib.Path, code: str = "SNNC0161") -> str:
    with pytest.raises(CompileError) as caught:
        snnc.load(out).simulate(np.zeros((1, 1, 8, 8), np.float32))
    assert caught.value.diagnostics[0].code == code
    return str(caught.value)


@pytest.mark.parametrize("name", ["network.snn", "manifest.json", "calibration.json", "blobs"])
def test_links_out_of_an_artifact_are_not_followed(out, tmp_path, name):
    (out / name).rename(tmp_path / "elsewhere")
    (out / name).symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refusal(out)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_blob_that_is_no_array(tmp_path, content):
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / f"{digest}.npy").write_bytes(content)
    with pytest.raises(CompileError, match="is not an array"):
        _ = Constant.from_blob(tmp_path, digest, "f64", (2, 2)).array


def test_a_blob_that_is_larger_than_it_is_said_to_be(tmp_path):
    content = bytes(10_000)
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / f"{digest}.npy").write_bytes(content)
    with pytest.raises(CompileError, match="more than"):
        _ = Constant.from_blob(tmp_path, digest, "f64", (2, 2)).array


@pytest.mark.parametrize(
    "change",
    [
        {"options": None},
        {"promises": [1]},
        {"options": {"normalisation": {"mean": ["x"], "std": [1], "scale": 1}}},
        {"options": {"normalisation": {"mean": [0], "std": [0], "scale": 1}}},
    ],
)
def test_a_manifest_that_says_something_else(out, change):
    manifest = json.loads((out / "manifest.json").read_bytes())
    (out / "manifest.json").write_bytes(artifact.to_json(manifest | change))
    refusal(out)


def test_statistics_that_are_no_object(out):
    tamper(out, "calibration.json", b"[]")
    refusal(out)


def test_a_report_that_cannot_be_shown(out, capsys):
    content = artifact.report_bytes({"network": {"name": "\x1b[31m"}})
    (out / "report.json").write_bytes(content)
    assert run(["report", str(out)]) == 1
    assert "SNNC0161" in capsys.readouterr().err


def test_a_source_model_with_data_elsewhere_is_not_run(out, digits):
    import onnx

    proto = onnx.load(digits.model)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tamper(out, "source/model.onnx", proto.SerializeToString())
    with pytest.raises(CompileError, match="SNNC0103"):
        snnc.load(out).evaluate(np.zeros((1, 1, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('snnc-ir 1 network @"x" {T = 9999999999, schedule = "rate"} {}', "SNNC0151"),
        (
            'snnc-ir 1 network @"x" { %0 : f32[1] = input() {name = ' + "[" * 3000 + "]" * 3000 + "} }",
            "SNNC0150",
        ),
        ('snnc-ir 1 network @"\x1b[31m" {', "SNNC0150"),
        ("", "SNNC0150"),
    ],
)
def test_ir_text_that_is_refused(text, code):
    with pytest.raises(CompileError) as caught:
        parse(text)
    assert caught.value.diagnostics[0].code == code
    assert all(line.isprintable() for line in caught.value.context.splitlines())


@pytest.mark.parametrize(
    "change",
    [
        {"lambda": 1},
        {"lambda": {"values": {}}},
        {"input:image": {"low": 1}},
        {"input:image": {"low": 2, "high": 1, "integer": False, "rms": 1}},
    ],
)
def test_statistics_that_do_not_fit(compiled, digits, tmp_path, change):
    name = next(key for key in compiled.statistics if key.startswith("input:"))
    change = {name if key.startswith("input:") else key: value for key, value in change.items()}
    path = tmp_path / "s.json"
    path.write_bytes(artifact.to_json(compiled.statistics | change))
    with pytest.raises(CompileError, match="SNNC0124"):
        snnc.compile(digits.model, statistics=path, T=2)


def header(text: str, version: int = 1, length: int | None = None) -> bytes:
    size = len(text) if length is None else length
    return (
        b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text.encode()
    )


ARRAYS = {
    "a header of gigabytes": (header("", 2, 0xFFFFFFF0), "too long"),
    "a negative shape": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "negative"),
    "objects": (header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "pickled"),
    "an enormous shape": (
        header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 50},)}}"),
        "limit",
    ),
    "nested brackets": (header("(" * 5000), "cannot be read"),
    "no header": (header(""), "cannot be read"),
    "code": (header("__import__('os').system('touch pwned')"), "cannot be read"),
}


@pytest.mark.parametrize("case", ARRAYS)
@pytest.mark.parametrize("zipped", [False, True])
def test_arrays_that_lie(tmp_path, monkeypatch, case, zipped):
    monkeypatch.chdir(tmp_path)
    content, text = ARRAYS[case]
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    if zipped:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", content)
    file = ArrayFile(path, CALIBRATION, 1 << 20)
    with pytest.raises(CompileError) as caught:
        file.read("a" if zipped else "")
    # a plain file is mapped, so that its size is checked and not its memory
    assert text in str(caught.value) or (not zipped and case == "an enormous shape")
    assert os.listdir(tmp_path) == ["a.npz"]


def test_a_bomb_is_not_unpacked(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1 << 24, np.float32))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", buffer.getvalue())
    file = ArrayFile(tmp_path / "a.npz", CALIBRATION, 1 << 20)
    assert file.headers()["a"].bytes == 1 << 26
    with pytest.raises(CompileError, match="more than the limit"):
        file.read("a")


def test_files_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"old")
    os.symlink("a", tmp_path / "link")
    write_whole(tmp_path / "link", b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(NotRegularError):
        read_inside(tmp_path, "link", limit=10)
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]


PATHS = ["", ".", "/dev/full", "a\0b", "x" * 300, "file/x"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("option", ["--calib", "--stats", "--pipeline", "--dump-ir", "-o"])
def test_paths_that_cannot_be_used(digits, tmp_path, monkeypatch, capsys, path, option):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    value = f"@{path}" if option == "--pipeline" else path
    code = run(["opt", str(digits.model), option, value, "-q"])
    assert code in (1, 2) or (option == "--dump-ir" and path in ("", "."))
    assert "SNNC0190" not in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".partial")]


def test_a_statistics_file_that_never_ends(digits):
    if not os.path.exists("/dev/zero"):
        pytest.skip("the platform has no /dev/zero")
    with pytest.raises(UsageError, match="SNNC0164"):
        snnc.compile(digits.model, statistics="/dev/zero", T=2)
