"""Compiles mutated models in processes that are watched for crashes, hangs and undocumented exceptions.

    python tests/hostile/fuzz.py --count 100000 --jobs 2

Each input follows from its number alone, so that ``--first N --count 1`` repeats a failure.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import logging
import multiprocessing
import pathlib
import random
import signal
import sys
import warnings
from collections.abc import Iterator

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (1, 2)]

from hostile.mutate import mutated
from hostile.seeds import seeds

from snnc.diagnostics import CompileError, UsageError
from snnc.driver import Request, compile_model

SECONDS = 60
BATCH = 250


def outcome(data: bytes) -> str:
    """'ok' or the code of the error; raises whatever else compiling raises."""
    try:
        compile_model(data, Request(T=4, threads=1))
    except (CompileError, UsageError) as error:
        if any(len(str(d).splitlines()) > 5 for d in error.diagnostics):
            raise AssertionError("the message is too long") from error
        return error.diagnostics[0].code
    return "ok"


def mutant(number: int, models: list[bytes]) -> bytes:
    """The input of that number."""
    return mutated(models[number % len(models)], random.Random(number))


def run(first: int, count: int) -> tuple[collections.Counter[str], list[str]]:
    """What became of a range of inputs, and what failed."""
    logging.getLogger("snnc").setLevel(logging.CRITICAL)
    models = [model.SerializeToString() for model in seeds()]
    found: collections.Counter[str] = collections.Counter()
    failures = []
    for number in range(first, first + count):
        data = mutant(number, models)
        try:
            with _alarm(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[outcome(data)] += 1
        except BaseException as error:
            found["FAILED"] += 1
            failures.append(f"{number}: {type(error).__name__}: {str(error)[:300]!r}")
    return found, failures


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def fail(*_: object) -> None:
        raise TimeoutError(f"took more than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def main() -> int:
    """Returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    last = given.first + given.count
    batches = [(n, min(BATCH, last - n)) for n in range(given.first, last, BATCH)]
    total: collections.Counter[str] = collections.Counter()
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=8) as pool:
        pending = [(batch, pool.apply_async(run, batch)) for batch in batches]
        for batch, result in pending:
            try:
                # a process that crashed never answers
                found, failures = result.get(timeout=SECONDS * BATCH)
            except multiprocessing.TimeoutError:
                found, failures = collections.Counter(CRASHED=batch[1]), [f"{batch}: no answer"]
            total += found
            print(*failures, sep="\n", end="\n" if failures else "", flush=True)
    print(f"{total.total()} inputs: " + ", ".join(f"{k} {n}" for k, n in total.most_common()))
    return int(bool(total["FAILED"] or total["CRASHED"]))


if __name__ == "__main__":
    sys.exit(main())
