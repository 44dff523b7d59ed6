"""snnc's fast simulator against one ANN pass in onnxruntime and against SpikingJelly, in one run.

    pip install torch==2.13.0 && pip install spikingjelly     # in an environment of its own
    python benchmarks/simulators.py --case resnet20=MODEL.onnx:DATA.npz … --vgg 0.01,0.05,0.15

DATA.npz holds `calib` and `x`. Every tool simulates the same T steps of the same samples with the same
weights (snnc's in 8-bit integers), one after the other, in `--repeat` rounds; a ratio is taken within a
round, and the table shows its median, least and largest value. Times are processor seconds of all threads
of the process, but for the elapsed ones. NumPy runs the reference
simulator on the first samples (OPENBLAS_NUM_THREADS=1: its threads would wait busily). Bytes moved are those
that a run cannot avoid: a byte of weight for each SOP; for each neuron and step its current, zeroed and read,
and its spike, written and read; under integrate-then-fire, eight floats and two codes for each neuron. Noise
is by how much the ANN's slowest round exceeds its quickest. Without SpikingJelly its columns stay empty.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import functools
import gc
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from peaks import report, seconds

import snnc
from snnc.backends.base import Trace
from snnc.backends.fast.engine import FastEngine
from snnc.backends.fast.run import Plan
from snnc.backends.onnx import ModelRunner
from snnc.backends.reference.engine import ReferenceEngine
from snnc.compiled import network_costs
from snnc.data import inputs_of
from snnc.driver import Request, optimise
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron

PRESETS = {"rate": "default", "layerwise": "layerwise", "phase": "phase"}


@dataclasses.dataclass
class Case:
    """A model with its samples; ``tools`` are built in the process that runs them."""

    name: str
    model: Any
    calibration: np.ndarray
    samples: np.ndarray


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Those of the command line, then the random networks."""
    for text in arguments.case:
        name, _, rest = text.partition("=")
        model, _, data = rest.partition(":")
        arrays = np.load(data)
        yield Case(name, model, arrays["calib"], arrays["x"][: arguments.samples])
    for rate in filter(None, arguments.vgg.split(",")):
        import random_vgg

        model, samples = random_vgg.build(float(rate))
        yield Case(
            f"VGG-16 shape, {float(rate):.0%}",
            model.SerializeToString(),
            samples,
            samples[: arguments.samples],
        )


def snnc_tool(case: Case, schedule: str, steps: int, threads: int) -> tuple[Callable[[], Trace], Network]:
    """A run of the fast engine, and the network."""
    options = {"T": steps} if schedule != "phase" else {}
    compiled = snnc.compile(case.model, calibration=case.calibration, preset=PRESETS[schedule], **options)
    engine, network = FastEngine(threads=threads), compiled.network
    inputs = {next(iter(inputs_of(network))): case.samples}
    return lambda: engine.simulate(network, inputs), network


def ann_tool(case: Case, threads: int) -> Callable[[], Any]:
    """One forward pass of the model in onnxruntime."""
    proto = onnx.load_from_string(case.model) if isinstance(case.model, bytes) else onnx.load(case.model)
    runner = ModelRunner(proto, threads)
    name = proto.graph.input[0].name
    return lambda: runner.run({name: case.samples})


def peer_tool(case: Case, steps: int, threads: int, batch: int) -> Callable[[], Any]:
    """SpikingJelly on batches. Raises ImportError without it, Unsupported for a network it cannot express."""
    import spikingjelly_peer
    import torch

    torch.set_num_threads(threads)
    ann = optimise(case.model, Request(pipeline="simplify,fold-batchnorm"))
    run = spikingjelly_peer.convert(ann, case.calibration, steps)
    return lambda: [run(case.samples[k : k + batch]) for k in range(0, len(case.samples), batch)]


def best_peer(case: Case, steps: int, threads: int) -> tuple[Callable[[], Any] | None, str]:
    """SpikingJelly with whichever batch is the quickest, or why there is none."""
    try:
        found = {batch: peer_tool(case, steps, threads, batch) for batch in (1, 4, 16)}
        return found[min(found, key=lambda batch: seconds(found[batch]))], ""
    except ImportError:
        return None, "not installed"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def report_memory(case: Case, tool: str, arguments: argparse.Namespace) -> None:
    """Print the MiB that a network and its run take; in a process of its own, on Linux.

    A run of another copy comes first, which loads libraries and kernels. SpikingJelly takes 16 samples at a
    time.
    """
    if tool == "snnc":
        make = _reloaded(case, arguments.steps)
    else:
        make = functools.partial(peer_tool, case, arguments.steps, 1, 16)
    make()()
    before = _settled()
    run = make()
    _settled()
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    run()
    print(_resident("VmHWM") - before)


