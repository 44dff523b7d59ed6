"""The pass manager: runs passes, verifies the IR between them, proves and times each.

Proofs run in the background of the passes that follow. What passes and proofs say is said in the order of the
passes all the same, and of several faults the first pass's is raised.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from snnc.background import Background
from snnc.calibrate import CompileContext
from snnc.diagnostics import CompileError, Diagnostic, Diagnostics, HeldBack, InternalError, SnncError
from snnc.ir.network import Network
from snnc.ir.ops import MaxGate
from snnc.ir.verify import verify
from snnc.passes import build
from snnc.passes.base import Pass, Promise
from snnc.passes.spikify import Spikify
from snnc.probe import probe_inputs, refuse_overflow, refuse_too_large
from snnc.prove import FUNCTION_TOLERANCE, Proof, Prover
from snnc.spec import to_text

Observer = Callable[[int, Pass | None, Network], None]
"""Called with 0 and None for the network as given, then with 1, 2, … after each pass has been proved."""

PROOFS_AHEAD = 5
"""So many proofs, and runs for them, may wait, each of which keeps a network in memory.

As many as there are between ``spikify`` and the end of calibration: neither statistics nor calibration need
wait for what is proved before them.
"""


@dataclasses.dataclass(frozen=True)
class PassRecord:
    """What one pass did: its canonical text, its promise, the proof as JSON values, and its time.

    ``seconds`` is the pass itself, ``proof_seconds`` its proof, both by the clock while others may run.
    """

    name: str
    text: str
    promise: str
    held: bool
    proof: dict[str, Any]
    changed: bool
    seconds: float
    proof_seconds: float


@dataclasses.dataclass(frozen=True)
class PipelineResult:
    """The network after the last pass, the last one at the ann level, and a record of each proved pass."""

    network: Network
    ann: Network
    records: list[PassRecord]


class Pipeline:
    """An ordered list of passes; third-party passes are objects in it.

    ``Pipeline("simplify,fold-batchnorm")`` builds the passes from text.
    """

    def __init__(self, passes: str | Sequence[Pass], **flags: Any) -> None:
        """``flags`` such as ``bits=8`` fill options that a text leaves open."""
        self.passes = build(passes, flags) if isinstance(passes, str) else tuple(passes)

    def __str__(self) -> str:
        return ",".join(map(to_text, self.passes))

    def run(self, network: Network, context: CompileContext, **options: Any) -> PipelineResult:
        """See :func:`run`."""
        return run(network, self.passes, context, **options)


def run(
    network: Network,
    passes: Sequence[Pass],
    context: CompileContext,
    *,
    probe: int = 2,
    observe: Observer | None = None,
    stop_after: str | None = None,
) -> PipelineResult:
    """Run ``passes`` in order, on a probe of that many samples.

    Raises CompileError if the network cannot be compiled, with the passes already run in it, and
    InternalError if a pass leaves an invalid network (SNNC0140) or breaks its promise (SNNC0141).
    """
    with running(network, passes, context, probe=probe, observe=observe, stop_after=stop_after) as result:
        return result


@contextlib.contextmanager
def running(
    network: Network,
    passes: Sequence[Pass],
    context: CompileContext,
    *,
    probe: int = 2,
    observe: Observer | None = None,
    stop_after: str | None = None,
) -> Iterator[PipelineResult]:
    """As :func:`run`, for a ``with`` block that runs while the last passes are proved.

    Not all is proved, and the records are not complete, before the end of the block.
    """
    if network.level == "ann" and context.imported is None:
        context.imported = network
    check(passes)
    refuse_too_large(network, probe, context.max_memory)
    inputs = probe_inputs(network, context, probe)
    refuse_overflow(network, inputs)
    if observe:
        observe(0, None, network)
    with Background(PROOFS_AHEAD if context.threads > 1 else 0) as background:
        manager = _Manager(context, Prover(inputs, context.max_memory, context.engine), background, observe)
        ann = network
        for step in passes:
            network = manager.run(step, network)
            ann = network if network.level == "ann" else ann
            if step.name == stop_after:
                break
        yield PipelineResult(network, ann, manager.records)


def check(passes: Sequence[Pass]) -> None:
    """Raise CompileError for options that are out of range or contradict those of other passes."""
    spikify: Spikify | None = None
    for step in passes:
        with _naming(step, ()):
            step.check_options()
            if spikify is not None:
                step.check_schedule(spikify.schedule, spikify.steps)
        spikify = step if isinstance(step, Spikify) else spikify


class _Manager:
    """Runs passes, and has them proved in the background."""

    def __init__(
        self, context: CompileContext, prover: Prover, background: Background, observe: Observer | None
    ) -> None:
        self.records: list[PassRecord] = []
        self._context, self._prover = context, prover
        self._background, self._observe = background, observe
        self._before: list[str] = []

    def run(self, step: Pass, network: Network) -> Network:
        """What a pass makes of a network."""
        before, said = tuple(self._before), HeldBack()
        if step.guarantee() is Promise.APPROXIMATE and network.level == "int":
            # while the pass is at work
            self._background.give(lambda: self._prepare(step, network, before), Future.result)
        try:
            with self._saying(said):
                result, seconds = _applied(step, network, self._context, before)
        except SnncError:
            # faults of the passes before come first, and then what was said until here
            self._background.settle()
            self._context.diagnostics.take(said)
            raise
        if step.guarantee() is Promise.SAME_SPIKES:
            self._context.keep_run(network, result)
        # both have been walked: what they find out about themselves is there when two threads read them
        changed = result.fingerprint() != network.fingerprint()
        ran = self._context.tuned_run(result)

        def prove() -> tuple[Proof, Diagnostics, float]:
            started, losses = time.perf_counter(), HeldBack()
            proof = Proof(True, {"unchanged": True})
            if changed:
                if ran:
                    self._prover.learn(result, ran)
                proof = _proved(step, network, result, self._prover, before)
                _state_losses(step, network, result, proof, self._prover, losses)
            return proof, losses, time.perf_counter() - started

        def take(proved: Future[tuple[Proof, Diagnostics, float]]) -> None:
            self._context.diagnostics.take(said)
            proof, losses, proof_seconds = proved.result()
            self._context.diagnostics.take(losses)
            self.records.append(
                PassRecord(
                    name=step.name,
                    text=to_text(step),
                    promise=step.guarantee().value,
                    held=proof.held,
                    proof=proof.measured,
                    changed=changed,
                    seconds=seconds,
                    proof_seconds=proof_seconds,
                )
            )
            if self._observe:
                self._observe(len(self.records), step, result)

        self._before.append(step.name)
        self._background.give(prove, take)
        return result

    def _prepare(self, step: Pass, network: Network, before: Sequence[str]) -> None:
        """Run what the proof of a pass will compare with."""
        with _naming(step, before):
            self._prover.prepare(network)

    @contextlib.contextmanager
    def _saying(self, said: Diagnostics) -> Iterator[None]:
        """What passes say within the block is said to ``said``."""
        own, self._context.diagnostics = self._context.diagnostics, said
        try:
            yield
        finally:
            self._context.diagnostics = own


def _applied(
    step: Pass, network: Network, context: CompileContext, before: Sequence[str]
) -> tuple[Network, float]:
    """The valid network that a pass makes, and the seconds that it takes."""
    given, started = network.fingerprint(), time.perf_counter()
    with _naming(step, before):
        result = step.apply(network, context)
    seconds = time.perf_counter() - started
    if network.fingerprint() != given:
        raise _broken(step, before, f"pass {step.name} changed the network it was given, not a copy")
    _verify_after(step, result, before)
    return result, seconds


def _proved(step: Pass, network: Network, result: Network, prover: Prover, before: Sequence[str]) -> Proof:
    """The proof of a pass. Raises if its promise is broken."""
    promise = step.guarantee()
    with _naming(step, before):
        proof = prover.prove(promise, network, result)
    if proof.held:
        return proof
    message = f"pass {step.name} promises {promise.value}, but {proof.fault}"
    remedy = "activations lie exactly on thresholds: calibrate with other data, or choose another lambda"
    if not proof.ties:
        remedy = "report this with the model"
    fault = Diagnostic("error", "SNNC0141", message, proof.where, remedy)
    raise (CompileError if proof.ties else InternalError)([fault], _history(step, before))


def _state_losses(
    step: Pass, before: Network, after: Network, proof: Proof, prover: Prover, diagnostics: Diagnostics
) -> None:
    """Warn of what changes the ANN's function, or stands in for it in spikes, with the loss on the probe."""
    what, loss = to_text(step), None
    if after.level == "ann" and step.guarantee() is Promise.APPROXIMATE:
        loss = proof.measured["relative_rms"] if proof.measured["relative_rms"] > FUNCTION_TOLERANCE else None
    elif after.level != "ann" and before.level == "ann":
        what, loss = "passing the leading input of max pools", _leading_loss(after, prover)
    if loss is not None:
        message = f"{what} changes the outputs on the probe by {loss:.2%} (rms)"
        diagnostics.warning("SNNC0128", message, remedy="the report tells the loss of each layer")


