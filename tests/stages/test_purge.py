import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from minimagen.errors import BusyError, UserError
from minimagen.files import sha256_bytes
from minimagen.manifest import read_manifest
from minimagen.shards import count_rows, failures_path, find_report, shard_path
from minimagen.sources.candidates import candidates_path, iter_candidates
from minimagen.sources.tombstones import Graves, read_graves, read_tombstones, write_graves
from minimagen.stages.curate import run_curate
from minimagen.stages.ingest import run_ingest
from minimagen.stages.purge import parse_age, purge, run_purge
from minimagen.stages.run_lock import run_lock
from tests.contents import files_below
from tests.simulators.tmdb import Tmdb
from tests.sources.tmdb_case import CHECKOUT, TmdbCase, reasons, running_tmdb
from tests.stages.folder_project import params_of, write_folder
from tests.stages.killable_purge import BEFORE

FIRST, SECOND = "2026-10-01", "2026-10-20"
CHANGES = {"shard_rows": 25, "min_votes": 1}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TmdbCase]:
    """Two snapshots of a simulated TMDB, the second a few films later."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("tmdb")
        with running_tmdb(root, monkeypatch, Tmdb(num_films=90)) as case:
            run_ingest(case.params(FIRST, **CHANGES), "tmdb", root)
            case.service.advance(2)
            run_ingest(case.params(SECOND, **CHANGES), "tmdb", root)
            yield case


@pytest.fixture
def case(ingested: TmdbCase, tmp_path: Path) -> TmdbCase:
    """A copy that a test may change."""
    shutil.copytree(ingested.root, tmp_path, dirs_exist_ok=True)
    return TmdbCase(ingested.service, ingested.site, tmp_path)


def test_all_of_an_old_snapshot_goes_and_a_younger_one_stays_as_it_is(case: TmdbCase) -> None:
    old = case.written(FIRST, **CHANGES)
    keys = {one.key for file in old.files for one in iter_candidates(candidates_path(case.folder, file.name))}
    young = {path: content for path, content in files_below(case.folder).items() if SECOND in path}

    (purged,) = purge(case.folder, BEFORE, state=case.state)

    assert (purged.snapshot, purged.num_shards, purged.num_keys) == (FIRST, len(old.files), len(keys))
    for file in old.files:
        assert count_rows(shard_path(case.folder, file.name)) == 0
        assert count_rows(failures_path(case.folder, file.name)) == 0
        assert count_rows(candidates_path(case.folder, file.name)) == 0
    after = files_below(case.folder)
    assert young and all(after[path] == content for path, content in young.items())
    everything = b"".join((case.folder / path).read_bytes() for path in after if path not in young)
    assert not [key for key in keys if key.encode() in everything], "a purged key stands in a file"


def test_after_a_purge_every_shard_is_done_and_nothing_is_asked(case: TmdbCase) -> None:
    before = [job.name for job in case.plan(SECOND, **CHANGES)]
    asked = len(case.site.requests)

    purge(case.folder, BEFORE, state=case.state)

    jobs = case.plan(SECOND, **CHANGES)
    assert [job.name for job in jobs] == before
    assert all(find_report(case.folder, job) is not None for job in jobs)
    assert len(case.site.requests) == asked


def test_an_ingest_after_a_purge_changes_no_byte(case: TmdbCase) -> None:
    purge(case.folder, BEFORE, state=case.state)
    after = files_below(case.folder)

    run_ingest(case.params(SECOND, **CHANGES), "tmdb", case.root)

    assert files_below(case.folder) == after
    manifest = read_manifest(case.folder)
    assert manifest.counts["requested"] == manifest.counts["stored"] + sum(
        count for name, count in manifest.counts.items() if name.startswith("rejected/")
    )
    assert 0 < manifest.counts["stored"] < 90


def test_what_was_purged_does_not_come_back(case: TmdbCase) -> None:
    (purged,) = purge(case.folder, date(2026, 10, 5), state=case.state)

    rows = case.list("2026-10-21", **CHANGES | {"min_votes": 0})

    assert reasons(rows)["purged"] == purged.num_keys
    tombstones = read_tombstones(case.folder)
    assert len(tombstones) == purged.num_keys
    assert all((one.key in tombstones) == (one.reason == "purged") for one in rows)


def test_tombstones_are_hashes_with_reason_and_snapshot(case: TmdbCase) -> None:
    file = case.written(FIRST, **CHANGES).files[0]
    key = next(iter_candidates(candidates_path(case.folder, file.name))).key

    purge(case.folder, BEFORE, state=case.state)

    assert sha256_bytes(key.encode()) in read_graves(case.folder).by_snapshot[FIRST]["too_old"]


def test_purging_twice_changes_no_byte(case: TmdbCase, capsys: pytest.CaptureFixture[str]) -> None:
    run_purge("tmdb", "2026-10-15", today=date(2026, 11, 1), root=case.root)
    before = files_below(case.folder)

    run_purge("tmdb", "2026-10-15", today=date(2026, 11, 1), root=case.root)

    assert files_below(case.folder) == before
    assert "nothing in it is older than 2026-10-15" in capsys.readouterr().out


def test_it_says_what_was_deleted_and_what_dvc_has_to_be_told(
    case: TmdbCase, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = sum(count_rows(shard_path(case.folder, file.name)) for file in case.written(FIRST, **CHANGES).files)

    run_purge("tmdb", "3w", today=date(2026, 10, 23), root=case.root)

    told = capsys.readouterr().out
    assert f"snapshot {FIRST}: {stored} pictures deleted from" in told and SECOND not in told
    assert [line.strip() for line in told.splitlines() if line.startswith("  dvc")] == [
        "dvc repro",
        "dvc gc --workspace            # this machine's cache: keeps only what dvc.lock names now",
        "dvc gc --workspace --cloud    # the remote as well",
    ]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_the_command_has_dvc_record_what_is_left(case: TmdbCase) -> None:
    (case.root / "dvc.yaml").write_text(
        "stages:\n  ingest:\n    foreach: {tmdb: x}\n    do:\n      cmd: 'true'\n"
        "      outs: [{'data/raw/${key}': {persist: true}}]\n"
    )

    def run(*arguments: str) -> str:
        command, environment = [sys.executable, "-m", *arguments], os.environ | {"PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run(command, cwd=case.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("dvc", "init", "--no-scm", "--quiet")
    run("dvc", "commit", "--force", "--quiet")
    before = (case.root / "dvc.lock").read_bytes()

    run("minimagen.cli", "purge", "--source", "tmdb", "--older-than", BEFORE.isoformat())

    assert (case.root / "dvc.lock").read_bytes() != before
    assert "up to date" in run("dvc", "status")


def test_rows_as_old_as_allowed_stay(case: TmdbCase) -> None:
    before = files_below(case.folder)

    assert purge(case.folder, date(2026, 10, 1), state=case.state) == []
    assert files_below(case.folder) == before


def test_what_was_answered_and_not_stored_goes_too(case: TmdbCase) -> None:
    name = case.written(FIRST, **CHANGES).files[0].name
    spool, listing = case.state / "spool" / f"{name}.spool", case.state / "listing/2026-10-01-x/answers.sqlite"
    for path in (spool, spool.with_name(f"{spool.name}-notes"), listing):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a picture")
    torn = case.folder / f"plan/{FIRST}-00000.parquet.tmp-99"
    torn.write_bytes(b"half a list")

    purge(case.folder, BEFORE, state=case.state)

    left = [path for path in [*case.state.rglob("*"), *case.folder.rglob("*.tmp-*")] if path.is_file()]
    assert [path.name for path in left] == ["timings.json"]


@pytest.mark.long
def test_a_purge_that_is_killed_anywhere_is_finished_by_the_next_one(
    case: TmdbCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a kill, unlike a power cut, leaves what was written
    untouched, places = files_below(case.folder), [tmp_path / "killed/tmdb", tmp_path / "killed/state"]
    shutil.copytree(case.folder, tmp_path / "done/tmdb")
    purge(tmp_path / "done/tmdb", BEFORE, state=case.state)
    finished = files_below(tmp_path / "done/tmdb")
    command = [sys.executable, "-m", "tests.stages.killable_purge"]
    num_killed, status = 0, -signal.SIGKILL
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        while status == -signal.SIGKILL:
            shutil.rmtree(tmp_path / "killed", ignore_errors=True)
            shutil.copytree(case.folder, places[0])
            print(*places, num_killed + 1, file=process.stdin, flush=True)
            status = int(process.stdout.readline().split()[1])
            num_killed += status == -signal.SIGKILL
            _check_no_way_back(places[0], untouched, finished)
            purge(places[0], BEFORE, state=places[1])
            assert files_below(places[0]) == finished, f"killed at change {num_killed}"
        process.stdin.close()

    assert status == 0 and num_killed >= 4 * len(case.written(FIRST, **CHANGES).files)


def _check_no_way_back(folder: Path, untouched: dict[str, str], finished: dict[str, str]) -> None:
    """A folder between the two states refuses to be planned with."""
    left = {path: content for path, content in files_below(folder).items() if ".tmp-" not in path}
    if left not in (untouched, finished):
        with pytest.raises(UserError, match="finish it first: minimagen purge"):
            read_tombstones(folder)


def test_nothing_is_curated_while_a_purge_is_interrupted(case: TmdbCase) -> None:
    purge(case.folder, BEFORE, state=case.state)
    run_curate(case.params(SECOND, **CHANGES), case.root)
    curated = files_below(case.root / "data/curated")
    graves = read_graves(case.folder)
    write_graves(case.folder, Graves(graves.by_snapshot, unfinished=BEFORE.isoformat()))

    with pytest.raises(UserError, match=r"tombstones\.json: a purge was interrupted; finish it first"):
        run_curate(case.params(SECOND, **CHANGES), case.root)

    assert files_below(case.root / "data/curated") == curated


def test_an_interrupted_purge_is_finished_even_if_less_is_asked_for(case: TmdbCase, tmp_path: Path) -> None:
    shutil.copytree(case.folder, tmp_path / "done/tmdb")
    purge(tmp_path / "done/tmdb", BEFORE, state=case.state)
    graves = read_graves(tmp_path / "done/tmdb")
    write_graves(case.folder, Graves(graves.by_snapshot, unfinished=BEFORE.isoformat()))

    purge(case.folder, date(2020, 1, 1), state=case.state)

    assert files_below(case.folder) == files_below(tmp_path / "done/tmdb")


@pytest.mark.parametrize(
    ("text", "day"),
    [("180d", "2026-05-26"), ("0d", "2026-11-22"), ("26w", "2026-05-24"), ("2026-05-31", "2026-05-31")],
)
def test_an_age_is_days_weeks_or_a_date(text: str, day: str) -> None:
    assert parse_age(text, date(2026, 11, 22)).isoformat() == day


@pytest.mark.parametrize("text", ["", "180", "d", "-3d", "6m", "1.5d", "999999w", "2026-02-30", "180 d", "0x5d"])
def test_an_age_that_cannot_be_understood_is_told(text: str) -> None:
    with pytest.raises(UserError, match=r"--older-than: .*, expected like 180d, 26w or 2026-05-31"):
        parse_age(text, date(2026, 11, 22))


@pytest.mark.parametrize("source", ["imdb", "../raw/tmdb", "", ".", "tmdb/shards"])
def test_a_source_that_is_not_there_is_told(case: TmdbCase, source: str) -> None:
    with pytest.raises(UserError, match="it has tmdb"):
        run_purge(source, "180d", today=date(2027, 11, 22), root=case.root)


def test_a_source_of_the_users_own_files_is_not_purged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
    write_folder(tmp_path)
    run_ingest(params_of(snapshot="2026-01-01"), "folder", tmp_path)
    before = files_below(tmp_path / "data")

    with pytest.raises(UserError, match="is read from files of yours: delete the pictures there"):
        run_purge("folder", "0d", today=date(2026, 11, 22), root=tmp_path)

    assert files_below(tmp_path / "data") == before


def test_a_lost_list_is_told_before_anything_is_changed(case: TmdbCase) -> None:
    (case.folder / "plan" / f"{FIRST}.json").write_text("{}")
    before = files_below(case.folder)

    with pytest.raises(UserError, match=f"the list of snapshot {FIRST} is gone or damaged"):
        purge(case.folder, BEFORE, state=case.state)

    assert files_below(case.folder) == before


def test_a_source_that_is_being_read_is_not_purged(case: TmdbCase) -> None:
    with run_lock(case.root / "runs/ingest/tmdb.lock"), pytest.raises(BusyError, match=str(os.getpid())):
        run_purge("tmdb", "180d", today=date(2027, 11, 22), root=case.root)
