"""A step that fails three times in a row ends the training with its own exit code; anything else may be tried again."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.errors import CRASH_LOOP_CODE, CrashLoopError, UserError
from minimagen.stages.crash_loop import attempt
from minimagen.stages.train import run_train
from minimagen.stages.training_session import Session
from tests.stages.tiny_project import CHECKOUT, outs_of, run_folder, tiny_params, write_tiny_data
from tests.torture import TellTable


def fail(path: Path, step: int, error: BaseException) -> None:
    with attempt(path) as current:
        for number in range(1, step + 1):
            current.begin(number)
        raise error


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attempt"


def test_the_third_failure_of_a_step_ends_it_and_no_fourth_is_tried(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(MemoryError):
            fail(path, 7, MemoryError())

    with pytest.raises(CrashLoopError, match="step 7 has failed 3 times in a row"):
        fail(path, 7, MemoryError())
    with pytest.raises(CrashLoopError, match=f"delete {path}"), attempt(path):
        pytest.fail("it was tried")


def test_failures_of_other_steps_are_no_loop(path: Path) -> None:
    for step in (7, 7, 8, 7, 7, 8):
        with pytest.raises(MemoryError):
            fail(path, step, MemoryError())


def test_failures_before_the_first_step_count_for_nothing(path: Path) -> None:
    for step in (7, 7, 0, 0, 0):
        with pytest.raises(MemoryError):
            fail(path, step, MemoryError())

    with pytest.raises(CrashLoopError):
        fail(path, 7, MemoryError())


@pytest.mark.parametrize("error", [UserError("x"), SystemExit(143), KeyboardInterrupt(), OSError(28, "full")])
def test_an_end_in_order_is_no_failure(path: Path, error: BaseException) -> None:
    for _ in range(4):
        with pytest.raises(type(error)):
            fail(path, 7, error)
    assert not path.exists()


def test_success_forgets(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(MemoryError):
            fail(path, 7, MemoryError())

    with attempt(path) as current:
        current.begin(7)

    assert not path.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from minimagen.exit_codes import tell_errors
from minimagen.stages.crash_loop import attempt

def run():
    with attempt(Path(sys.argv[1])) as current:
        current.begin(5)
        os.kill(os.getpid(), signal.SIGKILL)

tell_errors(run)
"""


def test_a_process_that_is_killed_in_a_step_three_times_is_refused_with_the_code(path: Path) -> None:
    done = [
        subprocess.run([sys.executable, "-c", KILLED, path], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        for _ in range(5)
    ]

    assert [each.returncode for each in done] == [-signal.SIGKILL] * 3 + [CRASH_LOOP_CODE] * 2
    assert done[-1].stderr.startswith("step 5 has failed 3 times in a row, so it is not tried again")


def test_a_training_whose_step_fails_is_given_up_and_goes_on_once_that_is_mended(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell_table: TellTable
) -> None:
    write_tiny_data(tmp_path)
    real = Session._do_what_is_due

    def stumble(session: Session, step: int) -> None:
        real(session, step)
        if step == 7:
            raise MemoryError

    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Session, "_do_what_is_due", stumble)
        for _ in range(4):
            with pytest.raises((MemoryError, CrashLoopError)) as caught:
                run_train(tiny_params(), "base", tmp_path)
            told.append(type(caught.value).__name__)
    (run_folder(tmp_path) / "attempt").unlink()
    run_train(tiny_params(), "base", tmp_path)

    assert told == ["MemoryError", "MemoryError", "CrashLoopError", "CrashLoopError"]
    assert outs_of(tmp_path) == outs_of(trained)
    codes = [70 if name == "CrashLoopError" else 1 for name in told]
    tell_table("Crash loop", [("try of a step that fails", "exit code"), *enumerate(codes, start=1)])
