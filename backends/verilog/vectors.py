"""Golden vectors: what goes into a design, and all that has to come out of every population, in order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.model import InputPort
from snnc.backends.verilog.geometry import address_bits
from snnc.backends.verilog.plan import Design, Unit
from snnc.backends.verilog.words import encode, encode_lanes

Ints = npt.NDArray[np.int64]


def stimulus(design: Design, port: InputPort, codes: Ints) -> tuple[int, bytes]:
    """What is sent to an input for [N, A, …] codes: a sample's values, or its events step by step.

    A value that is not 0 is one word, a count of events as many words as it counts. See :func:`tokens`.
    """
    link = design.links[port.name]
    places = link.places().ravel()
    parts = []
    for frame in codes.reshape(len(codes) * tokens(design, port), -1, places.size):
        _, hot = frame.nonzero()
        value = frame[frame != 0]
        if port.coding == "events":
            sent = np.repeat(places[hot], value)
        else:
            sent = (value & ((1 << link.extra) - 1)) << link.place | places[hot]
        parts += [sent, np.array([link.token])]
    events = np.concatenate(parts)
    return len(events), encode([(events, link.width)])


def tokens(design: Design, port: InputPort) -> int:
    """How many tokens an input sends per sample: one, or one a step if events drive neurons as they come."""
    return design.netlist.steps if design.rate and port.coding == "events" else 1


def events(design: Design, unit: Unit, spikes: Ints) -> tuple[int, bytes]:
    """What a population sends, as {sample, step, event}, for spikes [N, T, …]."""
    link, steps = design.links[unit.name], design.netlist.steps
    rows = []
    for sample, run in enumerate(spikes):
        for step, frame in enumerate(run):
            sent = in_order(frame)
            (hot,) = sent.nonzero()
            mark = step << 1 if design.phases > 1 else 0
            value = mark | (sent[hot] < 0)
            found = value << link.place | in_order(link.places())[hot]
            if design.rate or step == steps - 1:
                found = np.append(found, link.token)
            rows.append(np.stack([np.full_like(found, sample), np.full_like(found, step), found]))
    samples, at, sent = np.concatenate(rows, axis=1)
    widths = (address_bits(len(spikes)), address_bits(steps), link.width)
    return len(sent), encode(list(zip((samples, at, sent), widths, strict=True)))


def membranes(unit: Unit, final: Ints) -> tuple[int, bytes]:
    """The membranes of the last step [N, …], as rows of lanes."""
    rows = unit.geometry.by_word(final).reshape(-1, unit.geometry.lanes)
    return len(rows), encode_lanes(rows, unit.bits)


def results(design: Design, unit: Unit, final: Ints) -> tuple[int, bytes]:
    """What a readout sends: every membrane with its place, then the place of the greatest."""
    link = design.links[unit.name]
    places = link.places()
    parts: list[Ints] = []
    for sample in final:
        zero = np.zeros(sample.size, np.int64)
        parts.append(np.stack([zero, in_order(places), in_order(sample)]))
        parts.append(np.array([[1], [places.ravel()[sample.argmax()]], [0]]))
    flags, at, values = np.concatenate(parts, axis=1)
    return len(flags), encode([(flags, 1), (at, link.place), (values, unit.bits)])


def in_order(frame: Ints) -> Ints:
    """[C] or [C, H, W] in the order of a scan: rows, columns, channels."""
    return (frame if frame.ndim == 1 else frame.transpose(1, 2, 0)).ravel()
