"""What the update of a step spoils is neither measured, kept nor saved, and left behind as if it had never been."""

import math
from pathlib import Path

import pytest

from minimagen.journal import read_journal
from minimagen.stages.train import run_train
from minimagen.training.ema import Ema
from tests.stages.interrupted import told_to_stop_in
from tests.stages.spoilt_update import spoiling_update
from tests.stages.tiny_project import journalled, outs_of, run_folder, tiny_params, write_tiny_data

pytestmark = pytest.mark.usefixtures("quick_starts")
RETURNS = {3: 0, 4: 0, 6: 4, 12: 8}
"""Steps after which there is something to do, and where a return from there leads: an epoch's averages are kept after
3, states are saved after 4, 8 and 12, it is validated and drawn after 6 and 12."""


@pytest.mark.parametrize(
    ("step", "place", "bad"),
    [
        (3, "average", math.nan),
        (4, "weight", 1e38),
        (6, "average", math.inf),
        (12, "average", 1e38),
        (12, "weight", math.nan),
    ],
)
def test_before_anything_is_done_after_its_step(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, place: str, bad: float
) -> None:
    write_tiny_data(tmp_path)
    monkeypatch.setattr(Ema, "update", spoiling_update(step, place, bad))

    run_train(tiny_params(), "base", tmp_path)

    entries = read_journal(run_folder(tmp_path) / "journal.jsonl")
    (event,) = (entry for entry in entries if entry.values.get("event") == "rollback")
    assert event.step == RETURNS[step]
    assert str(event.values["why"]).startswith(f"step {step + 1}: the {place}s ")
    assert outs_of(tmp_path) == outs_of(trained)
    assert journalled(tmp_path) == journalled(trained)


def test_a_signal_in_its_step_saves_nothing_and_the_next_run_goes_on_from_before(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_data(tmp_path)
    monkeypatch.setattr(Ema, "update", spoiling_update(6, "average", math.nan))

    with told_to_stop_in("_do_what_is_due", lambda session: session.course.state.step == 6):
        run_train(tiny_params(), "base", tmp_path)

    assert "saved after step 4 of 12" in capsys.readouterr().out
    run_train(tiny_params(), "base", tmp_path)
    assert outs_of(tmp_path) == outs_of(trained)
    assert journalled(tmp_path) == journalled(trained)
