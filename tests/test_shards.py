"""Data that stay on disk, and batches that run elsewhere: the same figures as one file on one machine."""

from __future__ import annotations

import numpy as np
import pytest

import snnc
from snnc import rows, shards
from snnc.diagnostics import CompileError, Diagnostics, UsageError
from snnc.evaluation import Settings


@pytest.fixture(scope="module")
def compiled(digits):
    return snnc.compile(str(digits.model), calibration=str(digits.data), T=16)


def split(digits, folder, lengths, labels=True):
    arrays = np.load(digits.data)
    start = 0
    for index, length in enumerate(lengths):
        part = {"x": arrays["x"][start : start + length]}
        if labels:
            part["y"] = arrays["y"][start : start + length]
        np.savez(folder / f"part{index}.npz", **part)
        start += length
    return arrays["x"][:start], arrays["y"][:start]


def test_rows_are_those_of_all_shards_one_after_the_other():
    whole = np.arange(40).reshape(20, 2)
    cuts = [slice(0, 7), slice(7, 8), slice(8, 20)]
    joined = rows.Rows([7, 1, 12], lambda shard: whole[cuts[shard]], 18)
    assert len(joined) == 18
    for start in range(18):
        for stop in range(start + 1, 22):
            assert np.array_equal(joined[start:stop], whole[:18][start:stop])


def test_shards_give_the_figures_of_one_file(compiled, digits, tmp_path):
    x, y = split(digits, tmp_path, (30, 1, 19))
    expected = compiled.evaluate(x, y)
    assert compiled.evaluate(tmp_path) == expected
    assert compiled.evaluate(tmp_path, settings=Settings(jobs=1, batch=7))["snn_top1"] == expected["snn_top1"]
    assert compiled.evaluate(tmp_path, limit=33) == compiled.evaluate(x[:33], y[:33])


def test_a_folder_of_mapped_arrays_has_no_labels(compiled, digits, tmp_path):
    x, _ = split(digits, tmp_path, (0,))
    (tmp_path / "part0.npz").unlink()
    x = np.load(digits.data)["x"][:20]
    np.save(tmp_path / "a.npy", x[:12])
    np.save(tmp_path / "b.npy", x[12:])
    data = shards.evaluation(str(tmp_path), compiled.network, Diagnostics())
    assert data.labels is None
    assert compiled.evaluate(tmp_path) == compiled.evaluate(x)


def test_an_array_of_another_type_is_converted_batch_by_batch(compiled, digits, tmp_path, monkeypatch):
    x = np.load(digits.data)["x"][:50].astype(np.float64)
    np.save(tmp_path / "wide.npy", x)
    cut, taken = rows.Converted.__getitem__, []

    def noted(self, index):
        taken.append(index)
        return cut(self, index)

    monkeypatch.setattr(rows.Converted, "__getitem__", noted)
    monkeypatch.setattr(rows.Converted, "__array__", None)
    file = str(tmp_path / "wide.npy")
    # the limit is on what is held at a time, not on the file
    found = compiled.evaluate(file, settings=Settings(jobs=1, batch=16, max_memory=x.nbytes // 4))
    assert sorted(taken, key=lambda s: s.start) == [slice(k, k + 16) for k in (0, 16, 32, 48)]
    assert found == compiled.evaluate(x.astype(np.float32))


def test_folders_that_hold_nothing_or_shards_that_differ_are_refused(compiled, digits, tmp_path):
    with pytest.raises(UsageError, match=r"holds no \.npy or \.npz files"):
        shards.evaluation(str(tmp_path), compiled.network, Diagnostics())
    x, _ = split(digits, tmp_path, (5, 5))
    np.savez(tmp_path / "part2.npz", x=x)
    with pytest.raises(CompileError, match="some have labels y and some do not"):
        shards.evaluation(str(tmp_path), compiled.network, Diagnostics())


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_figures_of_one_machine(compiled, digits):
    distributed = pytest.importorskip("distributed")
    arrays = np.load(digits.data)
    x, y = arrays["x"][:40], arrays["y"][:40]
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        settings = Settings(batch=8, scheduler=cluster.scheduler_address)
        assert compiled.evaluate(x, y, settings=settings) == compiled.evaluate(
            x, y, settings=Settings(batch=8)
        )
