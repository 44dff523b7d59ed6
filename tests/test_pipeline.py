"""The pass manager: a wrong pass is named, whatever it breaks."""

from __future__ import annotations

import dataclasses
import threading
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from pass_tools import context, ramp, run
from random_networks import ann_networks, samples

from snnc.diagnostics import CompileError, InternalError, UsageError
from snnc.frontend import load
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    Clip,
    Conv2d,
    Dense,
    IfNeuron,
    Input,
    Level,
    Output,
    Readout,
    Relu,
    Reshape,
    Weighted,
)
from snnc.ir.printer import print_network
from snnc.passes import PASSES, PRESETS, Pass, Promise, Simplify, build
from snnc.pipeline import CompileContext, Pipeline, running
from snnc.probe import probe_inputs
from snnc.prove import Prover

SPIKIFY = "simplify,spikify{T=16,lambda=max}"
FORMED = f"{SPIKIFY},form-projections"
SETTINGS = settings(max_examples=8, deadline=None)


@dataclasses.dataclass(frozen=True)
class Broken(Pass):
    """Applies ``edit`` to a copy; a pass of a third party."""

    name: ClassVar[str] = "broken"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    def edit(self, network: Network) -> None:
        raise NotImplementedError

    def apply(self, network: Network, context: Context) -> Network:
        result = network.copy()
        self.edit(result)
        return result


def broken(promise: Promise, level: Level, edit) -> Pass:
    """A pass that promises ``promise`` and does ``edit``."""
    members = {"promise": promise, "level": level, "edit": lambda self, network: edit(network)}
    return dataclasses.dataclass(frozen=True)(type("Wrong", (Broken,), members))()


def change(network: Network, kind: type, name: str, factor: float, node: int | None = None) -> None:
    """Multiply a parameter of the first op of a kind."""
    node = next(network.of(kind)) if node is None else node
    op = network.op(node)
    network.set(node, op.replace(**{name: Constant(getattr(op, name).array * factor)}))


@pytest.fixture
def cnn() -> Network:
    """conv, relu, join with a skip, relu, dense."""
    rng = np.random.default_rng(3)
    network = Network("cnn")
    x = network.add(Input(name="x", shape=(1, 4, 4), origin=("x",)))
    place = {"origin": ("conv1",), "source": "c1"}
    first = Conv2d(weight=Constant(rng.normal(size=(2, 1, 3, 3))), pads=(1, 1, 1, 1), **place)
    a = network.add(Relu(origin=("relu1",), source="a"), network.add(first, x))
    inner = Conv2d(weight=Constant(rng.normal(size=(2, 2, 1, 1))), origin=("conv2",), source="c2")
    join = network.add(Add(origin=("add",), source="j"), network.add(inner, a), a)
    b = network.add(Relu(origin=("relu2",), source="b"), join)
    network.add(
        Output(name="y"),
        network.add(
            Dense(weight=Constant(rng.normal(size=(3, 32))), origin=("fc",), source="f"),
            network.add(Reshape(shape=(32,)), b),
        ),
    )
    return network


def guilty(network: Network, before: str, step: Pass, error: type = InternalError):
    """The error of a pipeline that ends in a wrong pass."""
    passes = [*build(before, {}), step]
    with pytest.raises(error) as caught:
        Pipeline(passes).run(network, context(ramp(network)))
    done = ", ".join(p.name for p in passes[:-1]) or "none"
    assert f"in pass broken; passes already run: {done}" in caught.value.context
    return caught.value.diagnostics[0]


