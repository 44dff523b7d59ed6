"""External data are read from strictly inside the model's folder."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model

from snnc.diagnostics import CompileError, Diagnostics
from snnc.frontend import Limits, load
from snnc.ir.ops import Dense

WEIGHT = np.arange(630, dtype=np.float32).reshape(126, 5)


def saved(folder, location="w.data", offset="0", length=str(WEIGHT.nbytes)):
    """A model in ``folder/m`` whose weight is said to lie at ``location``."""
    proto = model("f = Flatten(x) y = MatMul(f, w)", weights="float[126,5] w")
    (tensor,) = proto.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "m").mkdir()
    path = folder / "m" / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    (folder / "m" / "w.data").write_bytes(b"....." + WEIGHT.tobytes())
    (folder / "outside.data").write_bytes(b"....." + WEIGHT.tobytes())
    return path


def refusal(path, **options) -> str:
    with pytest.raises(CompileError) as caught:
        load(path, Diagnostics(), **options)
    return str(caught.value)


def test_data_in_a_file_beside_the_model(tmp_path):
    imported = load(saved(tmp_path, offset="5"), Diagnostics())
    (dense,) = (imported.network.op(n) for n in imported.network.of(Dense))
    assert (dense.weight.array == WEIGHT.T).all()
    (tensor,) = imported.proto.graph.initializer
    assert tensor.raw_data == WEIGHT.tobytes()
    assert not tensor.external_data
    assert load(imported.proto, Diagnostics()).network.op(2) == dense


@pytest.mark.parametrize(
    "location",
    [
        "../outside.data",
        "/etc/hostname",
        "a/../../outside.data",
        "",
        "w\0.data",
        "..\\outside.data",
        "C:w.data",
    ],
)
def test_locations_outside_are_refused(tmp_path, location):
    assert "SNNC0103" in refusal(saved(tmp_path, location))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_are_refused(tmp_path, link):
    path = saved(tmp_path, "link.data")
    link(tmp_path / "outside.data", path.parent / "link.data")
    assert "link" in refusal(path)


def test_a_linked_folder_is_refused(tmp_path):
    path = saved(tmp_path, "sub/outside.data")
    os.symlink(tmp_path, path.parent / "sub")
    assert "'sub' in 'sub/outside.data' is a symbolic link" in refusal(path)


@pytest.mark.parametrize(
    "fields",
    [{"offset": "6"}, {"offset": "-1"}, {"length": "4"}, {"location": "absent.data"}, {"location": "."}],
)
def test_data_that_are_not_there_are_refused(tmp_path, fields):
    assert "SNNC0103" in refusal(saved(tmp_path, **fields))


def test_data_count_towards_the_size_limit(tmp_path):
    path = saved(tmp_path)
    assert "SNNC0104" in refusal(path, limits=Limits(file_bytes=path.stat().st_size + 100))


def test_a_model_in_memory_has_no_folder(tmp_path):
    text = refusal(saved(tmp_path).read_bytes())
    assert "a separate file" in text
    assert "pass the model's path" in text
