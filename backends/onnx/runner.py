"""Running ANNs in onnxruntime: an ann-level network, or the model the user gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from snnc.backends.base import frames
from snnc.backends.onnx.build import input_name, to_onnx, value_name
from snnc.backends.onnx.session import open_session, run_session
from snnc.diagnostics import CompileError, UsageError
from snnc.ir.network import Network
from snnc.ir.ops import Input

Array = npt.NDArray[Any]


class AnnRunner:
    """The values of tapped nodes of an ann-level network, in float32."""

    def __init__(self, network: Network, taps: Sequence[int], threads: int = 1) -> None:
        """``taps`` are the nodes whose values :meth:`run` returns."""
        self._taps = tuple(dict.fromkeys(taps))
        self._inputs = {node: op for node in network.of(Input) if isinstance(op := network.op(node), Input)}
        self._session = open_session(to_onnx(network, self._taps), threads)

    def run(self, inputs: Mapping[str, Array]) -> dict[int, Array]:
        """Run a batch, arrays in the user's layout; returns [N, …] for each tap.

        Raises UsageError for a missing array.
        """
        missing = [op.name for op in self._inputs.values() if op.name not in inputs]
        if missing:
            raise UsageError.of("SNNC0162", f"no array is given for {', '.join(map(repr, missing))}")
        feeds = {
            input_name(n): np.asarray(frames(op, np.asarray(inputs[op.name])), np.float32)
            for n, op in self._inputs.items()
        }
        results = run_session(self._session, [value_name(n) for n in self._taps], feeds)
        return dict(zip(self._taps, results, strict=True))


class ModelRunner:
    """The user's own model, whatever batch size its graph is made for.

    A fixed batch extent is made symbolic where the graph then gives the same results on one sample more;
    otherwise samples run in blocks of the fixed extent.
    """

    def __init__(self, model: onnx.ModelProto, threads: int = 1, batch: int = 64) -> None:
        """``batch`` is the most samples run together. Raises CompileError for a model that cannot run."""
        self._threads = threads
        self._batch = batch
        self._dtypes = {v.name: _dtype(v) for v in _real_inputs(model)}
        self._block = _fixed_batch(model)
        self._session = open_session(model, threads)
        self._flexible = _with_free_batch(model) if self._block else None

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Every output of the model, [N, …], for arrays by input name.

        Raises CompileError if onnxruntime cannot run the model on them.
        """
        feeds = {name: np.asarray(inputs[name]).astype(d, copy=False) for name, d in self._dtypes.items()}
        if self._flexible is not None and len(next(iter(feeds.values()))) > self._block:
            self._try_free_batch(self._flexible, feeds)
            self._flexible = None
        return self._in_blocks(feeds)

    def _in_blocks(self, feeds: Mapping[str, Array]) -> list[Array]:
        samples = len(next(iter(feeds.values())))
        size = self._block or self._batch
        starts = range(0, max(1, samples), size)
        parts = [self._run_block({n: x[start : start + size] for n, x in feeds.items()}) for start in starts]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run_block(self, block: Mapping[str, Array]) -> list[Array]:
        count = len(next(iter(block.values())))
        if count < self._block:
            # a model of fixed extent wants it filled
            block = {n: np.concatenate([x, x[-1:].repeat(self._block - count, 0)]) for n, x in block.items()}
        return [y[:count] for y in run_session(self._session, None, block)]

    def _try_free_batch(self, model: onnx.ModelProto, feeds: Mapping[str, Array]) -> None:
        few = {name: x[: self._block + 1] for name, x in feeds.items()}
        apart = self._in_blocks(few)
        try:
            session = open_session(model, self._threads)
            together = run_session(session, None, few)
        except CompileError:
            return
        if all(
            y.shape == a.shape and np.allclose(y, a, 1e-4, 1e-5) for y, a in zip(together, apart, strict=True)
        ):
            self._session, self._block = session, 0


def run_model(model: onnx.ModelProto, inputs: Mapping[str, Array], threads: int = 1) -> list[Array]:
    """Every output of the user's model, [N, …]; see :class:`ModelRunner`."""
    return ModelRunner(model, threads).run(inputs)


def _real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in constants]


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _fixed_batch(model: onnx.ModelProto) -> int:
    """The leading extent of the first input, 0 if symbolic."""
    for value in _real_inputs(model):
        dims = value.type.tensor_type.shape.dim
        if dims:
            return max(int(dims[0].dim_value), 0)
    return 0


def _with_free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for value in (*_real_inputs(twin), *twin.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del twin.graph.value_info[:]
    return twin
