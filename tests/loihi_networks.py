"""Random networks for Loihi, before legalization."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from integer_networks import Builder

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Concat, Conv2d, Dense, Input, Output, Readout, SumPool


@st.composite
def deep_networks(draw: st.DrawFn, exact: bool = False) -> Network:
    """Convolutions, skips, concatenations of unlike depth and pools, by seed.

    ``exact`` ones are in the chip's integers already, so that its rounding changes none of them.
    """
    b = Builder("rate", draw(st.integers(1, 9)), draw(st.integers(0, 2**32 - 1)))
    low, high = (24, 60) if exact else (1, 60)
    grain = 64 if exact else 1

    def fire(*currents: int) -> int:
        channels = b.shape(currents[0])[0]
        bias = b.ints(-9, 15, channels) if exact else b.ints(-300, 400, channels)
        threshold = Constant(b.rng.integers(low, high, (() if draw(st.booleans()) else (channels,))) * grain)
        options = {"threshold": threshold, "bias": bias, "v_init": b.ints(0, 40)}
        return b.fire(*currents, **options)

    def conv(x: int, channels: int) -> int:
        weight = Constant(b.rng.integers(-9, 10, (channels, b.shape(x)[0], 3, 3)).astype(np.int8))
        host = isinstance(b.network.op(x), Input)
        shift = 0 if host else 6 if exact else int(b.rng.integers(0, 3))
        return b.add(Conv2d(weight=weight, pads=(1, 1, 1, 1), shift=shift), x)

    early = a = fire(conv(b.input(2, 4, 4), 3))
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.sampled_from(["conv", "skip", "concat", "pool"])):
            case "conv":
                a = fire(conv(a, 3))
            case "skip":
                skip = b.scale(early, Constant(np.int8(29)), 6 if exact else 1)
                a = fire(conv(fire(conv(a, 2)), 3), skip)
            case "concat":
                a = fire(conv(b.add(Concat(axis=0), a, early), 3))
            case "pool":
                a = fire(conv(b.add(SumPool(kernel=(3, 3), pads=(1, 1, 1, 1)), a), 3))
    flat = b.reshape(a, (48,))
    weight = Constant(b.rng.integers(-20, 20, (4, 48)).astype(np.int8))
    current = b.add(Dense(weight=weight, shift=6 if exact else 0), flat)
    return finish(b, current)


def finish(b: Builder, current: int) -> Network:
    readout = b.add(Readout(bias=b.ints(-9, 9, b.shape(current)[0]), unit=0.25), current)
    b.add(Output(name="y"), readout)
    return b.network