def _leading_loss(network: Network, prover: Prover) -> float | None:
    """What gates that pass their leading input change of the answers, relative rms; None without such."""
    exact = network.copy()
    for node in network.of(MaxGate):
        exact.set(node, network.op(node).replace(gate="count-max"))
    if exact.fingerprint() == network.fingerprint():
        return None
    return float(prover.closed_loop(exact, network)["relative_rms"])


@contextlib.contextmanager
def _naming(step: Pass, before: Sequence[str]) -> Iterator[None]:
    """Errors within tell which pass they arose in, and which ran before."""
    try:
        yield
    except SnncError as error:
        raise type(error)(error.diagnostics, _history(step, before, error.context)) from error
    except Exception as error:
        # whatever a pass raises, the user learns which pass it was
        message = f"pass {step.name} raised {type(error).__name__}: {error}"
        raise _broken(step, before, message) from error


def _broken(step: Pass, before: Sequence[str], message: str) -> InternalError:
    return InternalError.of("SNNC0140", message, context=_history(step, before))


def _verify_after(step: Pass, network: Network, before: Sequence[str]) -> None:
    try:
        verify(network)
    except CompileError as error:
        fault = Diagnostic("error", "SNNC0140", f"pass {step.name} left an invalid network")
        context = f"{error.context}\n{_history(step, before)}"
        raise InternalError([fault, *error.diagnostics], context) from error


def _history(step: Pass, before: Sequence[str], context: str = "") -> str:
    done = ", ".join(before) or "none"
    line = f"in pass {step.name}; passes already run: {done}"
    return f"{context}\n{line}" if context else line


__all__ = ["CompileContext", "PassRecord", "Pipeline", "PipelineResult", "run", "running"]
