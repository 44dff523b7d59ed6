"""Random legal networks, as hypothesis strategies: ANNs and integer spiking networks.

Shapes and structure are drawn, so that failures shrink; weights come from a drawn seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Concat,
    Conv2d,
    Delay,
    Dense,
    IfNeuron,
    Input,
    MaxGate,
    MaxPool,
    Output,
    Pad,
    Readout,
    Relu,
    Reshape,
    Scale,
    Slice,
    SumPool,
    Transpose,
)
from snnc.ir.schedule import SCHEDULES, Schedule


def samples(network: Network, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs in the user's layout, of a few times the largest code or count at the int level."""
    rng = np.random.default_rng(seed)
    found = {}
    for op in (network.op(n) for n in network.of(Input)):
        if op.coding == "events":
            found[op.name] = rng.poisson(op.max_count / 2, (count, network.steps, *op.shape))
        else:
            found[op.name] = rng.normal(0, op.scale * 2 ** max(op.bits - 1, 0), (count, *op.shape))
    return found


@st.composite
def ann_networks(draw: st.DrawFn) -> Network:
    """Convolutions with batch norms, ReLUs, pools, a join and a dense classifier."""
    make = _Ann(draw)
    x = make.block(make.input())
    for _ in range(draw(st.integers(0, 3))):
        x = draw(st.sampled_from((make.block, make.residual, make.branches, make.pool)))(x)
    return make.classify(x)


@st.composite
def spiking_networks(
    draw: st.DrawFn,
    schedule: Schedule | None = None,
    delays: bool = True,
    saturation: bool = True,
    channels: tuple[int, ...] = (1, 2, 3, 4),
) -> Network:
    """Integer networks as ``quantize`` leaves them, with every variant of the populations.

    Convolutions have so many output ``channels``. Under integrate-then-fire populations have soft reset,
    ≥ and constant thresholds, and nothing is delayed.
    """
    make = _Spiking(draw, schedule or draw(st.sampled_from(SCHEDULES)), delays, saturation)
    make.channels = channels
    x = make.population(make.conv(make.input()))
    parts = (make.block, make.residual, make.pooled, make.gated, make.rearranged, make.delayed)
    for _ in range(draw(st.integers(0, 3))):
        x = draw(st.sampled_from(parts))(x)
    return make.read(x)


@st.composite
def real_networks(draw: st.DrawFn, exact: bool = False, **options) -> Network:
    """Spiking networks of real numbers: :func:`spiking_networks`, one level up.

    ``exact`` ones hold nothing but multiples of 1/8, so that float64 computes them without rounding.
    """
    network = draw(spiking_networks(saturation=False, **options))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def real(constant: Constant) -> Constant:
        blur = 1 if exact else 1 + rng.uniform(0, 0.01, constant.shape)
        return Constant(constant.array * blur / 8)

    for node in network.nodes:
        op = network.op(node)
        if isinstance(op, Input):
            op = op.replace(bits=0, signed=False, scale=1.0)
        elif isinstance(op, Conv2d | Dense | Scale):
            op = op.replace(weight=real(op.weight), shift=0, register_exponent=0, register_limit=0)
        elif isinstance(op, IfNeuron):
            op = op.replace(threshold=real(op.threshold), bias=real(op.bias), v_init=real(op.v_init))
        elif isinstance(op, Readout):
            op = op.replace(bias=real(op.bias))
        network.set(node, op)
    return network


