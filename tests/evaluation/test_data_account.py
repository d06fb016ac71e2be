"""Accounts of data stages, read from folders that shards and manifests were really written to."""

from pathlib import Path

import pytest

from minimagen.evaluation.data_account import MAX_SHOWN, read_account
from minimagen.manifest import Manifest, write_manifest
from minimagen.rows import Failure
from minimagen.shards import ShardFile, failures_path, write_failures

FAILURES = [
    Failure("photos:a.jpg", "a.jpg", "too_small", "short side 3 px"),
    Failure("photos:b.jpg", "b.jpg", "damaged", "cut off"),
]
SHARDS = tuple(ShardFile(f"shards/s-{index}.parquet", rows, 10, "00") for index, rows in enumerate((3, 2)))


def _write(folder: Path, counts: dict[str, int], failures: list[Failure]) -> None:
    for index, failure in enumerate(failures):
        write_failures(failures_path(folder, f"s-{index:05d}"), [failure])
    write_manifest(folder, Manifest("photos", {}, counts, {"photos": "CC0"}, "1", SHARDS))


def test_account_holds_every_outcome(tmp_path: Path):
    _write(tmp_path, {"pending": 1, "rejected/too_small": 1, "rejected/damaged": 1}, FAILURES)

    account = read_account("ingest photos", tmp_path)

    assert (account.name, account.num_stored, account.num_pending) == ("ingest photos", 5, 1)
    assert account.num_rejected == 2
    assert account.rejected == {"too_small": 1, "damaged": 1}
    assert list(account.failures) == FAILURES
    assert account.licenses == {"photos": "CC0"}


def test_of_very_many_failures_the_first_are_held_and_all_are_counted(tmp_path: Path):
    failures = [Failure(f"web:{number}", "", "http_404", "") for number in range(MAX_SHOWN + 50)]
    write_failures(failures_path(tmp_path, "s-00000"), failures[:150])
    write_failures(failures_path(tmp_path, "s-00001"), failures[150:])
    write_manifest(tmp_path, Manifest("web", {}, {"rejected/http_404": len(failures)}, {}, "1", ()))

    account = read_account("ingest web", tmp_path)

    assert account.num_rejected == len(failures)
    assert list(account.failures) == failures[:MAX_SHOWN]


def test_failures_of_every_source_below_a_folder_are_found(tmp_path: Path):
    for source, failure in zip(("one", "two"), FAILURES, strict=True):
        write_failures(failures_path(tmp_path / source, "s-00000"), [failure])
    counts = {"pending": 0, "rejected/too_small": 1, "rejected/damaged": 1}
    write_manifest(tmp_path, Manifest("curated", {}, counts, {}, "1", ()))

    assert list(read_account("curate", tmp_path).failures) == FAILURES


def test_a_stage_that_rejected_and_left_nothing_has_an_account_too(tmp_path: Path):
    _write(tmp_path, {"train": 4, "validation": 1}, [])

    account = read_account("curate", tmp_path)

    assert (account.num_stored, account.num_pending, account.num_rejected) == (5, 0, 0)


def test_lost_failures_are_refused(tmp_path: Path):
    _write(tmp_path, {"pending": 0, "rejected/damaged": 3}, FAILURES[:1])

    with pytest.raises(ValueError, match="counts 3 rejected rows, failures/ 1"):
        read_account("ingest photos", tmp_path)


def test_a_stage_that_has_not_finished_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="has not finished"):
        read_account("ingest photos", tmp_path)
