"""``snnc check`` refuses what a compilation would refuse whatever the data."""

from __future__ import annotations

import pytest
from frontend.onnx_models import model

import snnc
from snnc.check import support
from snnc.diagnostics import CompileError, Diagnostics
from snnc.frontend import Limits

WEIGHTS = "float[3,1,1] w;float[2,1,1,1] v"
UNSPIKING = {
    "roundings that nothing bounds": (
        "a = Relu(x) b = Floor(a) c = Mul(b, w) d = Relu(c) e = Floor(d) y = Flatten(e)",
        {"a", "b", "d", "e"},
    ),
    "activations of four axes": (
        "i = Constant<value_ints=[1]>() a = Relu(x) b = Unsqueeze(a, i) "
        "c = Add(b, v) d = Relu(c) y = Flatten(d)",
        {"d"},
    ),
}


@pytest.mark.parametrize("name", UNSPIKING)
def test_nodes_are_refused_that_have_no_spiking_form(name):
    text, refused = UNSPIKING[name]
    diagnostics = Diagnostics()
    rows = support(model(text, weights=WEIGHTS), diagnostics, Limits())
    with pytest.raises(CompileError) as caught:
        snnc.compile(model(text, weights=WEIGHTS), input_range=(0, 1))
    assert {row.name for row in rows if row.status == "refused"} == refused
    assert tuple(diagnostics.items) == caught.value.diagnostics


def test_nothing_is_said_of_a_model_that_can_spike():
    diagnostics = Diagnostics()
    rows = support(model("a = Relu(x) f = Flatten(a) y = Identity(f)"), diagnostics, Limits())
    assert {row.status for row in rows} == {"ok"}
    assert diagnostics.items == []
