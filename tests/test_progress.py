"""Progress tells speed and time left: a bar on a terminal, a line now and then elsewhere."""

import io

import pytest

from minimagen.progress import Progress


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_speed_and_time_left_are_those_of_this_process() -> None:
    clock = Clock()
    progress = Progress("train base", 100, num_done=40, stream=io.StringIO(), clock=clock)

    for _ in range(20):
        clock.now_s += 0.5
        progress.advance(32)

    assert progress.units_per_s == pytest.approx(64.0)
    assert progress.left_s == pytest.approx(20.0)


def test_without_a_terminal_there_is_one_line_per_interval() -> None:
    clock, stream = Clock(), io.StringIO()

    with Progress("train base", 100, stream=stream, line_every_s=30.0, clock=clock) as progress:
        for _ in range(70):
            clock.now_s += 1.0
            progress.advance(4, "loss 0.1250")

    assert stream.getvalue().splitlines() == [
        "train base 30/100  loss 0.1250  4.0 images/s  0:01:10 left",
        "train base 60/100  loss 0.1250  4.0 images/s  0:00:40 left",
    ]


def test_short_work_is_silent_without_a_terminal() -> None:
    stream = io.StringIO()

    with Progress("embed", 3, unit="captions", stream=stream, clock=Clock()) as progress:
        progress.advance(100)

    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_with_the_note_and_the_speed() -> None:
    clock, stream = Clock(), Terminal()

    with Progress("train base", 4, stream=stream, clock=clock) as progress:
        for _ in range(4):
            clock.now_s += 1.0
            progress.advance(8, "loss 0.5")

    assert "train base" in stream.getvalue() and "4/4" in stream.getvalue()
    assert "8.0" in stream.getvalue() and "loss 0.5" in stream.getvalue()


def test_before_the_first_step_nothing_is_divided_by_zero() -> None:
    progress = Progress("train base", 10, stream=io.StringIO(), clock=Clock())

    assert (progress.units_per_s, progress.left_s) == (0.0, 0.0)
