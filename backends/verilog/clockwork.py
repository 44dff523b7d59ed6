"""The handshakes of a design clock by clock, without its data: who waits for whom.

A model of the registers in rtl/*.v that hold something back, in machine code (docs/hardware.md). What events
bring about is given: how many words of the target each one reaches, how many leave at each place of a scan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.jit import compiled

Ints = npt.NDArray[np.int64]

NEURONS, GATE, READOUT = 0, 1, 2
TOKEN = -1
"""In a port's list of events, between numbers of words."""

_GATHER, _SCAN, _SEND, _DONE = 0, 1, 2, 3
_UPDATE, _END = 1, 2

# columns of a unit: its kind; where its events come from; sizes; its first entry of ``leaves``; its ports
KIND, NODE, WORDS, SCANS, LEAVES, PORT, PORTS = range(7)
# its registers; of the three places of a scan the word that is there, or -1
STATE, ENTERING, SCAN, WORD, X, Y, LEFT, UPDATING = range(7, 15)
# what it tells its ports
MOVES, COMPLETE, ENDS, ACCEPTED = range(15, 19)
UNIT_COLUMNS = 19

# columns of a port: its source; is it a constant input; registers behind the walk; first entry of ``reaches``
SOURCE, HELD, STAGES, REACHES = range(4)
# the queue and the event at its head, how many were taken, the walk, what each register shows
QUEUED, HEAD, TAKEN, WALKING, REMAINING, FIRST = range(4, 10)
PORT_COLUMNS = 12


@compiled
def _scanned(units: Ints, u: int) -> Any:
    """Whether a scan is over, and its spikes have left."""
    return (
        units[u, ENTERING] == 0
        and units[u, WORD] < 0
        and units[u, X] < 0
        and units[u, Y] < 0
        and (units[u, KIND] == READOUT or units[u, LEFT] == 0)
    )


@compiled
def _leaving(units: Ints, leaves: Ints, u: int) -> Any:
    """How many words leave from the place that was scanned."""
    if units[u, Y] < 0:
        return 0
    return leaves[units[u, LEAVES] + units[u, SCAN] * units[u, WORDS] + units[u, Y]]


@compiled
def _wires(units: Ints, ports: Ints, leaves: Ints, u: int, ready: int) -> int:
    """What a unit tells its ports in this cycle; whether it sends a word."""
    units[u, COMPLETE] = 1
    for p in range(units[u, PORT], units[u, PORT] + units[u, PORTS]):
        if ports[p, FIRST + ports[p, STAGES] - 1] != _END:
            units[u, COMPLETE] = 0
    sends = units[u, STATE] == _SEND
    last = units[u, SCAN] == units[u, SCANS] - 1
    if units[u, KIND] == READOUT:
        leaving = _leaving(units, leaves, u)
        units[u, MOVES] = leaving == 0 or units[u, LEFT] == leaving - 1
        step = units[u, STATE] == _SCAN and _scanned(units, u) and not last
        units[u, ENDS] = 2 if sends else 1 if step else 0
        return 0
    units[u, MOVES] = units[u, LEFT] <= ready
    units[u, ENDS] = (2 if last else 1) if sends and ready else 0
    return int(ready and (sends or units[u, LEFT] > 0))


@compiled
def _port(ports: Ints, reaches: Ints, p: int, ready: bool, sent: int) -> None:
    """One cycle of queue, walk and weights; ``ready``: the join takes what the port shows."""
    for k in range(ports[p, STAGES] - 1, 0, -1):
        ready = ready or ports[p, FIRST + k] == 0
        if ready:
            ports[p, FIRST + k] = ports[p, FIRST + k - 1]
    advance = ready or ports[p, FIRST] == 0
    left = ports[p, REMAINING]
    if advance:
        found = _END if left == TOKEN else _UPDATE if left > 0 else 0
        ports[p, FIRST] = found if ports[p, WALKING] else 0
    free = not ports[p, WALKING] or (advance and left <= 1)
    read = ports[p, QUEUED] > 0 and (not ports[p, HEAD] or free)
    if ports[p, HEAD] and free:
        ports[p, WALKING] = 1
        ports[p, REMAINING] = reaches[ports[p, REACHES] + ports[p, TAKEN]]
        ports[p, TAKEN] += 1
    elif ports[p, WALKING] and advance:
        ports[p, WALKING] = not free
        ports[p, REMAINING] -= 1
    if read:
        ports[p, HEAD] = 1
    elif free:
        ports[p, HEAD] = 0
    ports[p, QUEUED] += sent - read


@compiled
def _join(units: Ints, ports: Ints, reaches: Ints, u: int, sent: Ints) -> None:
    """All ports of a unit: the first one that shows an update may go on."""
    taking = units[u, STATE] == _GATHER and not units[u, UPDATING]
    units[u, ACCEPTED] = 0
    for p in range(units[u, PORT], units[u, PORT] + units[u, PORTS]):
        chosen = taking and ports[p, FIRST + ports[p, STAGES] - 1] == _UPDATE
        if chosen:
            taking = False
            units[u, ACCEPTED] = 1
        ready = chosen or units[u, ENDS] > ports[p, HELD]
        _port(ports, reaches, p, ready, sent[ports[p, SOURCE]])


