"""How many activations weights sum."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Add, Conv2d, Dense, Input, Output, Relu, Reshape, SumPool
from snnc.passes.fan_in import fan_ins


def conv(channels: int, inputs: int, extent: int, groups: int = 1) -> Conv2d:
    weight = np.ones((channels, inputs // groups, extent, extent))
    return Conv2d(weight=Constant(weight), groups=groups, source=f"conv{channels}{groups}")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [(conv(4, 6, 3), 6 * 9), (conv(6, 6, 3, groups=6), 9), (conv(6, 6, 3, groups=2), 3 * 9)],
)
def test_a_kernel(kernel, expected):
    network = Network("kernel")
    a = network.add(Relu(), network.add(Input(name="x", shape=(6, 5, 5))))
    b = network.add(Relu(), network.add(kernel, a))
    network.add(Output(name="y"), b)
    found = fan_ins(network)
    assert found[a] == expected
    assert found[b] == 0


def test_the_largest_sum_counts_and_windows_with_it():
    network = Network("pool")
    a = network.add(Relu(), network.add(Input(name="x", shape=(6, 4, 4))))
    network.add(Output(name="y"), network.add(conv(2, 6, 1), a))
    pooled = network.add(SumPool(kernel=(4, 4)), a)
    flat = network.add(Reshape(shape=(6,)), pooled)
    network.add(Output(name="z"), network.add(Dense(weight=Constant(np.ones((2, 6)))), flat))
    assert fan_ins(network)[a] == 16 * 6


def test_paths_are_not_followed_one_by_one():
    """64 sums of a value with itself have 2⁶⁴ paths."""
    network = Network("diamonds")
    a = network.add(Relu(), network.add(Input(name="x", shape=(3,))))
    end = a
    for _ in range(64):
        end = network.add(Add(), end, network.add(Reshape(shape=(3,)), end))
    network.add(Output(name="y"), network.add(Dense(weight=Constant(np.ones((2, 3)))), end))
    assert fan_ins(network)[a] == 3
