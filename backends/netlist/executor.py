"""Runs the spiking network of this folder, from netlist.json and mem/*.mem and nothing else.

    python simulate.py DATA.npy|FILE.npz[:KEY] [--out RESULT.npz]

DATA holds samples as the original model takes them, with a leading batch axis. Prints the class of
every sample (or the value, if there is only one output). Needs Python 3.11 and NumPy. All numbers are
integers, and every product is exact: float BLAS is used only where sums stay below 2^24 or 2^53.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Description = Mapping[str, Any]

FORMAT, VERSION = "snnc-netlist", 1
BLOCK = 1 << 23
"""The most elements of an unfolded convolution or of one population's currents at a time."""


class ExecutionError(Exception):
    """The folder or the data cannot be used."""


@dataclasses.dataclass(frozen=True)
class Net:
    """The parsed netlist.json, and every memory as an int64 array."""

    description: Description
    memories: Mapping[str, Array]

    @property
    def steps(self) -> int:
        """T, the number of time steps."""
        return int(self.description["steps"])

    @property
    def integrates(self) -> bool:
        """Whether populations integrate all their input before they fire."""
        return bool(self.description["schedule"] != "rate")

    @property
    def spike_values(self) -> list[int]:
        """What a spike of step k = 1 … T counts: 2^(T−k) under phase, else 1."""
        base = 2 if self.description["schedule"] == "phase" else 1
        return [base ** (self.steps - k) for k in range(1, self.steps + 1)]


