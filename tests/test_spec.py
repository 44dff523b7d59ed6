"""Pipelines as text."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnc.diagnostics import UsageError
from snnc.passes import PASSES, PRESETS, build
from snnc.spec import bind, bind_all, describe, parse_spec, to_text


@dataclasses.dataclass(frozen=True)
class Paint:
    name: ClassVar[str] = "paint"

    coats: int = 1
    lambda_: Literal["red", "blue"] = "red"
    gloss: float = 0.5
    label: str | None = None
    wet: bool = False


@dataclasses.dataclass(frozen=True)
class Cut:
    name: ClassVar[str] = "cut"

    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError("length must be positive")


TOOLS = {"paint": Paint, "cut": Cut}


def test_text_becomes_dataclasses():
    text = 'cut{length=3}, paint{coats=2,lambda=blue,gloss=1,label="a b",wet=true}  # comment\n'
    assert bind_all(text, TOOLS) == (Cut(3), Paint(2, "blue", 1.0, "a b", True))


def test_empty_text_is_an_empty_pipeline():
    assert parse_spec("") == []
    assert parse_spec(" # nothing\n") == []


def test_canonical_text_names_every_option_that_is_set():
    assert to_text(Paint()) == "paint{coats=1,lambda=red,gloss=0.5,wet=false}"
    assert to_text(Paint(label="none")) == 'paint{coats=1,lambda=red,gloss=0.5,label="none",wet=false}'
    assert to_text(Cut(2)) == "cut{length=2}"


labels = st.none() | st.text()
paints = st.builds(
    Paint,
    coats=st.integers(-(10**17), 10**17),
    lambda_=st.sampled_from(["red", "blue"]),
    gloss=st.floats(allow_nan=False, allow_infinity=False),
    label=labels,
    wet=st.booleans(),
)


@given(st.lists(paints | st.builds(Cut, st.integers(1, 10**9)), max_size=4))
def test_reading_what_was_printed_gives_the_same(items):
    assert bind_all(",".join(map(to_text, items)), TOOLS) == tuple(items)


def test_flags_fill_open_options_and_agree_with_written_ones():
    flags = {"coats": 7, "length": 2, "unknown": 1, "gloss": None}
    assert bind_all("cut,paint{wet=true}", TOOLS, flags) == (Cut(2), Paint(coats=7, wet=True))
    assert bind_all("paint{coats=7}", TOOLS, flags) == (Paint(coats=7),)


def test_a_flag_is_one_of_the_choices_that_an_item_has():
    assert bind_all("paint", TOOLS, {"lambda": "blue"}) == (Paint(lambda_="blue"),)
    with pytest.raises(UsageError, match=r"paint takes lambda=red\|blue, the flag says green"):
        bind_all("paint", TOOLS, {"lambda": "green"})


ERRORS = {
    "cut{length=1},pant": """\
cut{length=1},pant
              ^^^^
error[SNNC0153]: unknown tool 'pant'
  help: did you mean 'paint'? known: cut, paint""",
    "paint{coats=1.5,lambda=green,glos=1}": """\
paint{coats=1.5,lambda=green,glos=1}
            ^^^        ^^^^^      ^
error[SNNC0152]: option 'coats' of paint: '1.5' is not int
error[SNNC0152]: option 'lambda' of paint: 'green' is not red|blue
error[SNNC0153]: paint has no option 'glos'
  help: did you mean 'gloss'? known: coats, gloss, label, lambda, wet""",
    "paint{coats=1,\ncoats=2}": """\
coats=2}
^^^^^
error[SNNC0152]: option 'coats' is given twice""",
    "paint{wet=true": """\
paint{wet=true
              ^
error[SNNC0152]: unexpected end of text; expected , or }
  help: write name{option=value,…},name{…}""",
    "cut cut": """\
cut cut
    ^^^
error[SNNC0152]: unexpected 'cut'; expected , or {
  help: write name{option=value,…},name{…}""",
    "cut;": """\
cut;
   ^
error[SNNC0152]: unexpected character ';'
  help: write name{option=value,…},name{…}""",
    "cut": """\
cut
^^^
error[SNNC0152]: cut needs the option 'length'""",
    "cut{length=0}": """\
cut{length=0}
^^^
error[SNNC0152]: cut: length must be positive""",
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_point_at_the_fault(text):
    with pytest.raises(UsageError) as caught:
        bind_all(text, TOOLS, kind="tool")
    assert str(caught.value) == ERRORS[text]


def test_a_flag_that_contradicts_the_text_is_an_error():
    with pytest.raises(UsageError) as caught:
        bind(parse_spec("paint{coats=2}")[0], Paint, {"coats": 3})
    assert [d.code for d in caught.value.diagnostics] == ["SNNC0154"]
    assert "paint says coats=2, the flag says 3" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["paint{gloss=inf}", "paint{gloss=nan}", "paint{coats=1_0}", "paint{coats=}"]
)
def test_values_that_no_one_means_are_refused(text):
    with pytest.raises(UsageError):
        bind_all(text, TOOLS)


def test_help_lists_names_types_and_defaults():
    assert describe(Paint)[1] == ("lambda", "red|blue", "red")
    assert describe(Paint)[3] == ("label", "str|none", "none")
    assert describe(Cut) == [("length", "int", "")]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_canonical_after_one_reading(preset):
    passes = build(PRESETS[preset], {"bits": 4, "T": 16})
    text = ",".join(map(to_text, passes))
    assert build(text, {}) == passes
    # a network that comes in integers has its bits
    assert "bits=4" in text or preset == "integer"
    assert "T=16" in text


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_has_options_that_text_can_say(name):
    step = bind_all(name, PASSES)[0]
    assert bind_all(to_text(step), PASSES) == (step,)
