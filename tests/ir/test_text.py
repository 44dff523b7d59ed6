"""Printing and parsing are inverse on every network; faulty text is refused with a caret."""

from __future__ import annotations

import pathlib
import random
import re
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_tools import context, run_if_spiking
from random_networks import ann_networks, samples, spiking_networks

from snnc.diagnostics import CompileError, Diagnostics
from snnc.frontend import load
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Add, Clip, Concat, Dense, Input, Output
from snnc.ir.parser import parse
from snnc.ir.printer import print_network
from snnc.ir.schedule import SCHEDULES
from snnc.passes import PRESETS
from snnc.pipeline import Pipeline

SOME = settings(max_examples=40, deadline=None)
FEW = settings(max_examples=10, deadline=None)


@pytest.fixture(scope="module")
def blobs():
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder)


def assert_round_trip(network: Network, folder: pathlib.Path) -> None:
    text = print_network(network, blobs=folder)
    again = parse(text, blobs=folder)
    assert again == network
    assert again.fingerprint() == network.fingerprint()
    assert print_network(again) == text


@SOME
@given(network=st.one_of(ann_networks(), spiking_networks()))
def test_parse_inverts_print_at_the_ann_and_int_levels(network, blobs):
    assert_round_trip(network, blobs)


@FEW
@given(ann=ann_networks(), schedule=st.sampled_from(SCHEDULES))
def test_parse_inverts_print_after_every_pass(ann, schedule, blobs):
    seen: list[Network] = []
    text = str(Pipeline(PRESETS["ecc"], T=4, schedule=schedule))
    run_if_spiking(ann, text, context(samples(ann, 2)), observe=lambda *args: seen.append(args[2]))
    for network in seen:
        assert_round_trip(network, blobs)


def test_digits_round_trips(digits, blobs):
    ann = load(digits.model, Diagnostics()).network
    network = Pipeline(PRESETS["default"]).run(ann, context()).network
    for each in (ann, network):
        assert_round_trip(each, blobs)


def test_small_constants_need_no_blobs():
    network = vector(Clip(maximum=0.1))
    assert parse(print_network(network)) == network


def vector(*ops, name: str = "x", origin: tuple[str, ...] = ()) -> Network:
    """A chain of ops on a vector of two."""
    network = Network(name)
    x = network.add(Input(name=name, shape=(2,), origin=origin, source=name))
    for op in ops:
        x = network.add(op, x)
    network.add(Output(name=name, activation=name), x)
    return network