class TestWrongPasses:
    def test_same_function(self, cnn):
        step = broken(Promise.SAME_FUNCTION, "ann", lambda n: change(n, Dense, "weight", 1.001))
        fault = guilty(cnn, "simplify", step)
        assert fault.code == "SNNC0141"
        assert fault.message.startswith("pass broken promises same function, but outputs differ by"), (
            fault.message
        )

    def test_same_function_below_the_tolerance_is_accepted(self, cnn):
        step = broken(Promise.SAME_FUNCTION, "ann", lambda n: change(n, Dense, "weight", 1 + 1e-8))
        result = Pipeline([step]).run(cnn, context())
        assert 0 < result.records[0].proof["relative_error"] < 1e-5

    def test_same_function_of_spiking_networks(self, cnn):
        step = broken(Promise.SAME_FUNCTION, "snn", lambda n: change(n, Conv2d, "weight", 0.9))
        assert guilty(cnn, FORMED, step).code == "SNNC0141"

    @pytest.mark.parametrize("name", ["threshold", "amplitude"])
    def test_rates_of_the_clipped_ann(self, cnn, name):
        class Wrong(PASSES["spikify"]):
            name: ClassVar[str] = "broken"

            def apply(self, network, context):
                result = super().apply(network, context)
                change(result, IfNeuron, parameter, 1.1)
                return result

        parameter = name
        fault = guilty(cnn, "simplify", Wrong(T=16))
        assert fault.code == "SNNC0141"
        assert "promises rates of the clipped ANN" in fault.message

    def test_rates_of_a_constant_current(self, cnn):
        class Wrong(PASSES["spikify"]):
            name: ClassVar[str] = "broken"

            def apply(self, network, context):
                result = super().apply(network, context)
                node = next(result.of(IfNeuron))
                op = result.op(node)
                result.set(node, op.replace(v_init=Constant(op.threshold.array * 3)))
                return result

        fault = guilty(cnn, "simplify", Wrong(T=16))
        assert "a constant current gives counts off by" in fault.message

    def test_same_spikes(self, cnn):
        step = broken(Promise.SAME_SPIKES, "snn", lambda n: change(n, Conv2d, "weight", 1.01))
        fault = guilty(cnn, FORMED, step)
        assert fault.code == "SNNC0141"
        assert "promises same spikes" in fault.message
        assert "spikes differ" in fault.message
        assert fault.where == ("conv1", "relu1")

    def test_same_spikes_names_the_population_behind_the_wrong_weight(self, cnn):
        def edit(network):
            change(network, Conv2d, "weight", 1.01, node=list(network.of(Conv2d))[1])

        fault = guilty(cnn, FORMED, broken(Promise.SAME_SPIKES, "snn", edit))
        assert fault.where == ("conv2", "add", "relu2")

    def test_same_spikes_need_no_second_run_to_tell_the_closed_loop(self, cnn):
        known = context(ramp(cnn))
        before = Pipeline(FORMED).run(cnn, known).network
        after = Pipeline("normalize-currents").run(before, known).network
        proof = Prover(known.calibration).prove(Promise.SAME_SPIKES, before, after)
        assert proof.measured["excused_share"] == 0
        loss = Prover(known.calibration).closed_loop(before, after)
        assert proof.measured["closed_loop"] == pytest.approx(loss, abs=1e-12)

    def test_what_a_calibration_changes_is_known_from_the_run_that_tuned(self, cnn, monkeypatch):
        known = context(ramp(cnn))
        before = Pipeline(f"{FORMED},normalize-currents,quantize").run(cnn, known).network
        runs, simulate = [], known.engine.simulate
        monkeypatch.setattr(known.engine, "simulate", lambda n, *given: runs.append(n) or simulate(n, *given))
        result = Pipeline("calibrate-bias").run(before, known)
        assert runs == [before]
        prover = Prover(probe_inputs(before, known, 2))
        proof = prover.prove(Promise.APPROXIMATE, before, result.network)
        assert result.records[0].proof == proof.measured
        assert proof.measured["relative_rms"] > 0

    def test_same_spikes_under_integrate_then_fire(self, cnn):
        step = broken(Promise.SAME_SPIKES, "snn", lambda n: change(n, IfNeuron, "threshold", 0.9))
        fault = guilty(cnn, FORMED.replace("T=16", "T=16,schedule=layerwise"), step)
        assert fault.code == "SNNC0141"

    def test_ties_of_binary_fractions_are_few_among_the_decisions(self):
        """Weights, inputs and clips like these put V on a threshold in every thousandth code."""
        rng = np.random.default_rng(0)
        network = Network("fractions")
        x = network.add(Input(name="x", shape=(3, 16, 16)))
        for name in ("a", "b", "c"):
            weight = Constant(rng.integers(-40, 41, (8, network.type(x).shape[0], 3, 3)) / 128)
            x = network.add(Clip(maximum=1.0, source=name), network.add(Conv2d(weight=weight), x))
        flat = network.add(Reshape(shape=(network.type(x).size,)), x)
        weight = Constant(rng.integers(-40, 41, (2, network.type(flat).size)) / 128)
        network.add(Output(name="y"), network.add(Dense(weight=weight), flat))
        text = f"{FORMED},normalize-currents".replace("T=16", "T=128,schedule=layerwise,alpha=0.9")
        data = {"x": rng.integers(0, 256, (2, 3, 16, 16)) / 256}
        share = run(network, text, data).records[-1].proof["excused_share"]
        assert 0 < share < 1e-4

    def test_same_spikes_of_integers(self, cnn):
        def edit(network):
            node = next(network.of(IfNeuron))
            op = network.op(node)
            network.set(node, op.replace(threshold=Constant(op.threshold.array + 40)))

        before = f"{FORMED},normalize-currents,quantize"
        fault = guilty(cnn, before, broken(Promise.SAME_SPIKES, "int", edit))
        assert "neurons differ in their counts" in fault.message

    def test_same_spikes_with_a_population_too_many(self, cnn):
        def edit(network):
            node = next(network.of(IfNeuron))
            twin = network.add(network.op(node), node)
            network.redirect(node, twin, keep=[twin])

        fault = guilty(cnn, FORMED, broken(Promise.SAME_SPIKES, "snn", edit))
        assert "the number of populations changed" in fault.message

    @pytest.mark.parametrize(
        ("level", "before"),
        [
            ("snn", FORMED),
            ("snn", FORMED.replace("T=16", "T=16,schedule=layerwise")),
            ("int", f"{FORMED},normalize-currents,quantize"),
        ],
    )
    @pytest.mark.parametrize("factor", [0.9, -1.0])
    def test_same_spikes_with_other_answers(self, cnn, level, before, factor):
        def edit(network):
            node = next(network.of(Readout))
            network.set(node, network.op(node).replace(unit=network.op(node).unit * factor))

        fault = guilty(cnn, before, broken(Promise.SAME_SPIKES, level, edit))
        assert "outputs" in fault.message

    def test_approximate_with_no_answer(self, cnn):
        def edit(network):
            node = next(network.of(Dense))
            network.set(node, network.op(node).replace(weight=Constant(np.full((3, 32), 1e308))))

        with np.errstate(all="ignore"):
            fault = guilty(cnn, FORMED, broken(Promise.APPROXIMATE, "snn", edit))
        assert "promises approximate, measured, but outputs are not finite" in fault.message

    @pytest.mark.parametrize("promise", Promise)
    def test_an_output_too_few(self, cnn, promise):
        second = cnn.copy()
        second.add(Output(name="z"), next(second.of(Dense)))

        def edit(network):
            network.remove(list(network.of(Output))[1])

        fault = guilty(second, "simplify", broken(promise, "ann", edit))
        assert "the outputs are ['y'] and no longer ['y', 'z']" in fault.message

    def test_a_network_that_cannot_be_simulated(self, cnn):
        def edit(network):
            node = next(network.of(Conv2d))
            network.set(node, network.op(node).replace(shift=60))

        before = f"{FORMED},normalize-currents,quantize"
        fault = guilty(cnn, before, broken(Promise.APPROXIMATE, "int", edit), CompileError)
        assert fault.code == "SNNC0130"

    def test_invalid_ir(self, cnn):
        def edit(network):
            node = next(network.of(Dense))
            network.set(node, network.op(node).replace(weight=Constant(np.ones((3, 31)))))

        step = broken(Promise.SAME_FUNCTION, "ann", edit)
        with pytest.raises(InternalError) as caught:
            Pipeline([Simplify(), step]).run(cnn, context())
        assert [d.code for d in caught.value.diagnostics] == ["SNNC0140", "SNNC0151"]
        assert caught.value.diagnostics[0].message == "pass broken left an invalid network"
        assert "^^^ error: needs [M, K] weights" in caught.value.context
        assert "in pass broken; passes already run: simplify" in caught.value.context

    def test_nan_weights_are_invalid(self, cnn):
        step = broken(Promise.APPROXIMATE, "ann", lambda n: change(n, Dense, "weight", np.nan))
        assert guilty(cnn, "simplify", step).code == "SNNC0140"

    def test_an_exception(self, cnn):
        def edit(network):
            raise KeyError("alpha")

        fault = guilty(cnn, "simplify", broken(Promise.SAME_FUNCTION, "ann", edit))
        assert fault.code == "SNNC0140"
        assert fault.message == "pass broken raised KeyError: 'alpha'"

    @pytest.mark.parametrize("error", [CompileError, UsageError])
    def test_a_refusal_keeps_its_kind_and_gains_the_history(self, cnn, error):
        def edit(network):
            raise error.of("SNNC0120", "not this one", where=["conv1"])

        fault = guilty(cnn, "simplify", broken(Promise.SAME_FUNCTION, "ann", edit), error)
        assert (fault.message, fault.where) == ("not this one", ("conv1",))

    def test_a_change_of_the_network_it_was_given(self, cnn):
        class InPlace(Broken):
            def apply(self, network, context):
                change(network, Dense, "weight", 2.0)
                return network

        fault = guilty(cnn, "simplify", InPlace())
        assert fault.message == "pass broken changed the network it was given, not a copy"


