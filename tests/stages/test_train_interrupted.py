"""However often and however a training is interrupted, it goes on and ends with the same outs."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from minimagen.journal import read_journal
from minimagen.stages.train import run_train
from minimagen.stages.training_follow_up import FollowUp
from minimagen.stages.training_session import Session
from minimagen.training.checkpoint import verify_state
from tests.faulty_disk import intercepted, refusing
from tests.stages.tiny_project import CHECKOUT, journalled, outs_of, run_folder, tiny_params, write_tiny_data

ENDLESS = """
import sys
from pathlib import Path
from minimagen.stages import training_session
from minimagen.stages.train import run_train
from tests.stages.tiny_project import tiny_params

save = training_session.save_state
training_session.save_state = lambda *args, **keywords: (save(*args, **keywords), print("saved", flush=True))
run_train(tiny_params(num_steps=100_000), "base", Path(sys.argv[1]))
"""


@pytest.mark.parametrize("at_step", [1, 5, 8, 11])
def test_killed_between_any_two_steps_it_ends_with_the_same_outs_and_curves(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: int
) -> None:
    write_tiny_data(tmp_path)
    real = Session._do_what_is_due

    def die(session: Session, step: int) -> None:
        real(session, step)
        if step == at_step:
            raise MemoryError("as good as a kill: nothing is saved on the way out")

    monkeypatch.setattr(Session, "_do_what_is_due", die)
    with pytest.raises(MemoryError):
        run_train(tiny_params(), "base", tmp_path)
    monkeypatch.undo()

    run_train(tiny_params(), "base", tmp_path)

    assert outs_of(tmp_path) == outs_of(trained)
    assert journalled(tmp_path) == journalled(trained)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_and_the_next_run_goes_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    write_tiny_data(tmp_path)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    real = Session._do_what_is_due

    def be_told(session: Session, step: int) -> None:
        real(session, step)
        if step == 7:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Session, "_do_what_is_due", be_told)
    with pytest.raises(SystemExit) as caught:
        run_train(tiny_params(), "base", tmp_path)
    for each, handler in before.items():
        signal.signal(each, handler)
    monkeypatch.undo()

    assert caught.value.code == code
    assert not (tmp_path / "data/models").exists()
    assert max(path.name for path in (run_folder(tmp_path) / "states").iterdir()) == "step-00000007"
    run_train(tiny_params(), "base", tmp_path)
    assert outs_of(tmp_path) == outs_of(trained)


def test_a_signal_while_saving_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_data(tmp_path)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    real = Session._save

    def save(session: Session, *, is_last: bool) -> None:
        real(session, is_last=is_last)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Session, "_save", save)
    with pytest.raises(SystemExit):
        run_train(tiny_params(), "base", tmp_path)
    for each, handler in before.items():
        signal.signal(each, handler)

    assert sorted(path.name for path in (run_folder(tmp_path) / "states").iterdir()) == [
        "step-00000004",
        "step-00000005",
    ]


def test_a_signal_before_the_first_step_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_data(tmp_path)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(Session, "resume", lambda session: os.kill(os.getpid(), signal.SIGTERM))

    with pytest.raises(SystemExit, match="143"):
        run_train(tiny_params(), "base", tmp_path)
    for each, handler in before.items():
        signal.signal(each, handler)

    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_steps"] == 0


def test_a_real_process_told_to_stop_exits_143_and_keeps_all_steps(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"saved\n" in iter(process.stdout.readline, b"")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)

    newest = max((run_folder(tmp_path) / "states").iterdir())
    assert process.returncode == 143
    assert f"saved after step {verify_state(newest).step} of 100000" in output.decode()


def test_a_damaged_newest_state_costs_only_the_steps_since_the_one_before(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_data(tmp_path)
    run_train(tiny_params(), "base", tmp_path)
    damaged = run_folder(tmp_path) / "states/step-00000012/weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00")

    run_train(tiny_params(), "base", tmp_path)

    assert "step-00000012/weights.safetensors" in caplog.text
    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_steps"] == 4
    assert outs_of(tmp_path) == outs_of(trained)


def test_a_full_disk_in_the_middle_costs_one_save_and_no_step(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_data(tmp_path)
    real = Session._save

    def full(*arguments: object, **keywords: object) -> Path:
        raise OSError(28, "No space left on device")

    def save(session: Session, *, is_last: bool) -> None:
        with monkeypatch.context() as patch:
            if session.course.state.step == 4:
                patch.setattr("minimagen.stages.training_session.save_state", full)
            real(session, is_last=is_last)

    monkeypatch.setattr(Session, "_save", save)
    run_train(tiny_params(), "base", tmp_path)

    assert "the state after step 4: not saved, training goes on: [Errno 28]" in caplog.text
    assert outs_of(tmp_path) == outs_of(trained)


def test_a_full_disk_at_a_grid_costs_its_picture_and_nothing_that_is_told_of_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_data(tmp_path)
    real = FollowUp._draw

    def draw(follow_up: FollowUp, step: int) -> None:
        with intercepted(refusing(errno.ENOSPC, 0)) if step == 6 else nullcontext():
            real(follow_up, step)

    monkeypatch.setattr(FollowUp, "_draw", draw)
    run_train(tiny_params(), "base", tmp_path)

    assert "the pictures after step 6: not saved, training goes on: [Errno 28]" in caplog.text
    entries = list(read_journal(run_folder(tmp_path) / "journal.jsonl"))
    assert [entry.step for entry in entries if "verdict" in entry.values] == [6, 12]
    assert [entry.step for entry in entries if entry.kind == "image"] == [12]
    assert outs_of(tmp_path) == outs_of(trained)
