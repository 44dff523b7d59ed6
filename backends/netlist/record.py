"""What a netlist does on samples, step by step: the vectors that hardware is tested with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist import executor
from snnc.backends.netlist.emit import describe
from snnc.backends.netlist.model import Netlist

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Recording:
    """A run of N samples as the emitted simulator computes it, all int64.

    ``codes[input]`` are [N, A, …], A = 1 for what is constant and T for events, ``spikes[population]``
    [N, T, …] in {−1, 0, 1}, and ``membranes`` [N, …] those of every population but max gates when the
    sample ends.
    """

    codes: Mapping[str, Ints]
    spikes: Mapping[str, Ints]
    membranes: Mapping[str, Ints]


def record(netlist: Netlist, samples: Mapping[str, npt.NDArray[Any]]) -> Recording:
    """Run ``samples``, by the model's input names and in the user's layout with a batch axis.

    Raises ExecutionError if they do not fit.
    """
    stored = {name: memory.values.astype(np.int64) for name, memory in netlist.memories.items()}
    net = executor.Net(describe(netlist), stored)
    result = executor.run(net, samples, record=True)
    membranes = {name: x[:, -1] for name, x in result["membranes"].items()}
    membranes |= {port.population: result["outputs"][port.name][:, -1] for port in netlist.outputs}
    ports = net.description["inputs"]
    return Recording(
        codes={port["name"]: executor.encode(port, samples, net.steps) for port in ports},
        spikes={name: x.astype(np.int64) for name, x in result["spikes"].items()},
        membranes=membranes,
    )
