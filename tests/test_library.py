"""The library behind the command line."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx
import pytest
from integer_networks import make

import snnc
from snnc.diagnostics import CompileError, UsageError
from snnc.evaluation import host, steps_of
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import Level
from snnc.ir.projections import latency
from snnc.passes import PRESETS, build
from snnc.passes.base import Pass, Promise


@dataclasses.dataclass(frozen=True)
class Rename(Pass):
    """A pass that snnc does not ship."""

    name: ClassVar[str] = "rename"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    to: str = "other"

    def apply(self, network: Network, context: Context) -> Network:
        result = network.copy()
        result.name = self.to
        return result


def test_the_public_names_are_there():
    assert set(snnc.__all__) == {"CompiledNetwork", "Pipeline", "__version__", "compile", "load"}
    for name in snnc.__all__:
        assert getattr(snnc, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = snnc.nothing


def test_a_model_is_a_path_bytes_or_a_proto(digits):
    with np.load(digits.data) as arrays:
        calibration = arrays["calib"]
    made = [
        snnc.compile(model, calibration=calibration, T=8).network
        for model in (digits.model, digits.model.read_bytes(), onnx.load(digits.model))
    ]
    # the name is the file's, or else the graph's
    made[0].name = made[1].name
    assert made[0] == made[1] == made[2]


def test_evaluate_takes_arrays(digits):
    compiled = snnc.compile(digits.model, calibration=str(digits.data), T=16)
    with np.load(digits.data) as arrays:
        x, y = arrays["x"], arrays["y"]
    assert compiled.evaluate(x, y, limit=30) == compiled.evaluate(digits.data, limit=30)
    assert compiled.evaluate({"image": x[:5]})["snn_top1"] is None
    with pytest.raises(CompileError, match="label 10 is not one of the network's 10 classes"):
        compiled.evaluate(x[:2], np.array([0, 10]))


def test_simulate_decodes_into_the_units_of_the_ann(digits):
    compiled = snnc.compile(digits.model, calibration=str(digits.data), T=64)
    with np.load(digits.data) as arrays:
        result = compiled.simulate(arrays["x"][:4], record=True)
    (readout,) = result.readouts.values()
    (output,) = result.outputs.values()
    unit = compiled.report()["layers"][-1]["unit"]
    assert readout.shape == output.shape == (4, 64, 10)
    assert np.allclose(output[:, -1], readout[:, -1] * unit / 64, rtol=1e-12)
    for name, spikes in result.spikes.items():
        assert np.array_equal(spikes.sum(axis=1), result.counts[name])


def test_third_party_passes_are_objects_in_a_pipeline(digits):
    passes = [Rename("mine"), *build(PRESETS["default"], {"T": 8})]
    compiled = snnc.compile(digits.model, pipeline=snnc.Pipeline(passes))
    assert compiled.network.name == "mine"
    assert compiled.record["pipeline"].startswith("rename{to=mine},simplify,")
    with pytest.raises(UsageError, match="T=9 has no effect"):
        snnc.compile(digits.model, pipeline=snnc.Pipeline(passes), T=9)


@pytest.mark.parametrize(
    ("steps", "schedule", "expected"),
    [
        (1, "rate", [1]),
        (8, "rate", [1, 2, 4, 8]),
        (100, "rate", [1, 2, 4, 8, 16, 32, 64, 100]),
        (100, "layerwise", [100]),
        (8, "phase", [8]),
    ],
)
def test_answers_are_reported_at_powers_of_two_and_the_end(steps, schedule, expected):
    assert steps_of(Network("net", steps=steps, schedule=schedule)) == expected


@pytest.mark.parametrize(("schedule", "expected"), [("rate", 6), ("layerwise", 18), ("phase", 18)])
def test_latency_is_T_for_each_population_on_the_longest_path(schedule, expected):
    # three populations in a row; a max gate fires with its input
    assert latency(make(f"residual-{schedule}")) == expected
    assert latency(make(f"gates-{schedule}")) == 6


def test_the_host_applies_what_was_left_to_it():
    values = np.array([[[1.0, 2.0, 1000.0]]])
    assert host("softmax", values)[0, 0].tolist() == [0, 0, 1]
    assert host("log_softmax", values)[0, 0, 0] == -999
    assert host("sigmoid", np.array([[[0.0, -2000.0]]]))[0, 0].tolist() == [0.5, 0]
    assert host("relu,softmax", np.array([[[-1.0, -2.0]]]))[0, 0].tolist() == [0.5, 0.5]
    assert host("", values) is values
    assert host("softmax,argmax", values) is None