@pytest.mark.parametrize("threads", [1, 2])
class TestProofsInTheBackground:
    """What the user sees does not depend on how far passes were ahead of their proofs."""

    def passes(self, context: CompileContext, monkeypatch, *, second: Promise, third: str) -> list[Pass]:
        """Three: one that says a note, one with a note and a promise, one that does ``third``."""
        ran = threading.Event()
        prove = Prover.prove

        def late(prover, promise, old, new):
            if context.threads > 1:
                assert ran.wait(60)
            return prove(prover, promise, old, new)

        monkeypatch.setattr(Prover, "prove", late)

        def note(text):
            return lambda n: context.diagnostics.note("SNNC0127", text)

        def change_and_note(network):
            note("second")(network)
            change(network, Dense, "weight", 2.0)

        def last(network):
            note("third")(network)
            ran.set()
            if third == "fails":
                raise ValueError("third")
            change(network, Dense, "weight", 1 + 1e-9)

        return [
            broken(Promise.SAME_FUNCTION, "ann", note("first")),
            broken(second, "ann", change_and_note),
            broken(Promise.SAME_FUNCTION, "ann", last),
        ]

    def messages(self, context: CompileContext) -> list[str]:
        return [d.message for d in context.diagnostics.items]

    @pytest.mark.parametrize("third", ["runs", "fails"])
    def test_the_first_fault_in_the_order_of_passes_is_raised(self, cnn, monkeypatch, threads, third):
        given = context(ramp(cnn), threads=threads)
        passes = self.passes(given, monkeypatch, second=Promise.SAME_FUNCTION, third=third)
        seen = []
        with pytest.raises(InternalError) as caught:
            Pipeline(passes).run(cnn, given, observe=lambda index, *_: seen.append(index))
        assert "promises same function" in caught.value.diagnostics[0].message
        assert "passes already run: broken\n" in f"{caught.value.context}\n"
        assert self.messages(given) == ["first", "second"]
        assert seen == [0, 1]

    def test_notes_warnings_and_observations_come_in_the_order_of_passes(self, cnn, monkeypatch, threads):
        given = context(ramp(cnn), threads=threads)
        passes = self.passes(given, monkeypatch, second=Promise.APPROXIMATE, third="runs")
        seen, said = [], given.diagnostics.items
        Pipeline(passes).run(cnn, given, observe=lambda index, *_: seen.append((index, len(said))))
        first, second, loss, third = self.messages(given)
        assert (first, second, third) == ("first", "second", "third")
        assert "changes the outputs on the probe by" in loss
        assert seen == [(0, 0), (1, 1), (2, 3), (3, 4)]

    def test_what_a_failing_pass_says_comes_after_all_before_it(self, cnn, monkeypatch, threads):
        given = context(ramp(cnn), threads=threads)
        passes = self.passes(given, monkeypatch, second=Promise.APPROXIMATE, third="fails")
        with pytest.raises(InternalError, match="raised ValueError: third"):
            Pipeline(passes).run(cnn, given)
        first, second, loss, third = self.messages(given)
        assert (first, second, third) == ("first", "second", "third")
        assert "changes the outputs on the probe by" in loss

    def test_a_fault_in_the_block_gives_way_to_a_broken_promise(self, cnn, monkeypatch, threads):
        given = context(ramp(cnn), threads=threads)
        passes = self.passes(given, monkeypatch, second=Promise.SAME_FUNCTION, third="runs")
        with pytest.raises(InternalError, match="promises same function"), running(cnn, passes, given):
            raise ValueError("in the block")


