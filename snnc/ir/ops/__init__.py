"""The ops of all three levels, declared once each; the registry that text is read with."""

from __future__ import annotations

from snnc.ir.ops.address import Concat, Delay, Pad, Pool, Reshape, Slice, SumPool, Transpose
from snnc.ir.ops.ann import UNBOUNDED, AveragePool, BatchNorm, Clip, FakeQuant, MaxPool, Relu
from snnc.ir.ops.base import Level, Op, merge_origins
from snnc.ir.ops.linear import Add, Conv2d, Dense, Scale, Weighted
from snnc.ir.ops.spiking import ONE, ZERO, IfNeuron, Input, MaxGate, Output, Readout, has_time, run_total

REGISTRY: dict[str, type[Op]] = {
    cls.mnemonic: cls
    for cls in (
        Input,
        Output,
        Conv2d,
        Dense,
        Scale,
        Add,
        Reshape,
        Transpose,
        Slice,
        Pad,
        Concat,
        SumPool,
        BatchNorm,
        Relu,
        Clip,
        FakeQuant,
        AveragePool,
        MaxPool,
        IfNeuron,
        MaxGate,
        Readout,
        Delay,
    )
}

__all__ = [
    "ONE",
    "REGISTRY",
    "UNBOUNDED",
    "ZERO",
    "Add",
    "AveragePool",
    "BatchNorm",
    "Clip",
    "Concat",
    "Conv2d",
    "Delay",
    "Dense",
    "FakeQuant",
    "IfNeuron",
    "Input",
    "Level",
    "MaxGate",
    "MaxPool",
    "Op",
    "Output",
    "Pad",
    "Pool",
    "Readout",
    "Relu",
    "Reshape",
    "Scale",
    "Slice",
    "SumPool",
    "Transpose",
    "Weighted",
    "has_time",
    "merge_origins",
    "run_total",
]
