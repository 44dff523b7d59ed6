"""Small int-level networks built by hand, one for each form that a netlist can take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    Concat,
    Conv2d,
    Delay,
    Dense,
    IfNeuron,
    Input,
    MaxGate,
    Op,
    Output,
    Pad,
    Readout,
    Reshape,
    Scale,
    Slice,
    SumPool,
    Transpose,
)
from snnc.ir.schedule import SCHEDULES, Schedule


class Builder:
    """Adds ops with random integer parameters to a network."""

    def __init__(self, schedule: Schedule = "rate", steps: int = 6, seed: int = 0) -> None:
        self.network = Network("test", steps=steps, schedule=schedule)
        self.rng = np.random.default_rng(seed)

    def ints(self, low: int, high: int, *shape: int, dtype: type = np.int64) -> Constant:
        return Constant(self.rng.integers(low, high, shape).astype(dtype))

    def shape(self, node: int) -> tuple[int, ...]:
        return self.network.type(node).shape

    def input(self, *shape: int, signed: bool = False, perm: tuple[int, ...] = (), name: str = "x") -> int:
        op = Input(name=name, shape=shape, perm=perm, coding="current", bits=4, signed=signed, scale=0.125)
        return self.network.add(op)

    def events(self, *shape: int, perm: tuple[int, ...] = ()) -> int:
        op = Input(name="e", shape=shape, perm=perm, coding="events", max_count=5, bits=3)
        return self.network.add(op)

    def conv(self, x: int, channels: int, kernel: tuple[int, int] = (3, 3), **options) -> int:
        groups = options.get("groups", 1)
        weight = self.ints(-9, 10, channels, self.shape(x)[0] // groups, *kernel, dtype=np.int8)
        return self.network.add(Conv2d(weight=weight, origin=("conv",), **options), x)

    def dense(self, x: int, size: int) -> int:
        flat = self.reshape(x, (int(np.prod(self.shape(x))),))
        weight = self.ints(-9, 10, size, self.shape(flat)[0], dtype=np.int8)
        return self.network.add(Dense(weight=weight, shift=1), flat)

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        return self.network.add(Reshape(shape=shape), x)

    def scale(self, x: int, weight: Constant, shift: int = 0) -> int:
        return self.network.add(Scale(weight=weight, shift=shift), x)

    def fire(self, *currents: int, **options) -> int:
        total = currents[0] if len(currents) == 1 else self.network.add(Add(), *currents)
        channels = self.shape(total)[0]
        parameters = {
            "threshold": self.ints(20, 60, channels),
            "bias": self.ints(-5, 12, channels),
            "v_init": self.ints(0, 20, channels),
            "scale": Constant(0.5),
            "origin": ("relu",),
            "source": "activation",
        }
        return self.network.add(IfNeuron(**(parameters | options)), total)

    def add(self, op: Op, *operands: int) -> int:
        return self.network.add(op, *operands)

    def read(self, x: int, size: int = 4, name: str = "y", **options) -> Network:
        current = self.dense(x, size)
        op = Readout(**({"bias": self.ints(-9, 9, size), "unit": 0.25} | options))
        self.network.add(Output(name=name), self.network.add(op, current))
        return self.network


def plain(schedule: Schedule) -> Network:
    """Pads, strides, groups, dilations, overlapping sum pools and channels-last input."""
    b = Builder(schedule)
    x = b.input(7, 8, 2, perm=(2, 0, 1), signed=True)
    a = b.fire(b.conv(x, 4, pads=(1, 1, 1, 0)))
    c = b.fire(b.conv(a, 6, (3, 2), strides=(2, 1), groups=2, dilations=(1, 2), pads=(0, 2, 1, 1), shift=2))
    pooled = b.add(SumPool(kernel=(2, 2), strides=(1, 2), pads=(0, 1, 1, 0)), c)
    return b.read(pooled)


def residual(schedule: Schedule) -> Network:
    """An option-A shortcut, an identity skip, and a per-channel scale."""
    b = Builder(schedule)
    a = b.fire(b.conv(b.input(1, 6, 6), 2, pads=(1, 1, 1, 1)))
    half = b.add(Slice(starts=(0, 0, 0), stops=(2, 6, 6), steps=(1, 2, 2)), a)
    wide = b.add(Pad(before=(1, 0, 0), after=(1, 0, 0)), half)
    c = b.fire(b.conv(a, 4, strides=(2, 2), pads=(1, 1, 1, 1)), b.scale(wide, Constant(np.int8(17)), 1))
    d = b.fire(b.conv(c, 4, pads=(1, 1, 1, 1)), b.scale(c, b.ints(1, 20, 4)))
    return b.read(d)


def concat(schedule: Schedule) -> Network:
    """One source twice, parts through pools and transposes, a multiplicity."""
    b = Builder(schedule)
    x = b.input(2, 4, 4)
    left, right = b.fire(b.conv(x, 3, (1, 1))), b.fire(b.conv(x, 2, (1, 1)))
    turned = b.add(Transpose(perm=(0, 2, 1)), right)
    joined = b.add(Concat(axis=0), left, turned, left)
    multiplicity = Constant(np.array([[4, 2], [2, 1]]))
    pooled = b.add(SumPool(kernel=(2, 2), strides=(2, 2), multiplicity=multiplicity), joined)
    middle = b.fire(b.conv(pooled, 3, (2, 2), pads=(1, 0, 0, 1)))
    both = b.add(Concat(axis=0), b.reshape(middle, (12,)), b.reshape(right, (32,)))
    return b.read(both)


def gates(schedule: Schedule) -> Network:
    """Max gates with pads and overlap, one over a concatenation."""
    b = Builder(schedule)
    x = b.input(1, 6, 5)
    left, right = b.fire(b.conv(x, 2)), b.fire(b.conv(x, 1))
    joined = b.add(Concat(axis=0), left, right)
    first = b.add(MaxGate(kernel=(2, 2), strides=(1, 1), pads=(0, 1, 1, 0)), joined)
    second = b.add(MaxGate(kernel=(2, 3), strides=(2, 1)), first)
    return b.read(second)


def leading(schedule: Schedule) -> Network:
    """As :func:`gates`, passing the spikes of the leading inputs."""
    network = gates(schedule)
    for node in network.of(MaxGate):
        network.set(node, network.op(node).replace(gate="leading"))
    return network


def signed(schedule: Schedule) -> Network:
    """A population of signed spikes, a full-size bias, and one that changes with time."""
    b = Builder(schedule)
    a = b.fire(b.conv(b.input(1, 5, 5, signed=True), 3), bias=b.ints(-6, 9, 3, 3, 3))
    c = b.fire(b.conv(a, 3, (2, 2)), signed=True, bias=b.ints(-9, 9, 6, 3))
    d = b.fire(b.conv(c, 2, (2, 2), pads=(1, 1, 0, 0)), bias=b.ints(-9, 9, 6, 2, 2, 2))
    return b.read(d, bias=b.ints(-9, 9, 6, 4))


def rectified(schedule: Schedule) -> Network:
    """Spikes that are taken back, at a join, through a pool, and from membranes that saturate."""
    b = Builder(schedule)
    back = {"signed": True, "rectified": True}
    a = b.fire(b.conv(b.input(1, 6, 6, signed=True), 3), **back)
    c = b.fire(
        b.conv(a, 3, pads=(1, 1, 1, 1)), b.scale(a, b.ints(1, 20, 3)), bias=b.ints(-9, 9, 6, 3), **back
    )
    d = b.fire(b.conv(c, 4, (2, 2)), **back, acc_bits=8, saturates=True)
    return b.read(b.add(SumPool(kernel=(2, 2)), d))


def rectified_gates(schedule: Schedule) -> Network:
    """Spikes that are taken back through max gates."""
    b = Builder(schedule)
    a = b.fire(b.conv(b.input(1, 6, 6, signed=True), 3), signed=True, rectified=True)
    c = b.fire(b.conv(a, 2, pads=(1, 1, 1, 1)), bias=b.ints(-9, 9, 6, 2), signed=True, rectified=True)
    gate = MaxGate(kernel=(2, 2), strides=(1, 1), pads=(0, 1, 1, 0))
    return b.read(b.fire(b.conv(b.add(gate, b.add(Concat(axis=0), c, a)), 4, (2, 2))))


def two_ends(schedule: Schedule) -> Network:
    """Two inputs and two outputs."""
    b = Builder(schedule)
    a = b.fire(b.dense(b.input(5), 6), b.dense(b.input(4, name='odd name/?"', signed=True), 6))
    b.read(a, 3, name="first")
    return b.read(b.fire(b.dense(a, 5)), 2, name="second/\u00e9")


def events(schedule: Schedule) -> Network:
    """An input of events that several projections take, one of them through a pool, beside a current."""
    b = Builder(schedule)
    counted, still = b.events(6, 5, 2, perm=(2, 0, 1)), b.input(1, 6, 5)
    a = b.fire(b.conv(counted, 3, pads=(1, 1, 1, 1)), b.conv(still, 3, pads=(1, 1, 1, 1)))
    pooled = b.add(SumPool(kernel=(2, 2), strides=(2, 1)), counted)
    return b.read(b.fire(b.conv(a, 2, (2, 2), strides=(2, 1)), b.conv(pooled, 2, (1, 1))))


def saturating(schedule: Schedule) -> Network:
    """Membranes and a readout of so few bits that they saturate both ways; where it may, a register."""
    b = Builder(schedule)
    narrow = {"acc_bits": 7, "saturates": True}
    x = b.input(2, 5, 5, signed=True)
    register = {"register_exponent": 2, "register_limit": 15} if schedule == "rate" else {}
    a = b.fire(b.conv(x, 4, shift=1, **register), **narrow)
    c = b.fire(b.conv(a, 4), signed=True, **narrow)
    return b.read(c, **narrow)


def variants(schedule: Schedule) -> Network:
    """Zero reset, strict comparison, thresholds in time and delays: `rate` only."""
    b = Builder(schedule)
    x = b.input(1, 4, 4)
    a = b.fire(b.conv(b.add(Delay(steps=2), x), 2), reset="zero", threshold=b.ints(20, 40, 6, 2))
    c = b.fire(b.conv(b.add(Delay(steps=1), a), 2, (2, 2), pads=(1, 1, 0, 0)), compare="gt")
    d = b.fire(b.conv(c, 2, (1, 1)), b.conv(b.add(Delay(steps=9), c), 2, (1, 1)), signed=True, reset="zero")
    return b.read(d)


def random_chain(seed: int, *, events: bool = False) -> Network:
    """Up to four random layers of random sizes, in a random schedule; ``events`` as input, or a current."""
    rng = np.random.default_rng(seed)
    b = Builder(SCHEDULES[rng.integers(2 if events else 3)], int(rng.integers(1, 9)), seed)
    shape = int(rng.integers(1, 4)), *rng.integers(4, 8, 2).tolist()
    x = b.events(*shape) if events else b.input(*shape, signed=bool(rng.integers(2)))
    a = b.fire(_random_conv(b, x))
    for _ in range(rng.integers(4)):
        match rng.choice(["conv", "skip", "concat", "pool", "gate"]):
            case "conv":
                a = b.fire(_random_conv(b, a))
            case "skip":
                current = b.conv(a, b.shape(a)[0], pads=(1, 1, 1, 1), shift=int(rng.integers(3)))
                a = b.fire(current, b.scale(a, Constant(np.int8(rng.integers(1, 30)))))
            case "concat":
                a = b.fire(_random_conv(b, b.add(Concat(axis=0), a, a)))
            case "pool":
                a = b.fire(_random_conv(b, b.add(SumPool(kernel=(2, 1), pads=(1, 0, 0, 0)), a)))
            case "gate":
                a = b.add(MaxGate(kernel=(2, 2), strides=(2, 1), pads=(1, 1, 0, 0)), a)
    return b.read(a)


def _random_conv(b: Builder, x: int) -> int:
    pads, strides = b.rng.integers(1, 3, 4).tolist(), b.rng.integers(1, 3, 2).tolist()
    groups = int(b.rng.choice([1, b.shape(x)[0]]))
    kernel = b.rng.integers(1, 3, 2).tolist()
    channels = groups * int(b.rng.integers(1, 3))
    return b.conv(
        x, channels, tuple(kernel), groups=groups, pads=tuple(pads), strides=tuple(strides), shift=1
    )


MAKERS: dict[str, tuple[Callable[[Schedule], Network], Schedule]] = {
    f"{maker.__name__}-{schedule}": (maker, schedule)
    for maker in (
        plain,
        residual,
        concat,
        gates,
        leading,
        signed,
        rectified,
        rectified_gates,
        saturating,
        two_ends,
    )
    for schedule in SCHEDULES
} | {"variants-rate": (variants, "rate"), "events-rate": (events, "rate")}
MAKERS["events-layerwise"] = events, "layerwise"


def make(name: str) -> Network:
    """The network called ``name``, a key of :data:`MAKERS`."""
    maker, schedule = MAKERS[name]
    return maker(schedule)


def samples(network: Network, count: int = 3) -> dict[str, np.ndarray]:
    """Inputs in the user's layout, some beyond the quantiser's range or the largest count."""
    rng = np.random.default_rng(1)
    inputs = [network.op(node) for node in network.of(Input)]
    return {op.name: array(op, network.steps, count, rng) for op in inputs}


def array(op: Input, steps: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Real values, or counts of events."""
    if op.coding == "events":
        return rng.poisson(op.max_count / 2, (count, steps, *op.shape))
    return rng.normal(0.6, 0.8, (count, *op.shape)).astype(np.float32)