class _Maker:
    """What both levels share: a seed for the values, convolutions that fit, an input."""

    def __init__(self, draw: st.DrawFn, network: Network) -> None:
        self.draw = draw
        self.network = network
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def shape(self, x: int) -> tuple[int, ...]:
        return self.network.type(x).shape

    def one_of(self, *values):
        return self.draw(st.sampled_from(values))

    def image(self) -> dict[str, tuple[int, ...]]:
        channels, height, width = (
            self.draw(st.integers(1, 3)),
            *(self.draw(st.integers(3, 6)) for _ in "hw"),
        )
        if self.draw(st.booleans()):
            return {"shape": (height, width, channels), "perm": (2, 0, 1)}
        return {"shape": (channels, height, width)}

    def window(self, x: int) -> dict[str, tuple[int, ...]]:
        """Kernel, strides and pads of a pool that fits."""
        most = min(3, *self.shape(x)[1:])
        kernel = tuple(self.draw(st.integers(1, most)) for _ in "hw")
        strides = tuple(self.draw(st.integers(1, 2)) for _ in "hw")
        pads = tuple(self.draw(st.integers(0, 1)) * (kernel[a % 2] > 1) for a in range(4))
        return {"kernel": kernel, "strides": strides, "pads": pads}

    def geometry(self, x: int, outputs: int, same: bool) -> tuple[dict, tuple[int, ...]]:
        """Attributes of a convolution of ``x`` and the shape of its weight."""
        channels, *extent = self.shape(x)
        kernel = tuple(self.one_of(1, 3) for _ in "hw")
        groups = self.one_of(1, np.gcd(channels, outputs))
        options = {"pads": tuple(k // 2 for k in kernel) * 2, "groups": int(groups)}
        if not same and min(extent) > 2:
            options["strides"] = (self.one_of(1, 2), self.one_of(1, 2))
            options["dilations"] = (1, self.one_of(1, 2))
            # a dilated kernel reaches one further on either side
            wider = (kernel[1] // 2) * options["dilations"][1]
            options["pads"] = (kernel[0] // 2, wider) * 2
        return options, (outputs, channels // int(groups), *kernel)

    def flat(self, x: int) -> int:
        return self.network.add(Reshape(shape=(self.network.type(x).size,)), x)


class _Ann(_Maker):
    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__(draw, Network("random"))
        self.count = 0

    def add(self, op, *operands: int) -> int:
        self.count += 1
        name = f"n{self.count}"
        return self.network.add(op.replace(origin=(name,), source=f"{name}_out"), *operands)

    def normal(self, *shape: int, scale: float = 1.0) -> Constant:
        return Constant(self.rng.normal(0, scale, shape))

    def input(self) -> int:
        return self.add(Input(name="x", **self.image()))

    def conv(self, x: int, outputs: int, same: bool = False) -> int:
        options, shape = self.geometry(x, outputs, same)
        bias = self.normal(outputs, scale=0.3) if self.draw(st.booleans()) else None
        weight = self.normal(*shape, scale=float(np.prod(shape[1:])) ** -0.5)
        return self.add(Conv2d(weight=weight, bias=bias, **options), x)

    def normalise(self, x: int) -> int:
        if not self.draw(st.booleans()):
            return x
        channels = self.shape(x)[0]
        return self.add(
            BatchNorm(
                gamma=Constant(self.rng.uniform(0.5, 1.5, channels)),
                beta=self.normal(channels, scale=0.3),
                mean=self.normal(channels, scale=0.3),
                variance=Constant(self.rng.uniform(0.3, 2.0, channels)),
                epsilon=1e-3,
            ),
            x,
        )

    def rectify(self, x: int) -> int:
        return self.add(self.one_of(Relu(), Clip(maximum=1.5)), x)

    def block(self, x: int) -> int:
        return self.rectify(self.normalise(self.conv(x, self.draw(st.integers(1, 4)))))

    def residual(self, x: int) -> int:
        inner = self.rectify(self.normalise(self.conv(x, self.draw(st.integers(1, 4)), same=True)))
        return self.rectify(self.add(Add(), self.normalise(self.conv(inner, self.shape(x)[0], True)), x))

    def branches(self, x: int) -> int:
        left = self.rectify(self.conv(x, self.draw(st.integers(1, 3)), same=True))
        return self.add(Concat(axis=0), left, self.rectify(self.conv(x, 1, same=True)))

    def pool(self, x: int) -> int:
        window = self.window(x)
        if self.draw(st.booleans()):
            return self.add(MaxPool(**window), x)
        extent = AveragePool(divisors=Constant(1), **window).extent(self.shape(x))
        return self.add(AveragePool(divisors=self.divisors(window, x, extent), **window), x)

    def divisors(self, window: dict, x: int, extent: tuple[int, int]) -> Constant:
        area = int(np.prod(window["kernel"]))
        if self.draw(st.booleans()):
            return Constant(np.full(extent, area))
        top, left, bottom, right = window["pads"]
        real = np.pad(np.ones(self.shape(x)[1:], np.int64), ((top, bottom), (left, right)))
        view = np.lib.stride_tricks.sliding_window_view(real, window["kernel"])
        view = view[:: window["strides"][0], :: window["strides"][1]]
        return Constant(np.maximum(view.sum(axis=(2, 3)), 1))

    def classify(self, x: int) -> Network:
        flat = self.flat(x)
        size = self.shape(flat)[0]
        weight = self.normal(self.draw(st.integers(2, 4)), size, scale=size**-0.5)
        y = self.add(Dense(weight=weight, bias=self.normal(weight.shape[0], scale=0.1)), flat)
        self.network.add(Output(name="y"), y)
        return self.network


class _Spiking(_Maker):
    def __init__(self, draw: st.DrawFn, schedule: Schedule, delays: bool, saturation: bool) -> None:
        network = Network("random", steps=draw(st.integers(1, 9)), schedule=schedule)
        super().__init__(draw, network)
        self.rate = schedule == "rate"
        self.delays = delays and self.rate
        self.saturation = saturation
        self.channels: tuple[int, ...] = ()

    def ints(self, low: int, high: int, *shape: int) -> Constant:
        return Constant(self.rng.integers(low, high + 1, shape))

    def codes(self, *shape: int) -> Constant:
        return Constant(self.rng.integers(-127, 128, shape).astype(np.int8))

    def input(self) -> int:
        if self.network.schedule != "phase" and self.draw(st.integers(0, 3)) == 3:
            op = Input(name="x", coding="events", max_count=5, bits=3, **self.image())
        else:
            signed, bits = self.draw(st.booleans()), self.one_of(4, 8)
            op = Input(name="x", coding="current", bits=bits, signed=signed, scale=0.5, **self.image())
        return self.network.add(op)

    def conv(self, x: int, outputs: int = 0, same: bool = False) -> int:
        options, shape = self.geometry(x, outputs or self.one_of(*self.channels), same)
        options |= self.register(x)
        return self.network.add(Conv2d(weight=self.codes(*shape), shift=self.shift(), **options), x)

    def register(self, x: int) -> dict[str, int]:
        """Now and then the host rounds what an input drives."""
        if not self.rate or not isinstance(self.network.op(x), Input) or self.draw(st.booleans()):
            return {}
        return {"register_exponent": self.one_of(0, 3), "register_limit": self.one_of(63, 4095)}

    def shift(self) -> int:
        return self.one_of(0, 1, 5, 30) if self.draw(st.integers(0, 9)) == 9 else self.one_of(0, 1, 2)

    def scale(self, x: int) -> int:
        weight = self.codes() if self.draw(st.booleans()) else self.codes(self.shape(x)[0])
        return self.network.add(Scale(weight=weight, shift=self.shift()), x)

    def width(self) -> dict[str, int | bool]:
        """Now and then a membrane that saturates soon, wide enough for any threshold."""
        saturates = self.saturation and self.draw(st.booleans())
        return {"acc_bits": self.one_of(10, 12), "saturates": True} if saturates else {}

    def population(self, *currents: int) -> int:
        current = currents[0] if len(currents) == 1 else self.network.add(Add(), *currents)
        shape, steps = self.shape(current), self.network.steps
        timed = (steps,) if self.draw(st.booleans()) else ()
        bias = self.one_of((), shape[:1], shape)
        options = {"threshold": self.ints(50, 400, *self.one_of((), shape[:1]))}
        if self.rate:
            options["threshold"] = self.ints(50, 400, *self.one_of((), shape[:1], (steps, shape[0])))
            options["reset"] = self.one_of("subtract", "subtract", "zero")
            options["compare"] = self.one_of("ge", "ge", "gt")
        signed = self.one_of(False, False, True)
        rectified = signed and options.get("reset") != "zero" and self.draw(st.booleans())
        return self.network.add(
            IfNeuron(
                bias=self.ints(-40, 60, *timed, *(bias or ((1,) if timed else ()))),
                v_init=self.ints(-20, 100, *self.one_of((), shape[:1])),
                signed=signed,
                rectified=rectified,
                fraction_bits=1,
                **self.width(),
                **options,
            ),
            current,
        )

    def block(self, x: int) -> int:
        return self.population(self.conv(x))

    def residual(self, x: int) -> int:
        inner = self.population(self.conv(x, same=True))
        skip = self.scale(x)
        if self.draw(st.booleans()):
            (image,) = self.network.of(Input)
            if self.shape(image)[1:] == self.shape(x)[1:]:
                skip = self.conv(image, self.shape(x)[0], same=True)
        return self.population(self.conv(inner, self.shape(x)[0], same=True), skip)

    def pooled(self, x: int) -> int:
        pool = SumPool(**self.window(x))
        if self.draw(st.booleans()):
            pool = pool.replace(multiplicity=self.ints(1, 3, *pool.extent(self.shape(x))))
        return self.block(self.network.add(pool, x))

    def gated(self, x: int) -> int:
        op = self.network.op(x)
        if isinstance(op, IfNeuron) and op.negative:
            return self.pooled(x)
        gate = self.one_of("count-max", "leading")
        return self.network.add(MaxGate(gate=gate, **self.window(x)), x)

    def rearranged(self, x: int) -> int:
        steps: tuple[Callable[[int], int], ...] = (self.padded, self.sliced, self.doubled, self.turned)
        return self.block(self.one_of(*steps)(x))

    def padded(self, x: int) -> int:
        return self.network.add(Pad(before=(0, 1, 0), after=(1, 0, 2)), x)

    def sliced(self, x: int) -> int:
        shape = self.shape(x)
        return self.network.add(Slice(starts=(0, 0, 0), stops=shape, steps=(1, 2, 2)), x)

    def doubled(self, x: int) -> int:
        return self.network.add(Concat(axis=self.one_of(0, 1, 2)), x, x)

    def turned(self, x: int) -> int:
        return self.network.add(Transpose(perm=(0, 2, 1)), x)

    def delayed(self, x: int) -> int:
        return self.block(self.network.add(Delay(steps=self.one_of(1, 2)), x) if self.delays else x)

    def read(self, x: int) -> Network:
        flat = self.flat(x)
        outputs = self.draw(st.integers(1, 4))
        z = self.network.add(Dense(weight=self.codes(outputs, self.shape(flat)[0]), shift=self.shift()), flat)
        bias = self.ints(-50, 50, *self.one_of((), (outputs,), (self.network.steps, outputs)))
        readout = self.network.add(Readout(bias=bias, unit=0.25, **self.width()), z)
        self.network.add(Output(name="y"), readout)
        return self.network
