"""Backends: what they are given, what they refuse, and where their files and costs go."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar

import numpy as np
import pytest

import snnc
from snnc import backends
from snnc.backends.base import Activity, Backend
from snnc.backends.netlist import Netlist
from snnc.diagnostics import CompileError, Diagnostics
from snnc.spec import to_text


@dataclasses.dataclass(frozen=True)
class Populations(Backend[Netlist]):
    """A backend that snnc does not ship: the names of the populations, if there are few."""

    name: ClassVar[str] = "populations"

    most: int = 8

    def validate(self, subject: Netlist, diagnostics: Diagnostics) -> None:
        if len(subject.populations) > self.most:
            message = f"{len(subject.populations)} populations, at most {self.most} fit"
            diagnostics.error("SNNC0130", message, remedy="raise most")

    def emit(self, subject: Netlist, activity: Activity) -> dict[str, bytes]:
        busy = [name for name, counts in sorted(activity.counts.items()) if counts.any()]
        return {
            "extra/populations.json": json.dumps([len(next(iter(activity.samples.values()))), busy]).encode()
        }

    def cost(self, subject: Netlist, activity: Activity) -> dict[str, Any]:
        return {"populations": len(subject.populations)}


@pytest.mark.parametrize("name", backends.registry())
def test_a_backend_is_registered_under_its_name_and_explains_itself(name):
    cls = backends.registry()[name]
    assert cls.name == name
    assert cls.__doc__
    assert cls.takes in ("network", "netlist")
    assert backends.build(to_text(cls())) == (cls(),)


def test_files_and_costs_of_a_backend_land_in_the_artifact(digits, tmp_path):
    compiled = snnc.compile(digits.model, calibration=str(digits.data), T=8, backends=[Populations()])
    folder = compiled.save(tmp_path / "out")
    samples, busy = json.loads((folder / "extra/populations.json").read_bytes())
    assert samples == 16
    assert busy == sorted(
        layer["population"] for layer in compiled.report()["layers"] if layer["kind"] == "if_neuron"
    )
    assert compiled.report()["backends"] == {"populations": {"populations": 3}}
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["backends"] == ["populations{most=8}"]
    assert "extra/populations.json" in manifest["files"]


def test_a_loaded_artifact_is_saved_with_all_its_files(digits, tmp_path):
    first = snnc.compile(digits.model, T=8, calibration=str(digits.data), backends=[Populations()])
    one = first.save(tmp_path / "one")
    two = snnc.load(one).save(tmp_path / "two")
    names = sorted(path.relative_to(one) for path in one.rglob("*"))
    assert names == sorted(path.relative_to(two) for path in two.rglob("*"))
    assert all((one / n).read_bytes() == (two / n).read_bytes() for n in names if (one / n).is_file())


def test_what_a_backend_refuses_is_an_error_with_its_remedy(digits):
    with pytest.raises(CompileError, match="3 populations, at most 1 fit"):
        snnc.compile(digits.model, T=8, backends=[Populations(most=1)])


def test_no_backend_builds_real_numbers(digits):
    pipeline = "simplify,fold-batchnorm,lower-pooling,fuse-linear,spikify{T=8},form-projections"
    assert not snnc.compile(digits.model, pipeline=pipeline).emitted
    with pytest.raises(CompileError, match="int level"):
        snnc.compile(digits.model, pipeline=pipeline, backends=["netlist"])


def test_the_netlist_is_written_once_if_it_is_asked_for(digits):
    calibration = np.load(digits.data)["calib"]
    plain, asked = (
        snnc.compile(digits.model, T=8, calibration=calibration, backends=asked)
        for asked in ([], ["netlist"])
    )
    assert plain.emitted == asked.emitted
    assert {"netlist.json", "simulate.py"} <= plain.emitted.keys()
