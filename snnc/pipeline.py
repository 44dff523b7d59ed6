"""The pass manager: runs passes, verifies the IR between them, proves and times each."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from snnc import synthetic
from snnc.backends.reference.batches import peak_bytes
from snnc.backends.reference.evaluate import evaluate
from snnc.calibrate import CompileContext
from snnc.diagnostics import CompileError, Diagnostic, Diagnostics, InternalError, SnncError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Clip, Conv2d, IfNeuron, MaxGate, Output, Relu
from snnc.ir.verify import verify
from snnc.passes import build
from snnc.passes.base import Pass, Promise
from snnc.passes.spikify import Spikify
from snnc.prove import FUNCTION_TOLERANCE, TRACE_BYTES, Proof, Prover
from snnc.spec import to_text

Observer = Callable[[int, Pass | None, Network], None]
"""Called with 0 and None for the network as given, then with 1, 2, … after each pass."""


@dataclasses.dataclass(frozen=True)
class PassRecord:
    """What one pass did: its canonical text, its promise, the proof as JSON values, and its time.

    ``seconds`` is the pass itself, ``proof_seconds`` its verification.
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
    """The network after the last pass, the last one at the ann level, and a record of each pass."""

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
    if network.level == "ann" and context.imported is None:
        context.imported = network
    check(passes)
    refuse_too_large(network, probe, context.max_memory)
    inputs = probe_inputs(network, context, probe)
    refuse_overflow(network, inputs)
    prover = Prover(inputs, context.max_memory, context.engine)
    records: list[PassRecord] = []
    ann = network
    if observe:
        observe(0, None, network)
    for step in passes:
        network, record = _run_one(step, network, context, prover, [r.name for r in records])
        records.append(record)
        ann = network if network.level == "ann" else ann
        if observe:
            observe(len(records), step, network)
        if step.name == stop_after:
            break
    return PipelineResult(network, ann, records)


def check(passes: Sequence[Pass]) -> None:
    """Raise CompileError for options that are out of range or contradict those of other passes."""
    spikify: Spikify | None = None
    for step in passes:
        with _naming(step, ()):
            step.check_options()
            if spikify is not None:
                step.check_schedule(spikify.schedule, spikify.steps)
        spikify = step if isinstance(step, Spikify) else spikify


def refuse_too_large(network: Network, samples: int, memory: int) -> None:
    """Raise CompileError (SNNC0104) if the weights and a probe of one step take more than ``memory``.

    That is three generations of float64 weights beside the model itself, the windows of the largest
    convolution, and for every sample two networks' activations and spikes.
    """
    weights = sum(
        c.size for n in network.nodes for c in vars(network.op(n)).values() if isinstance(c, Constant)
    )
    neurons = sum(network.type(n).size for n in network.of(Relu, Clip, IfNeuron, MaxGate))
    live = peak_bytes(network, lambda node: 8 * network.type(node).size)
    columns = max((_columns(network, n) for n in network.of(Conv2d)), default=0)
    values = sum(network.type(n).size for n in network.nodes if not isinstance(network.op(n), Output))
    need = 32 * weights + columns + 8 * values + samples * (2 * live + 2 * TRACE_BYTES * neurons)
    if need > memory:
        raise CompileError.of(
            "SNNC0104",
            f"compiling takes about {need >> 20} MiB for {weights} weights and {neurons} neurons, "
            f"more than the {memory >> 20} MiB allowed",
            remedy="raise --max-memory, lower --probe, or export the model for a smaller input",
        )


def _columns(network: Network, node: int) -> int:
    """The bytes of the windows that a convolution is multiplied with, of one sample."""
    op = network.op(node)
    assert isinstance(op, Conv2d)
    return 8 * op.groups * math.prod(op.weight.shape[1:]) * math.prod(network.type(node).shape[1:])


def refuse_overflow(network: Network, inputs: Mapping[str, Any]) -> None:
    """Raise CompileError (SNNC0114) if an ANN's outputs on the probe are beyond float32.

    It names the first of the nodes that lead there.
    """
    if network.level != "ann":
        return

    def sound(node: int) -> bool:
        with np.errstate(all="ignore"):
            values = evaluate(network, inputs, [node])[node]
        return bool((np.abs(values) <= np.finfo(np.float32).max).all())

    nodes = [n for n in network.nodes if not isinstance(network.op(n), Output)]
    if all(sound(network.operands(n)[0]) for n in network.of(Output)):
        return
    first, last = 0, len(nodes) - 1
    while first < last:
        middle = (first + last) // 2
        first, last = (middle + 1, last) if sound(nodes[middle]) else (first, middle)
    raise CompileError.of(
        "SNNC0114",
        "the values overflow float32",
        where=network.op(nodes[first]).origin,
        remedy="check the weights: this network computes nothing",
    )


def _run_one(
    step: Pass, network: Network, context: CompileContext, prover: Prover, before: Sequence[str]
) -> tuple[Network, PassRecord]:
    given = network.fingerprint()
    started = time.perf_counter()
    with _naming(step, before):
        result = step.apply(network, context)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    if network.fingerprint() != given:
        raise _broken(step, before, f"pass {step.name} changed the network it was given, not a copy")
    _verify_after(step, result, before)
    promise, changed = step.guarantee(), result.fingerprint() != given
    with _naming(step, before):
        proof = prover.prove(promise, network, result) if changed else Proof(True, {"unchanged": True})
    if not proof.held:
        message = f"pass {step.name} promises {promise.value}, but {proof.fault}"
        remedy = "activations lie exactly on thresholds: calibrate with other data, or choose another lambda"
        if not proof.ties:
            remedy = "report this with the model"
        fault = Diagnostic("error", "SNNC0141", message, proof.where, remedy)
        raise (CompileError if proof.ties else InternalError)([fault], _history(step, before))
    if changed:
        _state_losses(step, network, result, proof, prover, context.diagnostics)
    record = PassRecord(
        name=step.name,
        text=to_text(step),
        promise=promise.value,
        held=proof.held,
        proof=proof.measured,
        changed=changed,
        seconds=seconds,
        proof_seconds=time.perf_counter() - started,
    )
    return result, record


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


def probe_inputs(network: Network, context: CompileContext, samples: int) -> Mapping[str, Any]:
    """The first calibration samples, or synthetic images where there are none."""
    if context.calibration is not None:
        return {name: np.asarray(x[:samples]) for name, x in context.calibration.items()}
    return synthetic.images(network, context.input_range, samples)


__all__ = ["CompileContext", "PassRecord", "Pipeline", "PipelineResult", "probe_inputs", "run"]
