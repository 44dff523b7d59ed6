"""Tasks in the background: their order, and whose error is raised."""

from __future__ import annotations

import threading

import pytest

from snnc.background import Background


def fail(message: str) -> None:
    raise ValueError(message)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_results_are_taken_in_order_by_the_owner(ahead):
    taken, owner = [], threading.get_ident()
    with Background(ahead) as background:
        for k in range(4):
            background.give(lambda k=k: (k, threading.get_ident()), lambda done: taken.append(done.result()))
            assert len(taken) >= k + 1 - ahead
    assert [k for k, _ in taken] == [0, 1, 2, 3]
    assert owner not in {worker for _, worker in taken}


def test_the_owner_goes_on_until_too_many_are_unfinished():
    taken, gate = [], threading.Event()
    with Background(2) as background:
        for k in range(2):
            background.give(lambda: gate.wait(60), lambda done, k=k: taken.append((k, done.result())))
        assert taken == []
        gate.set()
        background.give(lambda: True, lambda done: taken.append((2, done.result())))
        assert taken[0] == (0, True)
    assert taken == [(0, True), (1, True), (2, True)]


def test_the_first_failing_task_is_raised_and_nothing_after_it_is_taken():
    taken = []

    def block(background: Background) -> None:
        for message in ("", "second", "", "fourth"):
            background.give(
                lambda message=message: message and fail(message), lambda done: taken.append(done.result())
            )

    with pytest.raises(ValueError, match="second"), Background(5) as background:
        block(background)
    assert taken == [""]


def test_an_earlier_task_fails_before_what_fails_in_the_block():
    gate = threading.Event()

    def late() -> None:
        gate.wait(60)
        fail("task")

    def block(background: Background) -> None:
        background.give(late, lambda done: done.result())
        gate.set()
        fail("block")

    with pytest.raises(ValueError, match="task"), Background(1) as background:
        block(background)


def test_who_interrupts_does_not_wait_for_what_has_not_begun():
    begun, gate, ran = threading.Event(), threading.Event(), []

    def block(background: Background) -> None:
        background.give(lambda: begun.set() or gate.wait(60), lambda done: ran.append(done.result()))
        background.give(lambda: ran.append("second"), lambda done: ran.append(done.result()))
        begun.wait(60)
        threading.Timer(0.01, gate.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Background(5) as background:
        block(background)
    assert ran == []
