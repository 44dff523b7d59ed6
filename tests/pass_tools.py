"""Runs pipelines in tests: text or networks in, networks out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import assume

from snnc.backends.base import Trace
from snnc.diagnostics import CompileError, Diagnostics
from snnc.ir.network import Network
from snnc.ir.ops import Input
from snnc.ir.parser import parse
from snnc.pipeline import CompileContext, Pipeline, PipelineResult
from snnc.prove import outputs

ANN_PASSES = "simplify,fold-batchnorm,lower-pooling,fuse-linear"

Arrays = Mapping[str, np.ndarray]


def context(calibration: Arrays | None = None, **options: Any) -> CompileContext:
    """A context with diagnostics of its own."""
    return CompileContext(Diagnostics(), calibration, **options)


def run(network: Network, pipeline: str, calibration: Arrays | None = None, **options: Any) -> PipelineResult:
    """The result of a pipeline, every promise proved on the way."""
    return Pipeline(pipeline).run(network, context(calibration), **options)


def run_if_spiking(network: Network, pipeline: str, given: CompileContext, **options: Any) -> Network:
    """The network a pipeline makes of a random ANN; one without a spiking form is discarded.

    Random networks have average pools before max pools, which are refused.
    """
    try:
        return Pipeline(pipeline).run(network, given, **options).network
    except CompileError as error:
        assume("no spiking form" not in str(error))
        raise


def rewritten(text: str, pipeline: str, calibration: Arrays | None = None) -> Network:
    """The network that a pipeline makes of IR text."""
    return run(parse(f"snnc-ir 1\n{text}"), pipeline, calibration).network


def ramp(network: Network, low: float = -1.0, high: float = 1.0, samples: int = 4) -> dict[str, np.ndarray]:
    """Inputs that rise evenly from ``low`` to ``high`` over samples and elements."""
    arrays = {}
    for node in network.of(Input):
        op = network.op(node)
        assert isinstance(op, Input)
        shape = (samples, *op.shape)
        arrays[op.name] = np.linspace(low, high, int(np.prod(shape))).reshape(shape)
    return arrays


def relative_difference(old: Network, new: Network, inputs: Arrays) -> float:
    """The greatest difference between the outputs of two networks, by the greatest output."""
    a, b = outputs(old, inputs), outputs(new, inputs)
    assert a.keys() == b.keys()
    return max(float(np.abs(a[k] - b[k]).max() / max(float(np.abs(a[k]).max()), 1e-30)) for k in a)


def differences(left: Trace, right: Trace) -> list[str]:
    """The fields and keys at which two traces are not equal in every integer."""
    found = []
    for field in ("outputs", "counts", "events", "spikes", "membranes"):
        one, other = getattr(left, field), getattr(right, field)
        keys = sorted(one.keys() | other.keys(), key=str)
        found += [f"{field}[{k}]" for k in keys if k not in one or not np.array_equal(one[k], other.get(k))]
    return found
