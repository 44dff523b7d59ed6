"""Convolutions of bytes, channel last, as one matrix product each: MatMulInteger of onnxruntime."""

from __future__ import annotations

import itertools

import numpy as np

from snnc.backends.fast.part import Part
from snnc.backends.onnx.build import Graph
from snnc.ir.ops import Conv2d, Dense

LEAST_INPUTS = 48
"""With fewer channels copying windows takes longer than the product saves (docs/performance.md)."""

_END = np.iinfo(np.int64).max


def quicker(part: Part) -> bool:
    """Whether the product of bytes is exact, and the quicker one."""
    return part.fits_bytes and part.op.weight.shape[1] >= LEAST_INPUTS and not part.op.register_limit


def byte_product(graph: Graph, op: Conv2d | Dense, codes: str) -> str:
    """Integers [batch, H', W', M] or [batch, M] of ``codes``, bytes [batch, H, W, C] or [batch, K]."""
    weight = op.weight.array.astype(np.int8)
    if isinstance(op, Dense):
        return graph.emit("MatMulInteger", codes, graph.constant(np.ascontiguousarray(weight.T)))
    matrix = np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)))
    return graph.emit("MatMulInteger", _windows(graph, op, codes), graph.constant(matrix))


def _windows(graph: Graph, op: Conv2d, codes: str) -> str:
    """[batch, H', W', kh·kw·C]: what each entry of the kernel sees, side by side."""
    if any(op.pads):
        top, left, bottom, right = op.pads
        pads = graph.ints([0, top, left, 0, 0, bottom, right, 0])
        codes = graph.emit("Pad", codes, pads)
    kernel = op.weight.shape[2:]
    if kernel == op.strides == (1, 1):
        return codes
    seen = [_seen(graph, op, codes, at) for at in itertools.product(*map(range, kernel))]
    return graph.emit("Concat", *seen, axis=3) if len(seen) > 1 else seen[0]


def _seen(graph: Graph, op: Conv2d, codes: str, at: tuple[int, ...]) -> str:
    starts = [k * d for k, d in zip(at, op.dilations, strict=True)]
    short = [(n - 1) * d - s for n, d, s in zip(op.weight.shape[2:], op.dilations, starts, strict=True)]
    stops = [-n if n else _END for n in short]
    return graph.emit("Slice", codes, *(graph.ints(x) for x in (starts, stops, (1, 2), op.strides)))
