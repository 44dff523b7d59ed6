"""Arrays given by the user: which key, which shapes, and what is refused."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from snnc import data
from snnc.diagnostics import CompileError, Diagnostics, UsageError
from snnc.ir.network import Network
from snnc.ir.ops import Input, Output, Relu


def network(*names: str, dtype: str = "float32") -> Network:
    net = Network("net")
    for name in names:
        node = net.add(Input(name=name, shape=(2, 3), dtype=dtype))
        net.add(Output(name=f"{name}_out"), net.add(Relu(), node))
    return net


ONE = network("image")
X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez_compressed(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


@pytest.mark.parametrize(
    ("keys", "argument", "chosen"),
    [
        (("calib", "image", "x", "y"), "", "calib"),
        (("image", "x", "y"), "", "image"),
        (("x",), "", "x"),
        (("x", "y"), ":x", "x"),
    ],
)
def test_calibration_takes_the_named_key_or_calib_or_the_inputs_or_the_only_one(save, keys, argument, chosen):
    arrays = {key: X + number for number, key in enumerate(keys)}
    found = data.calibration(save(**arrays) + argument, ONE, Diagnostics())
    assert (found["image"] == arrays[chosen]).all()


def test_calibration_never_takes_the_test_data_silently(save):
    with pytest.raises(UsageError, match="no array 'calib' or 'image'") as caught:
        data.calibration(save(x=X, y=np.zeros(4, int)), ONE, Diagnostics())
    assert "its arrays are x float32[4, 2, 3], y int64[4]" in str(caught.value)


def test_evaluation_takes_x_and_its_labels(save):
    file = save(x=X, y=np.array([1, 0, 2, 1]), other=X)
    found = data.evaluation(file, ONE, Diagnostics())
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 2, 1]
    limited = data.evaluation(file, ONE, Diagnostics(), limit=2)
    assert (limited.samples, limited.labels.tolist()) == (2, [1, 0])
    assert data.evaluation(f"{file}:other", ONE, Diagnostics()).labels is None


@pytest.mark.parametrize("limit", [None, 2])
def test_labels_of_other_samples_are_refused_whatever_the_limit(save, limit):
    file = save(x=X, y=np.array([1, 0, 2]))
    with pytest.raises(CompileError, match=r"shape \(3,\), the data have 4 samples") as caught:
        data.evaluation(file, ONE, Diagnostics(), limit=limit)
    assert caught.value.diagnostics[0].code == "SNNC0162"


def test_a_model_of_several_inputs_takes_them_by_name(save):
    both = network("a", "b")
    found = data.calibration(save(a=X, b=X + 1), both, Diagnostics())
    assert (found["b"] == X + 1).all()
    with pytest.raises(UsageError, match="no arrays for the inputs b"):
        data.calibration(save(a=X), both, Diagnostics())
    with pytest.raises(UsageError, match="cannot name them all"):
        data.calibration(save(a=X, b=X) + ":a", both, Diagnostics())


def test_one_hot_and_column_labels_are_class_numbers(save):
    one_hot = np.eye(3, dtype=np.uint8)[[2, 0, 1, 1]]
    assert data.class_numbers(one_hot, 4).tolist() == [2, 0, 1, 1]
    assert data.class_numbers(np.array([[3], [1]]), 2).tolist() == [3, 1]


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.full(4, 0.5), np.full((4, 2), 1), np.array(-1)])
def test_other_labels_are_refused(labels):
    with pytest.raises(CompileError) as caught:
        data.class_numbers(labels, 4)
    assert caught.value.diagnostics[0].code == "SNNC0162"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X[:, 0], r"has shape \[4, 3\]; the model takes \[N, 2, 3\]"),
        (X[0], "add a batch axis in front"),
        (X[:0], "holds no samples"),
        (np.float32(1), r"has shape \[\]"),
        (np.where(X > 22, np.nan, X), "NaN or infinite"),
        (X.astype(complex), "complex128, not of numbers"),
    ],
)
def test_unfit_arrays_are_named(save, array, message):
    with pytest.raises(CompileError, match=message) as caught:
        data.calibration(save(calib=array), ONE, Diagnostics())
    assert caught.value.diagnostics[0].code == "SNNC0123"


def test_all_problems_come_together(save):
    with pytest.raises(CompileError) as caught:
        data.calibration(save(a=X[:0], b=X[0]), network("a", "b"), Diagnostics())
    assert len(caught.value.diagnostics) == 2


def test_integers_go_into_float_inputs_with_a_note(save):
    diagnostics = Diagnostics()
    found = data.calibration(save(calib=X.astype(np.uint8)), ONE, diagnostics)
    assert found["image"].dtype == np.float32
    assert (found["image"] == X).all()
    assert [d.severity for d in diagnostics.items] == ["note"]
    assert "0 … 23" in diagnostics.items[0].message


def test_floats_do_not_go_into_integer_inputs(save):
    with pytest.raises(CompileError, match="the model takes uint8"):
        data.calibration(save(calib=X), network("image", dtype="uint8"), Diagnostics())


def test_npy_files_have_no_key(tmp_path):
    np.save(tmp_path / "x.npy", np.asfortranarray(X))
    assert (data.calibration(str(tmp_path / "x.npy"), ONE, Diagnostics())["image"] == X).all()


def test_fortran_order_in_an_archive(save):
    file = save(x=np.asfortranarray(X))
    assert (data.evaluation(file, ONE, Diagnostics(), limit=3).inputs["image"] == X[:3]).all()


def test_pickles_are_never_read(save):
    with pytest.raises(CompileError, match="Python objects"):
        data.calibration(save(calib=np.array([object()])), ONE, Diagnostics())


def test_an_array_larger_than_the_limit_is_not_read(tmp_path):
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 2, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("calib.npy", header.getvalue())
    with pytest.raises(CompileError, match="more than the limit"):
        data.calibration(str(tmp_path / "bomb.npz"), ONE, Diagnostics())


def test_a_truncated_array_is_an_error(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, X)
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("calib.npy", buffer.getvalue()[:-8])
    with pytest.raises(CompileError, match="cut short"):
        data.calibration(str(tmp_path / "cut.npz"), ONE, Diagnostics())


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", b"\x93NUMPYjunk"])
def test_damaged_files_are_errors(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(CompileError):
        data.calibration(str(tmp_path / "bad.npz"), ONE, Diagnostics())


def test_missing_files_and_keys_are_usage_errors(tmp_path, save):
    for argument in (str(tmp_path / "none.npz"), f"{save(calib=X)}:nokey"):
        with pytest.raises(UsageError):
            data.calibration(argument, ONE, Diagnostics())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(CompileError, match="not a regular file"):
        data.calibration(str(tmp_path / "pipe.npy"), ONE, Diagnostics())
