"""Integrate-then-fire networks, all layers in one pass through onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.backends.fast.codes import INEXACT, code_model, result_name
from snnc.backends.onnx.build import value_name
from snnc.backends.onnx.session import open_session, run_session
from snnc.backends.reference.batches import peak_bytes
from snnc.backends.reference.drive import Clock, event_counts, input_signal
from snnc.backends.reference.engine import has_events
from snnc.backends.reference.fire import events, read_out
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, MaxGate, Output, Readout

Array = npt.NDArray[Any]

CACHE_BYTES = 1 << 20
"""The values of one layer of a batch: about what a core's second-level cache holds."""


class OnePass:
    """A network's codes and outputs, without its spikes and membranes."""

    def __init__(self, network: Network) -> None:
        """Raises UnprovedError for a network whose sums are not known to be exact in floating point."""
        self.network, self.clock = network, Clock.of(network)
        self._session = open_session(code_model(network), without=INEXACT)
        sizes = [network.type(node).size for node in network.of(IfNeuron, MaxGate, Readout)]
        # an operand, its sum and what is made of it are alive together, some in float64; codes are kept
        self.sample_bytes = 3 * peak_bytes(network, lambda node: 8 * network.type(node).size) + 4 * sum(sizes)
        self.batch = CACHE_BYTES // (4 * max(sizes))

    def run(self, inputs: Mapping[int, Array], record: bool = False) -> Trace:
        """One batch, of codes by input node."""
        assert not record, "there are no spikes and membranes in one pass"
        network, trace = self.network, Trace(counts=event_counts(self.network, inputs))
        feeds = {value_name(node): self._operand(node, x) for node, x in inputs.items()}
        nodes = list(network.of(IfNeuron, MaxGate, Readout))
        results = run_session(self._session, [result_name(node) for node in nodes], feeds)
        currents = {}
        for node, result in zip(nodes, results, strict=True):
            op = network.op(node)
            if isinstance(op, Readout):
                total = result.astype(np.int64 if network.level == "int" else np.float64)
                currents[node] = read_out(op, total[:, None], network)
                continue
            assert isinstance(op, IfNeuron | MaxGate)
            trace.counts[node] = result
            if has_events(network, node):
                trace.events[node] = events(result, network.spike_values)
        for node in network.of(Output):
            op = network.op(node)
            assert isinstance(op, Output)
            trace.outputs[op.name] = currents[network.operands(node)[0]]
        return trace

    def _operand(self, node: int, x: Array) -> Array:
        """An input, summed over the run if it is events."""
        op = self.network.op(node)
        assert isinstance(op, Input)
        signal = input_signal(op, x, self.clock)
        return (signal.array[:, 0] if signal.timed else signal.array).astype(np.float32)