def load(folder: str | pathlib.Path) -> Net:
    """The network stored in ``folder``. Raises ExecutionError if it is missing or damaged."""
    folder = pathlib.Path(folder)
    try:
        description = json.loads((folder / "netlist.json").read_bytes())
        if (description["format"], description["version"]) != (FORMAT, VERSION):
            raise ExecutionError(f"netlist.json is not {FORMAT} version {VERSION}")
        memories = {n: _memory(folder, n, m) for n, m in description["memories"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExecutionError(f"{folder} holds no readable network: {error!r}") from None
    return Net(description, memories)


def _memory(folder: pathlib.Path, name: str, entry: Description) -> Array:
    if "values" in entry:
        return np.array(entry["values"], np.int64).reshape(entry["shape"])
    if not re.fullmatch("[a-z0-9_]+", name):
        raise ValueError(f"memory name {name!r}")
    bits, digits = entry["bits"], (entry["bits"] + 3) // 4
    text = np.frombuffer((folder / "mem" / f"{name}.mem").read_bytes(), np.uint8).reshape(-1, digits + 1)
    codes = np.where(text >= ord("a"), text - (ord("a") - 10), text - ord("0")).astype(np.uint64)
    words = np.zeros(len(text), np.uint64)
    for position in range(digits):
        words = words * np.uint64(16) + codes[:, position]
    # moving the sign bit to the top and back extends it
    spare = 64 - bits
    extended = np.right_shift((words << np.uint64(spare)).view(np.int64), spare)
    return np.asarray(extended).reshape(entry["shape"])


def run(net: Net, inputs: Mapping[str, Any], record: bool = False) -> dict[str, dict[str, Array]]:
    """Run all T steps on a batch of N samples; ``inputs`` maps the model's input names to arrays.

    Returns ``outputs`` by output name, int64 [N, A, …]: the readout's membrane after each of the
    A = T steps under rate, or once (A = 1); ``counts`` by population, int64 [N, …]: the sum of what
    its spikes count; and with ``record`` ``spikes`` (int8) and ``membranes`` (int64), [N, T, …].
    Raises ExecutionError if the inputs do not fit.
    """
    codes = {port["name"]: encode(port, inputs, net.steps) for port in net.description["inputs"]}
    samples = {len(x) for x in codes.values()}
    if len(samples) != 1 or 0 in samples:
        raise ExecutionError("every input needs the same number of samples, at least one")
    (total,) = samples
    largest = max(int(np.prod(p["shape"])) for p in net.description["populations"])
    size = max(1, BLOCK // (largest * net.steps))
    parts = [
        _run_block(net, {k: x[start : start + size] for k, x in codes.items()}, record)
        for start in range(0, total, size)
    ]
    return {
        kind: {name: np.concatenate([p[kind][name] for p in parts]) for name in parts[0][kind]}
        for kind in parts[0]
    }


def encode(port: Description, inputs: Mapping[str, Any], steps: int) -> Array:
    """[N, A, …] int64 in the network's layout: clip(⌊x/scale + ½⌋, lo, hi), A = 1; or A = T counts."""
    if port["input"] not in inputs:
        raise ExecutionError(f"no data for the input {port['input']!r}")
    x = np.asarray(inputs[port["input"]])
    lead = [steps] if port["coding"] == "events" else []
    shape = lead + port["array_shape"]
    if x.dtype.kind not in "fiub" or list(x.shape[1:]) != shape or x.ndim == 0:
        raise ExecutionError(f"{port['input']!r} takes numbers [N, {shape}], not {x.shape}")
    if not np.isfinite(x).all():
        raise ExecutionError(f"the data for {port['input']!r} hold NaN or infinite values")
    x = x.reshape(len(x), *(lead or [1]), *port["array_shape"])
    if port["perm"]:
        x = x.transpose(0, 1, *(2 + axis for axis in port["perm"]))
    low = -(1 << port["bits"] >> 1) if port["signed"] else 0
    codes = np.floor(x.astype(np.float64) / port["scale"] + 0.5)
    high = port["max_count"] or low + (1 << port["bits"]) - 1
    return np.asarray(np.clip(codes, low, high), np.int64)


def _run_block(net: Net, codes: Mapping[str, Array], record: bool) -> dict[str, dict[str, Array]]:
    # a value is [N, A, …]: A = T steps, or A = 1 for what is constant or a code
    events = {p["name"]: codes[p["name"]] for p in net.description["inputs"] if p["coding"] == "events"}
    totals = {name: x.sum(axis=1) for name, x in events.items()}
    values = {name: x * (sum(net.spike_values) if net.integrates else 1) for name, x in codes.items()}
    values |= {name: x[:, None] for name, x in totals.items()} if net.integrates else events
    result: dict[str, dict[str, Array]] = {"outputs": {}, "counts": totals, "spikes": {}, "membranes": {}}
    for population in net.description["populations"]:
        name = population["name"]
        step = _integrate_then_fire if net.integrates else _fire
        spikes, membranes = step(net, population, _drive(net, population, values), record)
        if population["kind"] != "readout":
            values[name] = spikes
            result["counts"][name] = spikes.sum(axis=1, dtype=np.int64)
        ports = [port["name"] for port in net.description["outputs"] if port["population"] == name]
        result["outputs"] |= dict.fromkeys(ports, membranes)
        if record and population["kind"] != "readout":
            _record(net, population, spikes, membranes, result)
    return result


def _record(
    net: Net, population: Description, spikes: Array, membranes: Array, result: dict[str, dict[str, Array]]
) -> None:
    """Every step of one population."""
    name, fires = population["name"], population["kind"] == "if"
    if net.integrates:
        spikes, spent = _unroll(spikes, net.spike_values)
        membranes = membranes - _parameter(net, population, "threshold") * spent if fires else membranes
    result["spikes"][name] = spikes.astype(np.int8)
    if fires:
        result["membranes"][name] = membranes


def _unroll(codes: Array, values: Sequence[int]) -> tuple[Array, Array]:
    """The spikes that make up codes [N, 1, …], and what they count up to each step; both [N, T, …]."""
    spent = np.zeros((len(codes), len(values) + 1, *codes.shape[2:]), np.int64)
    for k, value in enumerate(values):
        spent[:, k + 1] = spent[:, k] + value * (np.abs(codes[:, 0]) - spent[:, k] >= value)
    spent *= np.sign(codes)
    return np.sign(np.diff(spent, axis=1)), spent[:, 1:]


def _parameter(net: Net, population: Description, field: str) -> Array:
    """A parameter as [A, …] with A = T or 1, ready to broadcast over [N, A, *shape]."""
    value = net.memories[population[field]]
    timed = value if value.ndim in (2, 4) else value[None]
    rank = len(population["shape"])
    return timed.reshape(timed.shape + (1,) * (1 + rank - timed.ndim))


def _fire(net: Net, population: Description, z: Array, record: bool) -> tuple[Array, Array]:
    """Spikes (int8) and membranes, [N, T, …]; of neurons that are not recorded the last one, [N, 1, …]."""
    if population["kind"] == "max":
        most, leading = _window_max(population, np.cumsum(z, axis=1, dtype=np.int32), z)
        passed = leading if population["gate"] == "leading" else np.diff(most, axis=1, prepend=0)
        return passed.astype(np.int8), most
    steps, shape = net.steps, population["shape"]
    bias = _parameter(net, population, "bias")
    fires = population["kind"] == "if"
    keep = record or not fires
    spikes = np.zeros((len(z), steps if fires else 0, *shape), np.int8)
    membranes = np.zeros((len(z), steps if keep else 1, *shape), np.int64)
    v, sent = np.zeros((2, len(z), *shape), np.int64)
    if fires:
        v += _parameter(net, population, "v_init")[0]
        threshold = _parameter(net, population, "threshold")
    for t in range(steps):
        # what is constant has one entry
        z_t, b_t = z[:, min(t, z.shape[1] - 1)], bias[min(t, len(bias) - 1)]
        v = _saturated(population, v + z_t + b_t)
        if fires:
            spikes[:, t], v = _reset(population, v, threshold[min(t, len(threshold) - 1)], sent)
            sent += spikes[:, t]
        membranes[:, t if keep else 0] = v
    return spikes, membranes


def _saturated(population: Description, u: Array) -> Array:
    """u, cut to the largest words of the membrane if it saturates."""
    limit = (1 << population["acc_bits"] >> 1) - 1
    return np.clip(u, -limit, limit) if population["saturates"] else u


def _reset(population: Description, u: Array, threshold: Array, sent: Array) -> tuple[Array, Array]:
    """The spikes of one step, and the membrane after the reset; ``sent`` is the sum of those before."""
    spikes = (u >= threshold if population["compare"] == "ge" else u > threshold).astype(np.int8)
    if population["signed"]:
        # of integers u < −⌊θ/2⌋ is u < −θ/2
        spikes -= (u < -(threshold // 2)) & (sent > 0) if population["rectified"] else u < 0
    if population["reset"] == "zero":
        return spikes, np.where(spikes != 0, 0, u)
    return spikes, u - threshold * spikes


def _integrate_then_fire(net: Net, population: Description, z: Array, record: bool) -> tuple[Array, Array]:
    """Codes and integrated membranes, [N, 1, …] int64: n = clip(⌊V/θ⌋, 0 or −N, N)."""
    if population["kind"] == "max":
        most, _ = _window_max(population, z, z)
        return most, most
    bias, full = _parameter(net, population, "bias"), sum(net.spike_values)
    v = z + (bias.sum(axis=0) if len(bias) > 1 else full * bias[0])
    if population["kind"] == "readout":
        return (_saturated(population, v),) * 2
    v = _saturated(population, v + _parameter(net, population, "v_init")[0])
    low = -full if population["signed"] and not population["rectified"] else 0
    return np.clip(v // _parameter(net, population, "threshold")[0], low, full), v


def _window_max(population: Description, counts: Array, spikes: Array) -> tuple[Array, Array]:
    """The largest of each window's counts and 0, and the spikes of the first input that has it."""
    kernel, strides, pads = (population["window"][key] for key in ("kernel", "strides", "pads"))
    running, arriving = (_windows(x, kernel, strides, pads, (1, 1)) for x in (counts, spikes))
    most = leading = np.zeros(1, np.int64)
    for u, v in np.ndindex(*kernel):
        leading = np.where(running[..., u, v] > most, arriving[..., u, v], leading)
        most = np.maximum(most, running[..., u, v])
    return most, leading


def _windows(
    x: Array, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]
) -> Array:
    """A view [..., H', W', kh, kw] of the windows over the last two axes, zeros around."""
    top, left, bottom, right = pads
    if any(pads):
        x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(top, bottom), (left, right)])
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(-2, -1))
    return view[..., :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def _drive(net: Net, population: Description, values: Mapping[str, Array]) -> Array:
    """Z: the sum over all projections into a population, int64 [N, A, …]."""
    total: Any = 0
    for projection in (p for p in net.description["projections"] if p["target"] == population["name"]):
        x = _delayed(values[projection["source"]], projection["delay"], net.steps)
        frames = x.reshape(-1, *x.shape[2:])
        size = max(1, BLOCK // max(1, frames[0].size * 16))
        starts = range(0, len(frames), size)
        y = np.concatenate([_apply(net, projection, frames[i : i + size]) for i in starts])
        total = total + y.reshape(*x.shape[:2], *y.shape[1:])
    return np.asarray(total)


def _delayed(x: Array, delay: int, steps: int) -> Array:
    """x(t − delay), zero before."""
    if not delay:
        return x
    late = np.zeros((len(x), steps, *x.shape[2:]), x.dtype)
    late[:, delay:] = x[:, : max(0, steps - delay)]
    return late


def _apply(net: Net, projection: Description, x: Array) -> Array:
    """One projection on frames [F, …] of its source."""
    for step in projection["address"]:
        x = _address(net, step, x)
    if projection["kind"] == "none":
        return x
    weights = net.memories[projection["weights"]]
    if projection["kind"] == "scale":
        spread = weights.reshape(weights.shape + (1,) * (x.ndim - 2)) if weights.ndim else weights
        y = x.astype(np.int64) * spread
    elif projection["kind"] == "dense":
        y = _product(x, weights.T)
    else:
        y = _conv(projection, weights, x)
    y = np.left_shift(y, projection["shift"])
    if "register" not in projection:
        return y
    exponent, limit = projection["register"]["exponent"], projection["register"]["limit"]
    return np.asarray(np.clip((2 * y >> exponent) + 1 >> 1, -limit, limit) << exponent)


def _address(net: Net, step: Description, x: Array) -> Array:
    match step["op"]:
        case "reshape":
            return x.reshape(len(x), *step["shape"])
        case "transpose":
            return x.transpose(0, *(1 + axis for axis in step["perm"]))
        case "slice":
            bounds = zip(step["starts"], step["stops"], step["steps"], strict=True)
            return x[(slice(None), *(slice(*b) for b in bounds))]
        case "pad":
            return np.pad(x, [(0, 0), *zip(step["before"], step["after"], strict=True)])
        case "sum_pool":
            view = _windows(x, step["kernel"], step["strides"], step["pads"], (1, 1))
            total = np.zeros(view.shape[:-2], np.int64)
            for u, v in np.ndindex(*step["kernel"]):
                total += view[..., u, v]
            return total * net.memories[step["multiplicity"]] if "multiplicity" in step else total
    raise ExecutionError(f"unknown address step {step['op']!r}")


def _conv(projection: Description, weights: Array, x: Array) -> Array:
    """A grouped convolution of frames [F, C, H, W] by unfolding, int64 [F, M, H', W']."""
    groups, kernel = projection["groups"], weights.shape[2:]
    view = _windows(x, kernel, projection["strides"], projection["pads"], projection["dilations"])
    frames, _, height, width = view.shape[:4]
    columns = view.transpose(0, 1, 4, 5, 2, 3).reshape(frames, groups, -1, height * width)
    matrix = weights.reshape(groups, len(weights) // groups, -1)
    return _product(matrix, columns).reshape(frames, -1, height, width)


def _product(left: Array, right: Array) -> Array:
    """The exact matrix product, int64, in the fastest arithmetic that cannot round."""
    peaks = [max(int(m.max(initial=0)), -int(m.min(initial=0))) for m in (left, right)]
    bound = left.shape[-1] * peaks[0] * peaks[1]
    dtype = np.float32 if bound < 1 << 24 else np.float64 if bound < 1 << 53 else np.int64
    return np.asarray(np.matmul(left.astype(dtype), right.astype(dtype)), np.int64)


def _read_data(net: Net, argument: str) -> dict[str, Array]:
    path, _, key = argument.partition(".npz:")
    names = [port["input"] for port in net.description["inputs"]]
    try:
        data = np.load(f"{path}.npz" if key else argument, allow_pickle=False)
        if isinstance(data, np.ndarray):
            data = {names[0]: data} if len(names) == 1 else {}
        elif key:
            data = {names[0]: data[key]} if len(names) == 1 else {}
        elif len(names) == 1 and names[0] not in data:
            data = {names[0]: data["x" if "x" in data else _only(list(data))]}
        return {name: data[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ExecutionError(f"cannot take the inputs {names} from {argument}: {error}") from None


def _only(keys: Sequence[str]) -> str:
    if len(keys) != 1:
        raise ValueError(f"choose one of its arrays with :KEY: {', '.join(keys)}")
    return keys[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 1 after a message on stderr."""
    parser = argparse.ArgumentParser(description="Runs the spiking network in this script's folder.")
    parser.add_argument("data", metavar="DATA.npy|FILE.npz[:KEY]")
    parser.add_argument("--out", metavar="FILE.npz", help="save membranes, spike counts and classes")
    options = parser.parse_args(arguments)
    try:
        net = load(pathlib.Path(__file__).parent)
        result = run(net, _read_data(net, options.data))
        port = net.description["outputs"][0]
        last = result["outputs"][port["name"]][:, -1]
        flat = last.reshape(len(last), -1)
        # the integers themselves, so that ties take the lowest index
        classes = flat.argmax(axis=1)
        if options.out:
            ports = {p["name"]: p["population"] for p in net.description["outputs"]}
            saved: dict[str, Any] = {f"membrane_{ports[n]}": x for n, x in result["outputs"].items()}
            saved |= {f"count_{n}": x for n, x in result["counts"].items()}
            np.savez(options.out, classes=classes, **saved)
    except (ExecutionError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    units = {p["name"]: p["unit"][0] for p in net.description["populations"]}
    value = flat[:, 0] * units[port["population"]] / sum(net.spike_values)
    shown = value if flat.shape[1] == 1 else classes
    sys.stdout.write("".join(f"{item}\n" for item in shown.tolist()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
