"""One job at a time, a short line, and an answer for everybody in it; gates stand for work that takes long."""

import threading
from collections.abc import Iterator

import pytest

from minimagen.serving.drawing_queue import Check, DeadlineError, DrawingQueue, FullError, GoneError, StoppingError

PATIENCE_S = 30.0


class Gate:
    """A job that reports its start and goes step by step until it is let through."""

    def __init__(self) -> None:
        self.started, self.opened = threading.Event(), threading.Event()

    def __call__(self, check: Check) -> str:
        self.started.set()
        while not self.opened.wait(0.01):
            check()
        return "drawn"


@pytest.fixture
def line() -> Iterator[DrawingQueue]:
    made = DrawingQueue(PATIENCE_S, max_waiting=2)
    yield made
    made.give_up()
    assert made.join(PATIENCE_S)


def test_jobs_are_done_one_after_another_in_order(line: DrawingQueue) -> None:
    done: list[int] = []

    tickets = [line.submit(lambda check, number=number: done.append(number)) for number in range(3)]

    for ticket in tickets:
        ticket.future.result(PATIENCE_S)
    assert done == [0, 1, 2]


def test_a_full_line_refuses_and_says_when_to_come_again(line: DrawingQueue) -> None:
    gate = Gate()
    tickets = [line.submit(gate) for _ in range(3)]

    with pytest.raises(FullError, match="2 requests are waiting") as error:
        line.submit(gate)

    assert error.value.retry_after_s >= 1
    gate.opened.set()
    assert [ticket.future.result(PATIENCE_S) for ticket in tickets] == ["drawn"] * 3
    assert line.submit(gate).future.result(PATIENCE_S) == "drawn"


def test_who_is_given_up_is_told_at_once_and_the_work_stops(line: DrawingQueue) -> None:
    gate, after = Gate(), Gate()
    after.opened.set()
    ticket = line.submit(gate)
    assert gate.started.wait(PATIENCE_S)

    ticket.give_up(GoneError())

    assert isinstance(ticket.future.exception(0), GoneError)
    assert line.submit(after).future.result(PATIENCE_S) == "drawn"  # the gate never opened


def test_what_was_given_up_while_it_waited_is_never_started(line: DrawingQueue) -> None:
    first, second = Gate(), Gate()
    line.submit(first)
    waiting = line.submit(second)

    waiting.give_up(GoneError())
    first.opened.set()

    line.submit(lambda check: None).future.result(PATIENCE_S)
    assert not second.started.is_set()


def test_what_is_given_up_while_it_waits_frees_its_place_before_the_work_before_it_ends(line: DrawingQueue) -> None:
    first, last = Gate(), Gate()
    line.submit(first)
    waiting = [line.submit(Gate()) for _ in range(2)]

    for ticket in waiting:
        ticket.give_up(GoneError())
    ticket = line.submit(last)

    assert not first.opened.is_set()
    first.opened.set()
    last.opened.set()
    assert ticket.future.result(PATIENCE_S) == "drawn"


def test_work_beyond_its_deadline_ends() -> None:
    line, gate = DrawingQueue(0.05), Gate()

    ticket = line.submit(gate)

    assert isinstance(ticket.future.exception(PATIENCE_S), DeadlineError)
    assert "not drawn within 0.05 s" in str(ticket.future.exception(0))
    line.give_up()
    assert line.join(PATIENCE_S)


def test_an_error_of_a_job_is_its_own(line: DrawingQueue) -> None:
    def broken(check: Check) -> None:
        raise ZeroDivisionError

    assert isinstance(line.submit(broken).future.exception(PATIENCE_S), ZeroDivisionError)
    assert line.submit(lambda check: "drawn").future.result(PATIENCE_S) == "drawn"


def test_a_closed_line_finishes_what_it_has_and_takes_no_more() -> None:
    line, gate = DrawingQueue(PATIENCE_S), Gate()
    tickets = [line.submit(gate) for _ in range(2)]

    line.close()

    with pytest.raises(StoppingError):
        line.submit(gate)
    gate.opened.set()
    assert [ticket.future.result(PATIENCE_S) for ticket in tickets] == ["drawn"] * 2
    assert line.join(PATIENCE_S)


def test_giving_all_up_tells_everybody() -> None:
    line, gate = DrawingQueue(PATIENCE_S), Gate()
    tickets = [line.submit(gate) for _ in range(3)]

    line.give_up()

    assert [type(ticket.future.exception(0)) for ticket in tickets] == [StoppingError] * 3
    assert line.join(PATIENCE_S)
