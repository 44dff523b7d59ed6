"""NIR's own definitions in NumPy, one step per call, and networks that NIR can say."""

from __future__ import annotations

import graphlib
import io

import numpy as np
from integer_networks import Builder
from pass_tools import context

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Concat, IfNeuron, Pad, Slice, SumPool
from snnc.passes.legalize import Legalize


def run(data: bytes, codes: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Every node's result at every step, [N, T, …], by NIR's equations: IF and LIF are reset to zero.

    A feedback takes effect one step later.
    """
    import nir

    graph = nir.read(io.BytesIO(data))
    order = graphlib.TopologicalSorter({name: [] for name in graph.nodes})
    sources = {name: [s for s, t in graph.edges if t == name] for name in graph.nodes}
    for source, target in graph.edges:
        if not isinstance(graph.nodes[source], nir.Scale):
            order.add(target, source)
    names = list(order.static_order())
    state: dict[str, np.ndarray] = {}
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _ in range(steps):
        for name in names:
            x = sum((seen[s][-1] for s in sources[name] if len(seen[s])), start=np.zeros((), np.float32))
            node = graph.nodes[name]
            seen[name].append(codes if isinstance(node, nir.Input) else _step(node, name, x, state))
    return {name: np.stack(values, axis=1) for name, values in seen.items()}


def _step(node, name: str, x: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    kind = type(node).__name__
    if kind == "Conv2d":
        return convolve(x, node) + node.bias[:, None, None]
    if kind in ("SumPool2d", "AvgPool2d"):
        view = np.lib.stride_tricks.sliding_window_view(x, tuple(node.kernel_size), axis=(-2, -1))
        windows = view[..., :: node.stride[0], :: node.stride[1], :, :]
        return windows.sum(axis=(-2, -1)) if kind == "SumPool2d" else windows.mean(axis=(-2, -1))
    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind in ("Affine", "Linear"):
        return x @ node.weight.T + (node.bias if kind == "Affine" else 0)
    if kind == "I":
        state[name] = state.get(name, 0) + node.r * x
        return state[name]
    if kind == "Threshold":
        return (x > node.threshold).astype(np.float32)
    if kind == "Scale":
        return x * node.scale
    if kind in ("IF", "LIF"):
        gain = node.r if kind == "IF" else node.r * (1e-4 / node.tau)
        u = state.get(name, np.zeros((), np.float32)) + gain.round(6) * x
        spikes = (u > node.v_threshold).astype(np.float32)
        state[name] = np.where(spikes > 0, np.zeros((), np.float32), u)
        return spikes
    assert kind == "Output", kind
    return x


def convolve(x: np.ndarray, node) -> np.ndarray:
    """Σ_{c,u,v} W[m, c, u, v]·x[n, c, i·s₀ + u·d₀ − p₀, j·s₁ + v·d₁ − p₁]."""
    (up, left), (down, across) = node.padding, node.dilation
    x = np.pad(x, [(0, 0), (0, 0), (up, up), (left, left)])
    extent = [(k - 1) * d + 1 for k, d in zip(node.weight.shape[2:], node.dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(-2, -1))
    view = view[:, :, :: node.stride[0], :: node.stride[1], ::down, ::across]
    return np.einsum("ncijuv,mcuv->nmij", view, node.weight)


def sayable(network: Network, *, reset: str = "subtract", compare: str = "ge") -> Network:
    """The network with one threshold per population, no initial membrane, and proved widths."""
    result = network.copy()
    for node in network.of(IfNeuron):
        op = network.op(node)
        middle = Constant(np.int64(np.median(op.threshold.array)))
        changes = {"threshold": middle, "v_init": Constant(np.int64(0)), "reset": reset, "compare": compare}
        result.set(node, op.replace(**changes))
    return Legalize().apply(result, context())


def chain() -> Network:
    """Uneven pads and kernels, groups, dilation, two kinds of pool, channels-last input, a dense layer."""
    b = Builder()
    x = b.input(7, 8, 2, perm=(2, 0, 1), signed=True)
    a = b.fire(b.conv(x, 4, pads=(1, 1, 0, 0)))
    c = b.fire(b.conv(a, 6, (3, 3), strides=(2, 1), groups=2, dilations=(1, 2), pads=(0, 2, 1, 1), shift=2))
    pooled = b.add(SumPool(kernel=(2, 2), strides=(1, 2)), c)
    d = b.fire(b.conv(pooled, 5, (3, 1), pads=(1, 0, 1, 0)))
    d = b.fire(b.conv(b.add(SumPool(kernel=(2, 2), pads=(1, 0, 1, 0)), d), 5, (3, 1)))
    return b.read(b.fire(b.dense(d, 7)))


def residual() -> Network:
    """Option-A shortcut, identity skip, scale per channel, a head over a padded pool."""
    b = Builder()
    a = b.fire(b.conv(b.input(1, 6, 6), 2, pads=(1, 1, 1, 1)))
    half = b.add(Slice(starts=(0, 0, 0), stops=(2, 6, 6), steps=(1, 2, 2)), a)
    wide = b.add(Pad(before=(1, 0, 0), after=(1, 0, 0)), half)
    c = b.fire(b.conv(a, 4, strides=(2, 2), pads=(1, 1, 1, 1)), b.scale(wide, Constant(np.int8(17)), 1))
    d = b.fire(b.conv(c, 4, pads=(1, 1, 1, 1)), b.scale(c, b.ints(1, 20, 4)), b.conv(c, 4, (1, 1)))
    return b.read(b.add(SumPool(kernel=(3, 3), pads=(1, 1, 1, 1), strides=(2, 2)), d))


def branches() -> Network:
    """A concatenation into a convolution and into a dense layer; vectors; one source twice."""
    b = Builder()
    x = b.input(2, 4, 4)
    left, right = b.fire(b.conv(x, 3, (1, 1))), b.fire(b.conv(x, 2, (1, 1)))
    middle = b.fire(b.conv(b.add(Concat(axis=0), left, right, left), 3, (2, 2), strides=(2, 2)))
    both = b.add(Concat(axis=0), b.reshape(middle, (12,)), b.reshape(right, (32,)))
    hidden = b.fire(b.dense(both, 6))
    twin = b.fire(b.dense(hidden, 6), b.scale(hidden, Constant(np.int8(3))))
    return b.read(twin)


SAYABLE = {"chain": chain, "residual": residual, "branches": branches}