NAMES = ['"', "\\", "\n", "a\tb", "\0", "\u202egnp.exe", "é/ü:0", "\ud800", '") {', "//", "%0", "", "💥"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_safe(name):
    network = vector(name=name, origin=(name, f"{name}2"))
    text = print_network(network)
    assert text.isascii()
    assert text.count("\n") == 5
    assert parse(text) == network


@SOME
@given(st.text(), st.lists(st.text(), max_size=3))
def test_every_name_round_trips(name, origin):
    network = vector(name=name, origin=tuple(origin))
    assert parse(print_network(network)) == network


@SOME
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_numbers_round_trip_exactly(real, integer):
    weight = Constant([[real, -0.0], [0.0, 5e-324]])
    network = vector(Dense(weight=weight), Dense(weight=Constant([[0.5, float(integer)]])))
    assert parse(print_network(network)) == network


def test_the_same_operand_twice():
    network = Network("twice")
    x = network.add(Input(name="x", shape=(2,)))
    both = network.add(Concat(), x, network.add(Add(), x, x), x)
    network.add(Output(name="y"), both)
    text = print_network(network)
    assert "add(%0, %0)" in text
    assert "concat(%0, %1, %0)" in text
    assert parse(text) == network


def test_comments_and_layout_do_not_matter():
    text = print_network(vector(Clip(maximum=0.1)))
    spaced = text.replace(" {", " // a comment\n {").replace(", ", " ,\n")
    assert print_network(parse(spaced)) == text


HEAD = 'snnc-ir 1\nnetwork @"t" {\n  %0 : f32[2] = input() {name = "x", shape = [2]}\n'
TAIL = '  output(%0) {name = "y"}\n}\n'
DENSE = "  %1 : f32[1] = dense(%0) {weight = f64[1, 2](1.0, 2.0)}\n"

MALFORMED = {
    "header": 'snnc-ir 2\nnetwork @"t" {\n}\n',
    "nothing": "",
    "cut off": HEAD,
    "character": HEAD + "  %1 : f32[2] = relu(%0) ;\n" + TAIL,
    "token": HEAD + "  %1 : f32[2] relu(%0)\n" + TAIL,
    "unknown op": HEAD + "  %1 : f32[2] = rely(%0)\n" + TAIL,
    "unknown attribute": HEAD + "  %1 : f32[2] = relu(%0) {slope = 0.1}\n" + TAIL,
    "attribute twice": HEAD + "  %1 : f32[2] = clip(%0) {maximum = 1.0, maximum = 2.0}\n" + TAIL,
    "attribute type": HEAD + "  %1 : f32[2] = clip(%0) {maximum = 6}\n" + TAIL,
    "attribute missing": HEAD + "  %1 : f32[2] = clip(%0)\n" + TAIL,
    "undefined value": HEAD + "  %1 : f32[2] = relu(%7)\n" + TAIL,
    "value twice": HEAD + "  %0 : f32[2] = relu(%0)\n" + TAIL,
    "no result": HEAD + "  relu(%0)\n" + TAIL,
    "result of output": HEAD + '  %1 : f32[2] = output(%0) {name = "y"}\n}\n',
    "wrong type": HEAD + DENSE.replace("f32[1]", "f32[3]") + TAIL,
    "too few values": HEAD + DENSE.replace("1.0, 2.0", "1.0") + TAIL,
    "negative extent": HEAD + DENSE.replace("[1, 2](", "[-1, -2](") + TAIL,
    "out of range": HEAD + DENSE.replace("f64[1, 2](1.0, 2.0)", "i8[1, 2](127, 128)") + TAIL,
    "not an integer": HEAD + DENSE.replace("f64[1, 2](1.0, 2.0)", "i8[1, 2](1, 2.5)") + TAIL,
    "no folder of blobs": HEAD + DENSE.replace("(1.0, 2.0)", f'(blob "{"0" * 64}")') + TAIL,
    "escape": HEAD.replace('"t"', r'"\q"') + TAIL,
    "schedule": HEAD.replace("{\n", '{T = 4, schedule = "eager"} {\n', 1) + TAIL,
    "long line": HEAD + f'  %1 : f32[2] = relu(%0) loc("{"n" * 200}" slope)\n' + TAIL,
}


def test_malformed_text(golden):
    shown = []
    for label, text in MALFORMED.items():
        with pytest.raises(CompileError) as caught:
            parse(text, file="net.snn")
        assert [d.code for d in caught.value.diagnostics] == ["SNNC0150"], label
        shown.append(f"-- {label}\n{caught.value}\n")
    golden("ir/malformed.txt", "\n".join(shown))


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|%\d+|-?\d+\.\d+|-?\d+|[a-z_0-9]+|\s+|.')
STRANGE = [*'[]{}(),"%', "0", "-1", "9" * 30, "1.5", "nan", "inf", '"\\q"', "true", "[0]", "concat", "i8"]


def damaged(text: str, rng: random.Random) -> str:
    """``text`` with one or two tokens replaced, exchanged or dropped."""
    tokens = TOKEN.findall(text)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(tokens))
        tokens[at] = rng.choice([rng.choice(STRANGE), rng.choice(tokens), ""])
    return "".join(tokens)


@SOME
@given(network=st.one_of(ann_networks(), spiking_networks()), seed=st.integers(0, 2**32))
def test_damaged_text_is_refused_or_a_legal_network(network, seed, blobs):
    text, rng = print_network(network, blobs=blobs), random.Random(seed)
    for _ in range(5):
        parsed = parse_or_refuse(damaged(text, rng), blobs)
        if parsed is not None:
            assert_round_trip(parsed, blobs)


def parse_or_refuse(text: str, blobs: pathlib.Path) -> Network | None:
    """None where the text is refused in an orderly way."""
    try:
        return parse(text, blobs=blobs)
    except CompileError:
        return None
