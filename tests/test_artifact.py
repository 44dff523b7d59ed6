"""The directory that a compilation writes."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat

import numpy as np
import pytest

import snnc
from snnc import artifact
from snnc.diagnostics import CompileError, UsageError


@pytest.fixture(scope="module")
def compiled(digits):
    return snnc.compile(digits.model, calibration=digits.data, T=16)


@pytest.fixture
def out(compiled, tmp_path) -> pathlib.Path:
    return compiled.save(tmp_path / "net.snnc")


def write(out: pathlib.Path, text: str) -> None:
    with artifact.replacing(out) as folder:
        (folder / "a.txt").write_text(text)
        artifact.seal(folder, {})


def everything(folder: pathlib.Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_the_manifest_names_every_other_file_by_digest(out):
    manifest = artifact.verify_artifact(out)
    assert set(manifest["files"]) == set(everything(out)) - {"manifest.json"}
    unhashed = {name for name, digest in manifest["files"].items() if digest is None}
    assert unhashed == {"report.json"}


def test_the_manifest_says_how_it_was_made(out):
    manifest = artifact.manifest(out)
    assert manifest["options"]["T"] == 16
    assert "spikify{T=16," in manifest["pipeline"]
    assert ",".join(p["pass"] for p in manifest["promises"]) == manifest["pipeline"]
    assert all(p["held"] for p in manifest["promises"])
    assert set(manifest["inputs"]) == {"model", "calibration", "statistics"}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_compilation_gives_the_same_bytes(digits, out, tmp_path, threads):
    again = snnc.compile(digits.model, calibration=digits.data, T=16, threads=threads)
    again = again.save(tmp_path / "again.snnc")
    first, second = everything(out), everything(again)
    first.pop("report.json")
    second.pop("report.json")
    assert first == second


def test_saved_statistics_reproduce_the_network_without_the_data(digits, out, tmp_path):
    again = snnc.compile(digits.model, statistics=out / "calibration.json", T=16).save(tmp_path / "b.snnc")
    for name in ("network.snn", "netlist.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_nothing_in_it_tells_where_it_was_made(out):
    for name, content in everything(out).items():
        assert str(pathlib.Path.cwd()).encode() not in content, name
        assert str(out.parent).encode() not in content, name


def test_loading_gives_back_the_network_and_its_answers(compiled, digits, out):
    loaded = snnc.load(out)
    assert loaded.network == compiled.network
    assert loaded.report() == compiled.report()
    x = np.load(digits.data)["x"][:3]
    before, after = compiled.simulate(x, record=True), loaded.simulate(x, record=True)
    for name, array in before.arrays().items():
        assert np.array_equal(array, after.arrays()[name]), name


@pytest.mark.parametrize("name", ["network.snn", "netlist.json", "report.json", "source/model.onnx"])
def test_verify_finds_changed_files(out, name):
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 1
    (out / name).write_bytes(bytes(content))
    with pytest.raises(CompileError, match=name.split("/")[-1]) as caught:
        artifact.verify_artifact(out)
    assert {d.code for d in caught.value.diagnostics} == {"SNNC0161"}


def test_verify_finds_a_report_of_equal_content_written_otherwise(out):
    report = (out / "report.json").read_bytes()
    (out / "report.json").write_bytes(report.replace(b"{\n", b"{ \n", 1))
    with pytest.raises(CompileError, match=r"report\.json was changed"):
        artifact.verify_artifact(out)


def test_verify_finds_missing_and_added_files_together(out):
    (out / "calibration.json").unlink()
    (out / "mem" / "extra.mem").write_text("00\n")
    with pytest.raises(CompileError) as caught:
        artifact.verify_artifact(out)
    messages = [d.message.split(": ")[1] for d in caught.value.diagnostics]
    assert messages == ["calibration.json is missing", "mem/extra.mem was added"]


def test_verify_takes_no_link_for_a_file(out, tmp_path):
    (out / "simulate.py").rename(tmp_path / "simulate.py")
    (out / "simulate.py").symlink_to(tmp_path / "simulate.py")
    with pytest.raises(CompileError, match=r"simulate\.py was changed"):
        artifact.verify_artifact(out)


def test_loading_refuses_a_changed_network(out):
    text = (out / "network.snn").read_text("utf-8")
    (out / "network.snn").write_text(text.replace("acc_bits = ", "acc_bits = 1", 1), "utf-8")
    with pytest.raises(CompileError, match=r"network\.snn was changed"):
        snnc.load(out)


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        '{"format": "other"}',
        '{"format": "snnc-artifact", "version": 99}',
        '{"format": "snnc-artifact", "version": 1, "files": {"../x": null}}',
        '{"format": "snnc-artifact", "version": 1, "files": NaN}',
    ],
)
def test_foreign_manifests_are_refused(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(CompileError) as caught:
        artifact.manifest(tmp_path)
    assert caught.value.diagnostics[0].code == "SNNC0161"


def test_an_artifact_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "left-over").write_text("")
    write(tmp_path / "out", "new")
    assert everything(tmp_path / "out").keys() == {"a.txt", "manifest.json"}
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_replacing_works_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(artifact, "_exchange", lambda one, other: False)
    test_an_artifact_is_replaced_as_a_whole(tmp_path)


def test_a_failure_leaves_what_was_there(tmp_path):
    write(tmp_path / "out", "old")

    def fail() -> None:
        with artifact.replacing(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_failed_rename_recovers_the_old_one(tmp_path, monkeypatch):
    write(tmp_path / "out", "old")
    monkeypatch.setattr(artifact, "_exchange", lambda one, other: False)
    rename = pathlib.Path.rename

    def fail_on_partial(self: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        if self.suffix == ".partial":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", fail_on_partial)
    with pytest.raises(UsageError, match="No space left"):
        write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_an_empty_folder_is_filled_and_foreign_things_are_not_touched(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "new")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    for name in ("file", "folder"):
        with pytest.raises(UsageError) as caught:
            write(tmp_path / name, "new")
        assert caught.value.diagnostics[0].code == "SNNC0160"
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "mine").read_text() == "mine"


def test_permissions_are_those_of_any_new_folder(tmp_path):
    write(tmp_path / "out", "new")
    (tmp_path / "plain").mkdir()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out", "plain")}
    assert len(modes) == 1


def test_a_link_to_an_artifact_stays_a_link(tmp_path):
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_the_artifact_does_not_need_the_place_it_was_made_in(out, tmp_path):
    shutil.move(out, tmp_path / "elsewhere")
    assert snnc.load(tmp_path / "elsewhere").network.steps == 16
    assert json.loads((tmp_path / "elsewhere" / "report.json").read_text())["network"]["T"] == 16
