"""Whatever a model holds, the outcome is a network or a documented error."""

from __future__ import annotations

import random

import pytest
from hostile.fuzz import mutant, outcome, run
from hostile.mutate import mutated
from hostile.seeds import seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.diagnostics import CODES

MODELS = [model.SerializeToString() for model in seeds()]


def test_every_seed_is_what_it_is_meant_to_be():
    assert [outcome(model) for model in MODELS] == ["ok"] * 6 + ["SNNC0110", "SNNC0105"]


def test_the_same_number_gives_the_same_bytes():
    assert [mutant(n, MODELS) for n in range(50)] == [mutant(n, MODELS) for n in range(50)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(model=st.sampled_from(MODELS), choose=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_mutated_models_compile_or_are_refused(model: bytes, choose: random.Random):
    data = mutated(model, choose)
    assert outcome(data) in {"ok", *CODES}


@given(data=st.binary(max_size=200))
@settings(max_examples=50)
def test_random_bytes_are_refused(data: bytes):
    assert outcome(data) in {"SNNC0102", "SNNC0105", "SNNC0115"}


@pytest.mark.slow
def test_thousands_of_mutations():
    found, failures = run(0, 3000)
    assert failures == []
    assert found["ok"] > 100
    assert len(found) > 8
