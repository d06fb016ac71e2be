"""The first signal is a wish to stop, the next ones are nothing; a dead parent is a signal."""

import os
import signal
import subprocess
import sys

import pytest

from minimagen.training.interrupt import Interrupt, Stopped


@pytest.fixture(autouse=True)
def _handlers_come_back() -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_sets_the_exit_code_and_nothing_else(number: signal.Signals, code: int) -> None:
    with Interrupt() as interrupt:
        assert interrupt.exit_code is None
        os.kill(os.getpid(), number)
        assert interrupt.exit_code == code


def test_later_signals_are_ignored_even_after_the_block() -> None:
    with Interrupt() as interrupt:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGINT)

    assert interrupt.exit_code == 143


def test_without_a_signal_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    with Interrupt():
        assert signal.getsignal(signal.SIGTERM) != before[0]

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_can_be_given_up_is_given_up_at_once(number: signal.Signals, code: int) -> None:
    done: list[str] = []
    with Interrupt() as interrupt:
        with pytest.raises(Stopped) as caught, interrupt.at_once():
            os.kill(os.getpid(), number)
            done.append("measured")
        with pytest.raises(Stopped), interrupt.at_once():
            done.append("measured after the signal")

    assert (done, caught.value.code, interrupt.exit_code) == ([], code, code)


def test_outside_of_such_a_block_nothing_is_given_up() -> None:
    with Interrupt() as interrupt:
        with interrupt.at_once():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

        assert interrupt.exit_code == 143


CHILD = """
import signal, sys
from minimagen.training.interrupt import die_with_parent
die_with_parent()
print("ready", flush=True)
signal.signal(signal.SIGTERM, lambda *_: (print("told", flush=True), sys.exit(0)))
print("armed", flush=True)
signal.pause()
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_killed_parent_takes_its_child_along() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline(), parent.stdout.readline()] == ["ready\n", "armed\n"]

        parent.kill()

        assert parent.stdout.readline() == "told\n"
