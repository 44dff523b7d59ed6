"""Where points are measured: in this process, in local processes, or on a Dask cluster.

Rows come as they are ready, in any order; they depend on none of this.
"""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from snnc import cluster
from snnc.diagnostics import CompileError, Diagnostics, SnncError
from snnc.evaluation import processors
from snnc.sweep.bench import Bench, Row, Workbench
from snnc.sweep.grid import Point

Outcome = tuple[Point, Row | SnncError]

_AGAIN = "run the same command again: it continues with what is missing"
_LOSSES = 10
"""So many times all copies of the bench may be lost before a sweep gives up on its cluster."""


def here(workbench: Workbench, points: Sequence[Point]) -> Iterator[Outcome]:
    """One after the other, each with all processors."""
    return ((point, _attempt(workbench, point)) for point in points)


def in_processes(bench: Bench, points: Sequence[Point], jobs: int) -> Iterator[Outcome]:
    """In ``jobs`` processes that share the processors.

    Raises CompileError (SNNC0165) if one dies.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, processors() // jobs)
    pool = concurrent.futures.ProcessPoolExecutor(jobs, context, _begin, (bench, threads))
    try:
        pending = {pool.submit(_measure, point): point for point in points}
        for done in concurrent.futures.as_completed(pending):
            yield pending[done], done.result()
    except BrokenProcessPool:
        remedy = f"{_AGAIN}; use fewer --jobs if memory was short"
        raise CompileError.of("SNNC0165", "a process of the sweep died", remedy=remedy) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


def on_cluster(bench: Bench, points: Sequence[Point], address: str) -> Iterator[Outcome]:
    """On the workers of a Dask cluster; what a lost worker was at is done by another.

    Raises as :func:`connect`, and CompileError (SNNC0165) if the cluster keeps losing workers.
    """
    with cluster.connect(address) as client:
        left = list(points)
        for _ in range(_LOSSES):
            for point, outcome in _round(client, bench, left):
                left.remove(point)
                yield point, outcome
            if not left:
                return
    raise CompileError.of("SNNC0165", f"the cluster at {address} keeps losing workers", remedy=_AGAIN)


def _round(client: Any, bench: Bench, points: Sequence[Point]) -> Iterator[Outcome]:
    """What becomes of ``points`` until all are done or lost with the last copy of the bench."""
    import distributed
    from distributed.client import FutureCancelledError

    shared = client.scatter(bench, broadcast=True)
    pending = {client.submit(_on_worker, shared, point, pure=False): point for point in points}
    for future in distributed.as_completed(pending, loop=client.loop):
        try:
            outcome = future.result()
        except (distributed.KilledWorker, FutureCancelledError):
            continue
        yield pending[future], outcome


def _attempt(workbench: Workbench, point: Point) -> Row | SnncError:
    try:
        return workbench.measure(point)
    except SnncError as error:
        return error


_workbench: Workbench
"""That of a process of :func:`in_processes`."""


def _begin(bench: Bench, threads: int) -> None:
    global _workbench
    _silence()
    _workbench = Workbench(bench, Diagnostics(), threads)


def _measure(point: Point) -> Row | SnncError:
    return _attempt(_workbench, point)


_benches: dict[str, Workbench] = {}
_one_at_a_time = threading.Lock()


def _on_worker(bench: Bench, point: Point) -> Row | SnncError:
    """A task of the cluster; tasks of one worker process share a workbench and its processors."""
    with _one_at_a_time:
        if bench.digest not in _benches:
            _silence()
            _benches.clear()
            _benches[bench.digest] = Workbench(bench, Diagnostics())
        return _attempt(_benches[bench.digest], point)


def _silence() -> None:
    """What there is to say of a preset is said in the process that rehearses it."""
    logging.getLogger("snnc").addHandler(logging.NullHandler())