def _reloaded(case: Case, steps: int) -> Callable[[], Callable[[], Any]]:
    """What loads the compiled case each time anew, with an engine of its own."""
    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name) / "case.snnc"
    snnc.compile(case.model, calibration=case.calibration, T=steps).save(path)

    def make(kept: Any = folder) -> Callable[[], Any]:
        engine, network = FastEngine(), snnc.load(path).network
        inputs = {next(iter(inputs_of(network))): case.samples}
        return lambda: engine.simulate(network, inputs)

    return make


def _settled() -> float:
    """MiB in use once what was freed is given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _resident("VmRSS")


def _resident(field: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def peak_memory(case: Case, tool: str) -> str:
    """What :func:`report_memory` prints."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", tool, "--only", case.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{float(done.stdout.split()[-1]):.0f}" if done.returncode == 0 else "–"


def spread(ratios: list[float]) -> str:
    """Median, and from the least to the largest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def measure(case: Case, schedule: str, threads: int, arguments: argparse.Namespace, most: float) -> list[str]:
    """One row of the table."""
    steps = arguments.steps
    run, network = snnc_tool(case, schedule, steps, threads)
    ann = ann_tool(case, threads)
    peer, reason = best_peer(case, steps, threads) if schedule == "rate" else (None, "other schedule")
    trace = run()
    ann()
    times: dict[str, list[float]] = {"snnc": [], "ann": [], "peer": []}
    for _ in range(arguments.repeat):
        for name, tool in (("snnc", run), ("ann", ann), ("peer", peer)):
            if tool:
                times[name].append(seconds(tool))
    begin = time.perf_counter()
    run()
    elapsed = (time.perf_counter() - begin) / len(case.samples)
    slow = reference_seconds(network, case) if threads == 1 else 0
    count = len(case.samples)
    mean = {node: counts.mean(axis=0) for node, counts in trace.emitted().items()}
    sops = network_costs(network, mean).totals.sops
    own = min(times["snnc"]) / count
    neurons = sum(counts[0].size for counts in trace.counts.values())
    rate = sum(float(c.sum()) for c in mean.values()) / (neurons * (network.steps or 1))
    speed = [f"{sops / own / 1e9:.1f}", f"{sops / own / most:.0%}"] if schedule == "rate" else ["", ""]
    return [
        *(case.name, schedule, str(threads), f"{rate:.1%}", f"{own * 1e3:.2f}", f"{elapsed * 1e3:.2f}"),
        *(*speed, f"{moved(network, sops) / own / 1e9:.1f}", ratio(times["snnc"], times["ann"])),
        ratio(times["peer"], times["snnc"]) if peer else f"– ({reason})",
        *(f"{slow / own:.1f}" if slow else "", f"{max(times['ann']) / min(times['ann']) - 1:.0%}"),
    ]


def ratio(left: list[float], right: list[float]) -> str:
    """Of times in the same round."""
    return spread([one / other for one, other in zip(left, right, strict=True)])


def reference_seconds(network: Network, case: Case) -> float:
    """For each of the first two samples, or of all under integrate-then-fire."""
    few = case.samples[:2] if network.schedule == "rate" else case.samples
    inputs = {next(iter(inputs_of(network))): few}
    return seconds(lambda: ReferenceEngine().simulate(network, inputs)) / len(few)


def moved(network: Network, sops: float) -> float:
    """Bytes that a sample needs at least; see above."""
    populations = list(network.of(IfNeuron))
    if network.schedule != "rate":
        return float(sum(34 * network.type(n).size for n in populations))
    plan = Plan(network)
    per_step = sum(network.type(n).size * (2 * plan.currents[n].dtype.itemsize + 2) for n in populations)
    return sops + (network.steps or 1) * per_step


HEADER = ("case", "schedule", "threads", "rate", "ms per sample", "elapsed", "GSOP/s", "of the roof", "GB/s")
RATIOS = ("ANN passes per sample", "SpikingJelly / snnc", "reference / snnc", "noise", "MiB", "SpikingJelly")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", action="append", default=[], metavar="NAME=MODEL:DATA")
    parser.add_argument("--vgg", default="", metavar="RATE,…")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--schedules", default="rate,layerwise,phase")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        (case,) = (case for case in cases(arguments) if case.name == arguments.only)
        report_memory(case, arguments.memory_of, arguments)
        return
    most = report()
    print("|", " | ".join((*HEADER, *RATIOS)), "|")
    print("| --- | --- |" + " ---: |" * (len(HEADER) + len(RATIOS) - 2), flush=True)
    for case in cases(arguments):
        schedules = arguments.schedules.split(",")
        sizes = [peak_memory(case, t) for t in ("snnc", "spikingjelly")] if "rate" in schedules else ["", ""]
        for schedule in schedules:
            for threads in arguments.threads.split(","):
                row = measure(case, schedule, int(threads), arguments, most)
                print("|", " | ".join([*row, *(sizes if schedule == "rate" else ["", ""])]), "|", flush=True)


if __name__ == "__main__":
    main()
