"""Messages between the tiles of a placement: who sends how many spikes to whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.loihi.link import Link, Tiling
from snnc.backends.netlist.model import volume


@dataclasses.dataclass(frozen=True)
class Traffic:
    """``messages[a, b]`` per sample from tile a to tile b; tiles are numbered through all populations."""

    messages: Mapping[tuple[int, int], float]
    around: Mapping[int, Sequence[tuple[int, float]]]

    @classmethod
    def of(
        cls,
        tilings: Mapping[str, Tiling],
        links: Mapping[str, Sequence[Link]],
        spikes: Mapping[str, npt.NDArray[Any]],
    ) -> Traffic:
        """Of populations in the order of ``links``, each neuron spiking as often as ``spikes`` says."""
        first: dict[str, int] = {}
        total = 0
        for name in links:
            first[name] = total
            total += len(tilings[name].tiles)
        messages: dict[tuple[int, int], float] = {}
        for name, incoming in links.items():
            for link in incoming:
                source = link.projection.source
                for number, tile in enumerate(tilings[name].tiles):
                    alone = Tiling((tile.channels,), (tile.rows,), (tile.columns,))
                    sent = link.messages(alone) * spikes[source]
                    sums = tilings[source].sums(sent.reshape(volume(sent.shape))).ravel()
                    for index in np.flatnonzero(sums).tolist():
                        pair = first[source] + index, first[name] + number
                        messages[pair] = messages.get(pair, 0.0) + float(sums[index])
        around: dict[int, list[tuple[int, float]]] = {}
        for (sender, receiver), amount in messages.items():
            around.setdefault(sender, []).append((receiver, amount))
            around.setdefault(receiver, []).append((sender, amount))
        return cls(messages, around)

    def partners(self, tile: int) -> Sequence[tuple[int, float]]:
        """The tiles that a tile exchanges messages with, and how many."""
        return self.around.get(tile, ())
