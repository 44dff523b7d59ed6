"""Integer populations in compiled code: one pass over the currents of a block of steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.fast.kernels import FIRE, GATE
from snnc.backends.reference.fire import gate, over_time
from snnc.ir.ops import IfNeuron, MaxGate
from snnc.ir.types import Shape

Array = npt.NDArray[Any]

_INT32_END = 1 << 31


@dataclasses.dataclass(frozen=True)
class Rule:
    """The parameters of a population of M neurons in the dtype of its membranes.

    ``bias`` and ``threshold`` are [1 or T, M], ``v_init`` [M].
    """

    bias: Array
    threshold: Array
    v_init: Array
    strict: bool
    zero: bool
    signed: bool

    @classmethod
    def of(cls, op: IfNeuron, shape: Shape, steps: int, largest: int) -> Rule:
        """int32 if no membrane can leave it, with |Z| ≤ ``largest`` at every step.

        |V| ≤ |v_init| + T·(max|Z| + max|b|) + max θ: a spike of either sign moves V towards 0, or by θ.
        """
        arrays = [over_time(op.bias, shape, steps), over_time(op.threshold, shape, steps)]
        arrays.append(over_time(op.v_init, shape, 1))
        bias, theta, start = (int(np.abs(a).max()) for a in arrays)
        widest = start + steps * (largest + bias) + theta + 1
        dtype = np.int32 if widest < _INT32_END else np.int64
        flat = [np.array(a.reshape(len(a), -1), dtype, order="C") for a in arrays]
        return cls(flat[0], flat[1], flat[2][0], op.compare == "gt", op.reset == "zero", op.signed)

    def rest(self, samples: int) -> Array:
        """The membranes before the first step, [n, M]."""
        return np.tile(self.v_init, (samples, 1))

    def advance(self, z: Array, start: int, v: Array, spikes: Array, counts: Array, kept: Array) -> None:
        """Run steps ``start`` … of ``spikes`` [n, s, M] (int8, written), updating v and counts [n, M].

        ``z`` is [n, s, M], or [n, 1, M] if constant; ``kept`` [n, s, M] takes the membranes unless its
        time axis is empty.
        """
        window = slice(start, start + spikes.shape[1])
        bias = self.bias[window] if len(self.bias) > 1 else self.bias
        threshold = self.threshold[window] if len(self.threshold) > 1 else self.threshold
        flags = (v.dtype.type(self.strict), v.dtype.type(self.zero), v.dtype.type(self.signed))
        kernel = FIRE.get(v.dtype.name)
        if kernel is None:
            _advance(z, bias, threshold, v, spikes, counts, kept, flags)
        else:
            kernel(z, bias, threshold, v, spikes, counts, kept, *flags)


def _advance(
    z: Array,
    bias: Array,
    threshold: Array,
    v: Array,
    spikes: Array,
    counts: Array,
    kept: Array,
    flags: tuple[Any, Any, Any],
) -> None:
    strict, zero, signed = flags
    for t in range(spikes.shape[1]):
        theta = threshold[t % len(threshold)]
        u = v + z[:, t % z.shape[1]].astype(v.dtype) + bias[t % len(bias)]
        s = (u >= theta + strict).astype(v.dtype) - signed * (u < 0)
        v[:] = np.where(s != 0, 0, u) if zero else u - theta * s
        spikes[:, t] = s
        counts += s
        if kept.shape[1]:
            kept[:, t] = v


def pass_busiest(op: MaxGate, spikes: Array, shape: Shape) -> Array:
    """The spikes [n, T, *shape] of a max gate that takes ``spikes`` [n, T, C, H, W]."""
    if GATE is None:
        return gate(op, spikes)
    passed = np.empty((*spikes.shape[:2], *shape), np.int8)
    GATE(np.ascontiguousarray(spikes), passed, op.kernel, op.strides, op.pads[:2])
    return passed