class TestRecords:
    def test_unchanged_passes_need_no_proof(self, cnn):
        result = run(cnn, "fold-batchnorm,simplify")
        assert [(r.changed, r.held, r.proof) for r in result.records] == [
            (False, True, {"unchanged": True}),
        ] * 2
        assert result.network == cnn

    def test_every_record_says_what_ran_and_what_held(self, cnn):
        result = run(cnn, f"{FORMED},normalize-currents,inject-tre,quantize,legalize", ramp(cnn))
        assert [r.name for r in result.records][1:3] == ["spikify", "form-projections"]
        assert all(r.held and r.seconds >= 0 and r.proof_seconds >= 0 for r in result.records)
        assert {r.promise for r in result.records} == {p.value for p in Promise}
        proofs = {r.name: set(r.proof) for r in result.records if r.changed}
        assert proofs == {
            "spikify": {"relative_error", "count_deviation"},
            "form-projections": {"relative_error"},
            "normalize-currents": {"excused_share", "closed_loop"},
            "inject-tre": {"relative_rms", "agreement"},
            "quantize": {"relative_rms", "agreement"},
            "legalize": {"populations"},
        }
        assert ",".join(r.text for r in result.records) == str(
            Pipeline(f"{FORMED},normalize-currents,inject-tre,quantize,legalize")
        )

    def test_observers_see_every_network(self, cnn):
        seen = []
        result = run(
            cnn, SPIKIFY, observe=lambda i, step, network: seen.append((i, step and step.name, network))
        )
        assert [(i, name) for i, name, _ in seen] == [(0, None), (1, "simplify"), (2, "spikify")]
        assert seen[0][2] is cnn
        assert seen[2][2] is result.network

    def test_stop_after(self, cnn):
        result = run(cnn, SPIKIFY, stop_after="simplify")
        assert [r.name for r in result.records] == ["simplify"]
        assert result.network.level == "ann"

    def test_folding_without_epsilon_is_measured(self, digits):
        from snnc.diagnostics import Diagnostics

        network = load(digits.model, Diagnostics()).network
        (record,) = run(network, "fold-batchnorm{epsilon=none}").records
        assert record.promise == "approximate, measured"
        assert 0 < record.proof["relative_rms"] < 0.1


