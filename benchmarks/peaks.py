"""What one core of this machine can do at most, measured: the roofs that the simulator stands under."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from snnc.backends.fast import kernels, sessions
from snnc.ir.constants import Constant
from snnc.ir.ops import Dense

_TRIALS = 20


def seconds(run: Callable[[], Any]) -> float:
    """Processor seconds of all threads: other processes do not count."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def least(run: Callable[[], Any]) -> float:
    """The least of some trials, after a first one."""
    run()
    return min(seconds(run) for _ in range(_TRIALS))


def additions() -> float:
    """SOPs per second of the event kernel on weights in the first cache: nothing to find, store or fire."""
    lanes, depth, groups, events = 192, 128, 64, 512
    weights, z = np.ones(depth * lanes, np.int8), np.zeros(lanes, np.int16)
    rows = np.random.default_rng(0).integers(0, depth, groups * events).astype(np.uint16)
    first, zeros = np.arange(groups + 1) * events, np.zeros(groups, np.int64)
    kernel, targets, bounds = kernels.scatter(lanes, 1), np.zeros(1, np.int64), np.array([0, 1])
    run = lambda: kernel(groups, rows, first, zeros, z, weights, targets, bounds, depth)  # noqa: E731
    return groups * events * lanes / least(run)


def byte_product(size: int = 768) -> float:
    """Multiplications and additions per second of onnxruntime's product of unsigned and signed bytes."""
    session = sessions.integer_product(np.ones((size, size), np.int8))
    x = np.ones((size, size), np.uint8)
    return float(size**3 / least(lambda: sessions.run(session, x)))


def float_product(size: int = 768) -> float:
    """Those of its product in float32."""
    session = sessions.float_product(Dense(weight=Constant(np.ones((size, size), np.int8))))
    x = np.ones((size, size), np.float32)
    return float(size**3 / least(lambda: sessions.run(session, x)))


def copied(size: int) -> float:
    """Bytes per second read and written where ``size`` bytes of integers are negated into as many others."""
    source, target = np.ones(size // 4, np.int32), np.empty(size // 4, np.int32)
    times = max(1, (1 << 24) // size)
    return 2 * size * times / least(lambda: [np.negative(source, out=target) for _ in range(times)])


def report() -> float:
    """Print the roofs; the one of additions, SOPs per second."""
    most = additions()
    found = {
        "additions of 8-bit weights from the first cache": f"{most / 1e9:.0f} GSOP/s",
        "products of bytes": f"{byte_product() / 1e9:.0f} GMAC/s",
        "products of floats": f"{float_product() / 1e9:.0f} GMAC/s",
        "reads and writes in the second cache": f"{copied(1 << 17) / 1e9:.0f} GB/s",
        "in memory": f"{copied(1 << 27) / 1e9:.0f} GB/s",
    }
    print("One core at most: " + "; ".join(f"{name} {value}" for name, value in found.items()) + "\n")
    return most
