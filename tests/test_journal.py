"""The journal keeps whole entries whatever happens, and says so when it cannot."""

import logging
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from minimagen.journal import Entry, Journal, JournalError, count_rewinds, read_journal, read_located


def ticking() -> Callable[[], float]:
    numbers = count(100)
    return lambda: float(next(numbers))


def write_steps(path: Path, steps: range) -> None:
    with Journal.open(path, clock=ticking()) as journal:
        for step in steps:
            journal.append("metric", step, {"loss": 1.0 / (step + 1)})


def steps_of(path: Path) -> list[int]:
    return [entry.step for entry in read_journal(path)]


def test_entries_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    values = {"loss": 0.1 + 0.2, "images": 2**60, "text": 'two\nlines, "quoted", \u00e9', "small": 5e-324}

    with Journal.open(path, clock=ticking()) as journal:
        journal.append("event", 7, values)

    assert list(read_journal(path)) == [Entry("event", 7, 101.0, values)]


def test_an_entry_is_readable_before_the_journal_is_closed(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        journal.append("event", 0, {"event": "started"})

        assert steps_of(journal.path) == [0]


def test_opening_again_appends(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(3))

    write_steps(path, range(3, 5))

    assert steps_of(path) == [0, 1, 2, 3, 4]


def test_every_torn_tail_is_dropped_with_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(2))
    content = path.read_bytes()
    last_line = content.rindex(b"\n", 0, -1) + 1

    for end in range(last_line + 1, len(content)):
        path.write_bytes(content[:end])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            Journal.open(path).close()
        assert path.read_bytes() == content[:last_line]
        assert f"{path}: dropped an incomplete last line ({end - last_line} bytes)" in caplog.text


def test_a_tail_of_zeros_is_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(2))
    path.write_bytes(path.read_bytes() + bytes(100))

    write_steps(path, range(2, 3))

    assert steps_of(path) == [0, 1, 2]


def test_a_journal_torn_inside_its_first_line_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(0))
    path.write_bytes(path.read_bytes()[:10])

    write_steps(path, range(2))

    assert steps_of(path) == [0, 1]


@pytest.mark.parametrize("line", [1, 2, 3])
def test_every_flipped_bit_before_the_last_line_is_reported(tmp_path: Path, line: int) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(4))
    content = path.read_bytes()
    start = sum(len(part) for part in content.splitlines(keepends=True)[: line - 1])
    length = content.index(b"\n", start) - start

    for bit in range(length * 8):
        damaged = bytearray(content)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(JournalError, match=rf"journal\.jsonl: line {line} is corrupt"):
            list(read_journal(path))


def test_opening_a_corrupt_journal_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(4))
    damaged = path.read_bytes().replace(b'"step":1', b'"step":8')
    path.write_bytes(damaged)

    with pytest.raises(JournalError, match="line 3 is corrupt"):
        Journal.open(path)

    assert path.read_bytes() == damaged


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(2))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))

    with pytest.raises(JournalError, match="line 1 is not the head of a journal"):
        Journal.open(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, None, [1], "text"])
def test_a_metric_that_is_no_finite_number_is_refused(tmp_path: Path, value: float) -> None:
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        with pytest.raises(ValueError, match="metric 'loss' of step 3 is"):
            journal.append("metric", 3, {"loss": value})

        assert steps_of(journal.path) == []


def test_the_last_step_is_known_when_opened_appended_and_rewound(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(6))

    with Journal.open(path) as journal:
        steps = [journal.last_step]
        journal.append("metric", 9, {"loss": 1.0})
        journal.append("tag", 0, {"revision": "abc"})
        steps.append(journal.last_step)
        journal.rewind(4)
        steps.append(journal.last_step)

    assert steps == [5, 9, 4]


def test_unknown_kinds_and_negative_steps_are_refused(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        with pytest.raises(ValueError, match="unknown kind 'metrics'"):
            journal.append("metrics", 0, {})  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="step -1 of a metric entry is negative"):
            journal.append("metric", -1, {})


def test_rewind_drops_later_steps_and_records_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(6))

    with Journal.open(path) as journal:
        assert journal.rewind(3) == 2
        journal.append("metric", 4, {"loss": 9.0})

    entries = list(read_journal(path))
    assert [(entry.kind, entry.step) for entry in entries] == [
        *(("metric", step) for step in range(4)),
        ("event", 3),
        ("metric", 4),
    ]
    assert entries[4].values == {"event": "rewind", "dropped": 2}
    assert count_rewinds(path) == 1
    assert [path] == list(tmp_path.iterdir())


def test_rewind_without_later_steps_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(3))
    before = path.read_bytes()

    with Journal.open(path) as journal:
        assert journal.rewind(2) == 0

    assert path.read_bytes() == before
    assert count_rewinds(path) == 0


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(3))
    end_bytes = [located.end_bytes for located in read_located(path)][1]
    write_steps(path, range(3, 5))

    assert [located.entry.step for located in read_located(path, end_bytes)] == [2, 3, 4]


def test_a_refusing_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_steps(path, range(3))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with Journal.open(path) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                journal.append("metric", 3, {"loss": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert path.read_bytes() == before
        journal.append("metric", 3, {"loss": 2.0})

    assert steps_of(path) == [0, 1, 2, 3]


def test_a_killed_writer_loses_nothing_it_appended(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path; from minimagen.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]))\n"
        "for step in range(50): journal.append('metric', step, {'loss': 1.0})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run([sys.executable, "-c", program, path], check=False, env=os.environ, cwd=Path.cwd())

    assert done.returncode == -signal.SIGKILL
    assert steps_of(path) == list(range(50))