class TestOrder:
    @pytest.mark.parametrize(
        ("text", "taken", "found"),
        [
            ("form-projections", "snn", "ann"),
            ("quantize", "snn", "ann"),
            ("legalize", "int", "ann"),
            (f"{SPIKIFY},simplify", "ann", "snn"),
            (f"{SPIKIFY},spikify", "ann", "snn"),
            (f"{SPIKIFY},legalize", "int", "snn"),
        ],
    )
    def test_a_pass_at_the_wrong_level_is_refused(self, cnn, text, taken, found):
        with pytest.raises(CompileError, match="SNNC0155") as caught:
            run(cnn, text, ramp(cnn))
        message = caught.value.diagnostics[0].message
        assert f"takes a network at the {taken} level, this one is at the {found} level" in message

    def test_passes_declare_the_levels_they_come_between(self):
        levels = [PASSES[p.name].level for p in build(PRESETS["default"], {})]
        assert levels == sorted(levels, key=["ann", "snn", "int"].index)

    @pytest.mark.parametrize("preset", PRESETS)
    def test_presets_print_and_parse(self, preset):
        passes = Pipeline(PRESETS[preset])
        assert Pipeline(str(passes)).passes == passes.passes

    def test_flags_fill_what_the_text_leaves_open(self):
        passes = {p.name: p for p in Pipeline("spikify{lambda=max},quantize", T=32, bits=4).passes}
        assert (passes["spikify"].T, passes["quantize"].bits) == (32, 4)
        with pytest.raises(UsageError, match="SNNC0154"):
            Pipeline("spikify{T=16}", T=32)

    def test_passes_are_objects(self, cnn):
        @dataclasses.dataclass(frozen=True)
        class Halve(Broken):
            """A third party's pass with an option."""

            name: ClassVar[str] = "halve"
            promise: ClassVar[Promise] = Promise.APPROXIMATE
            times: int = 1

            def edit(self, network):
                change(network, Dense, "weight", 0.5**self.times)

        result = Pipeline([Simplify(), Halve(times=2)]).run(cnn, context())
        assert result.records[1].text == "halve{times=2}"
        assert result.records[1].proof["relative_rms"] == pytest.approx(0.75)