@compiled
def _scan(units: Ints, leaves: Ints, u: int, ready: int) -> None:
    """The pipeline of a scan."""
    moves, leaving = units[u, MOVES], _leaving(units, leaves, u)
    if units[u, KIND] == READOUT:
        units[u, LEFT] = 0 if moves else units[u, LEFT] + 1
    elif moves:
        units[u, LEFT] = leaving
    elif ready:
        units[u, LEFT] -= 1
    if moves:
        units[u, Y] = units[u, WORD] if units[u, KIND] == GATE else units[u, X]
        units[u, X] = -1 if units[u, KIND] == GATE else units[u, WORD]
    if units[u, ENTERING]:
        units[u, WORD] = 0
    elif units[u, WORD] >= 0 and moves:
        units[u, WORD] = units[u, WORD] + 1 if units[u, WORD] + 1 < units[u, WORDS] else -1


@compiled
def _advance(units: Ints, leaves: Ints, u: int, ready: int, rate: bool) -> None:
    """The state machine of a unit, and its scan."""
    scanned, last = _scanned(units, u), units[u, SCAN] == units[u, SCANS] - 1
    _scan(units, leaves, u, ready)
    units[u, ENTERING] = 0
    if units[u, STATE] == _GATHER:
        if units[u, COMPLETE] and not units[u, UPDATING]:
            units[u, STATE], units[u, ENTERING] = _SCAN, 1
    elif units[u, STATE] == _SCAN:
        if scanned and units[u, KIND] == READOUT:
            units[u, STATE] = _SEND if last else _GATHER
            units[u, SCAN] += not last
        elif scanned and (rate or last):
            units[u, STATE] = _SEND
        elif scanned:
            units[u, SCAN] += 1
            units[u, ENTERING] = 1
    elif units[u, ENDS]:
        units[u, STATE] = _DONE if units[u, ENDS] == 2 else _GATHER
        units[u, SCAN] += 1
    units[u, UPDATING] = units[u, ACCEPTED] and units[u, KIND] == GATE


@compiled
def _skip(units: Ints, ports: Ints, units_before: Ints, ports_before: Ints) -> int:
    """Skip the cycles that will be as the last one, in which walks went on and nothing else; how many."""
    alike, skipped = True, 1 << 62
    for u in range(len(units)):
        for k in range(UNIT_COLUMNS):
            alike = alike and units[u, k] == units_before[u, k]
            units_before[u, k] = units[u, k]
    for p in range(len(ports)):
        if ports[p, REMAINING] < ports_before[p, REMAINING]:
            skipped = min(skipped, ports[p, REMAINING] - 1)
        for k in range(PORT_COLUMNS):
            alike = alike and (k == REMAINING or ports[p, k] == ports_before[p, k])
    skipped = max(skipped, 0) if alike and skipped < 1 << 62 else 0
    for p in range(len(ports)):
        if ports[p, REMAINING] < ports_before[p, REMAINING]:
            ports[p, REMAINING] -= skipped
        for k in range(PORT_COLUMNS):
            ports_before[p, k] = ports[p, k]
    return skipped


@compiled
def run(units: Ints, ports: Ints, reaches: Ints, leaves: Ints, events: Ints, fifo: int, rate: bool) -> int:
    """The cycles until the last readout names its class; ``events`` is how many each input sends.

    ``units`` [U, UNIT_COLUMNS] and ``ports`` [P, PORT_COLUMNS] hold all registers at rest. ``reaches`` are
    the words that events reach, in order, port after port; ``leaves`` [scan, word] what leaves, unit after
    unit.
    """
    inputs, nodes = len(events), len(events) + len(units)
    ready, sent, left = np.ones(nodes, np.int64), np.zeros(nodes, np.int64), events.copy()
    cycle, open_ = 0, 1
    units_before, ports_before = units.copy(), ports.copy()
    while open_:
        ready[:] = 1
        for p in range(len(ports)):
            if ports[p, QUEUED] >= fifo:
                ready[ports[p, SOURCE]] = 0
        for i in range(inputs):
            sent[i] = ready[i] and left[i] > 0
            left[i] -= sent[i]
        for u in range(len(units)):
            sent[units[u, NODE]] = _wires(units, ports, leaves, u, ready[units[u, NODE]])
        open_ = 0
        for u in range(len(units)):
            _join(units, ports, reaches, u, sent)
            _advance(units, leaves, u, ready[units[u, NODE]], rate)
            open_ += units[u, KIND] == READOUT and units[u, STATE] != _DONE
        cycle += 1 + _skip(units, ports, units_before, ports_before)
    return cycle
