import time
from pathlib import Path

import pytest

from flows.progress import StageProgress
from minimagen.journal import Journal
from minimagen.tracking.record import StageRecord, write_stage

LINE = "train base 120/480  loss 0.0312  41.0 images/s  0:00:09 left"


def journal_of(root: Path, stage: str = "train", name: str = "base") -> Journal:
    """Opens the journal of a training of 200 steps."""
    folder = root / "runs" / stage / f"{name}-0123"
    journal = Journal.open(folder / "journal.jsonl")
    record = StageRecord("run", stage, name, "experiment", "cascade", "fingerprint", 0.0)
    write_stage(folder, record)
    journal.append("param", 0, {"num_steps": "200"})
    return journal


def test_a_line_of_progress_tells_how_far_a_stage_is(tmp_path: Path) -> None:
    progress = StageProgress("ingest@scenes", tmp_path, time.time())
    assert progress.read() is None
    progress.hear("Running stage 'ingest@scenes':")
    assert progress.read() is None
    progress.hear(LINE)
    reading = progress.read()
    assert reading is not None
    assert (reading.num_done, reading.num_total, reading.percent) == (120, 480, 25.0)
    assert reading.note == "train base: loss 0.0312  41.0 images/s  0:00:09 left"


def test_a_journal_tells_between_the_lines(tmp_path: Path) -> None:
    progress = StageProgress("train@base", tmp_path, time.time())
    with journal_of(tmp_path) as journal:
        for step in (10, 20):
            journal.append("metric", step, {"train_loss": 0.5 / step})
            reading = progress.read()
            assert reading is not None
            assert (reading.num_done, reading.num_total) == (step, 200)
    assert reading.note == "train_loss 0.025"


@pytest.mark.parametrize(("stage", "name"), [("train", "super"), ("evaluate", "")])
def test_the_journal_of_another_stage_tells_nothing(tmp_path: Path, stage: str, name: str) -> None:
    with journal_of(tmp_path, stage, name) as journal:
        journal.append("metric", 10, {"train_loss": 0.5})
        assert StageProgress("train@base", tmp_path, time.time()).read() is None


def test_the_journal_of_an_earlier_run_tells_nothing(tmp_path: Path) -> None:
    with journal_of(tmp_path) as journal:
        journal.append("metric", 10, {"train_loss": 0.5})
    assert StageProgress("train@base", tmp_path, time.time() + 60).read() is None


def test_a_rewound_journal_is_read_anew(tmp_path: Path) -> None:
    progress = StageProgress("train@base", tmp_path, time.time())
    with journal_of(tmp_path) as journal:
        for step in range(10, 100, 10):
            journal.append("metric", step, {"train_loss": 0.5})
        progress.read()
        journal.rewind(20)
        reading = progress.read()
    assert reading is not None
    assert reading.num_done == 20
