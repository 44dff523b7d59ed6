"""The table of codes is complete, used and tested; whatever a name holds is printed safely."""

from __future__ import annotations

import pathlib
import re
import sys

import numpy as np
import pytest
from hostile.seeds import TEXTS, model
from hypothesis import given
from hypothesis import strategies as st

import snnc
from snnc.diagnostics import CODES, CompileError, Diagnostic, Diagnostics, UsageError, one_by_one, printable
from snnc.driver import Request, compile_model
from snnc.frontend import load
from snnc.interop.metadata import FORMAT, Metadata
from snnc.sweep import plot

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def codes_in(*folders: str) -> set[str]:
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    texts = (p.read_text("utf-8") for p in files if p.name not in ("diagnostics.py", "test_diagnostics.py"))
    return {code for text in texts for code in re.findall(r"SNNC0\d{3}", text)}


HERE = {"SNNC0116", "SNNC0125", "SNNC0126", "SNNC0137", "SNNC0163", "SNNC0190"}


def test_every_code_is_used_and_no_other():
    assert codes_in("snnc", "passes", "backends") == set(CODES)


def test_every_code_is_tested():
    assert codes_in("tests") | HERE >= set(CODES)


def test_what_is_left_to_the_host_is_noted():
    diagnostics = Diagnostics()
    load(model(*TEXTS["shapes"]), diagnostics)
    assert [(d.code, d.where) for d in diagnostics.items] == [("SNNC0116", ("node_y",))]


def test_clipped_inputs_are_a_warning(digits):
    with np.load(digits.data) as arrays:
        network = snnc.compile(digits.model, T=2, calibration=arrays["x"][:50])
        diagnostics = Diagnostics()
        network.evaluate(3 * arrays["x"][:5], diagnostics=diagnostics)
    assert "SNNC0125" in [d.code for d in diagnostics.items]


def test_a_signed_population_is_a_warning():
    weights = "float[2,2,3,3] w; float[2,2,3,3] u"
    two = model("float[N,2,7,7] x", weights, "a = Conv(x, w) b = Conv(a, u) y = Flatten(b)")
    diagnostics = Diagnostics()
    compile_model(two, Request(T=2), diagnostics=diagnostics)
    assert ("node_a",) in [d.where for d in diagnostics.items if d.code == "SNNC0126"]


def test_metadata_of_a_foreign_file_are_damaged():
    with pytest.raises(CompileError, match="SNNC0137"):
        Metadata.of({"format": FORMAT, "T": "many"})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"SNNC0163.*matplotlib"):
        plot.check()


@given(st.text(max_size=300))
def test_a_name_is_one_short_printable_line(name: str):
    shown = printable(name)
    assert shown.isprintable()
    assert len(shown) <= 200
    assert shown.isascii() or shown == name or len(shown) == 200 or not name.isprintable()
    assert one_by_one(name).isprintable()
    assert len(one_by_one(name)) == len(name)


@given(message=st.text(max_size=3000), where=st.lists(st.text(max_size=50), max_size=9), remedy=st.text())
def test_a_diagnostic_has_at_most_five_lines(message: str, where: list[str], remedy: str):
    text = str(Diagnostic("error", "SNNC0102", message, tuple(where), remedy))
    assert len(text.splitlines()) <= 5
    assert all(line.isprintable() for line in text.splitlines())


def test_a_repeated_warning_is_said_once(caplog):
    diagnostics = Diagnostics()
    for _ in range(3):
        diagnostics.warning("SNNC0121", "never fires", where=["a"])
    assert len(diagnostics.items) == len(caplog.records) == 1
    with pytest.raises(CompileError):
        diagnostics.error("SNNC0110", "no") or diagnostics.raise_errors()