@SETTINGS
@given(ann_networks())
def test_two_runs_give_the_same_text(ann):
    def texts() -> list[str]:
        seen: list[str] = []
        try:
            Pipeline(PRESETS["default"], T=4).run(
                ann.copy(),
                context(samples(ann, 2)),
                observe=lambda _, __, network: seen.append(print_network(network)),
            )
        except CompileError as error:
            seen.append(str(error))
        return seen

    assert texts() == texts()


def test_the_probe_is_the_data_or_seeded_noise(cnn):
    data = ramp(cnn, samples=5)
    assert np.array_equal(probe_inputs(cnn, context(data), 3)["x"], data["x"][:3])
    noise = probe_inputs(cnn, context(), 3)
    assert noise["x"].shape == (3, 1, 4, 4)
    assert np.array_equal(noise["x"], probe_inputs(cnn, context(), 3)["x"])
    bytes_ = Network("uint8")
    bytes_.add(Input(name="x", shape=(50,), dtype="uint8"))
    values = probe_inputs(bytes_, context(), 2)["x"]
    assert 0 <= values.min() < 50
    assert 200 < values.max() <= 255


def test_origins_survive_the_pipeline(cnn):
    network = run(cnn, f"{FORMED},normalize-currents,quantize", ramp(cnn)).network
    assert all(network.op(n).origin for n in network.of(Weighted, IfNeuron))


@pytest.mark.parametrize(
    ("schedule", "later"),
    [
        ("T=8,schedule=layerwise", "calibrate-offsets"),
        ("T=8,schedule=layerwise", "correct-over-time"),
        ("schedule=phase", "run-as{spikes=signed}"),
        ("T=32", "vary-thresholds"),
    ],
)
def test_what_contradicts_the_schedule_is_refused_before_any_pass_runs(cnn, schedule, later):
    seen = []
    with pytest.raises(CompileError, match="SNNC0155"):
        Pipeline(f"simplify,spikify{{{schedule}}},form-projections,{later}").run(
            cnn, context(), observe=lambda *step: seen.append(step)
        )
    assert not seen
