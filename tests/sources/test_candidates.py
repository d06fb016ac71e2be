import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from minimagen.config import Section
from minimagen.sources.candidates import (
    Candidate,
    KnownKeys,
    Plan,
    candidates_path,
    chain_of,
    find_plan,
    iter_candidates,
    jobs_of,
    newest_plan,
    plan_paths,
    write_plan,
)

CONFIG = {"shard_rows": 2, "kinds": ["a"], "from": "2020-01-01", "share": 0.5}


def candidate(number: int) -> Candidate:
    url = f"https://h.example/{number}.jpg"
    return Candidate(f"cc3m:{number:08d}", url, (f"caption {number}", "another"), "", "CC0-1.0", False, "en")


def write(
    folder: Path,
    snapshot: str,
    numbers: Sequence[int],
    *,
    after: Plan | None = None,
    config: dict[str, object] = CONFIG,
) -> Plan:
    candidates = (candidate(number) for number in numbers)
    mark = {"newest": max(numbers, default=0)}
    return write_plan(folder, snapshot, config, candidates, shard_rows=2, after=after, watermark=mark)


def test_candidates_come_back_as_they_were_listed(tmp_path: Path) -> None:
    listed = [candidate(0), replace(candidate(1), reason="adult", detail="R18", adult=True, captions=(), url="")]

    plan = write_plan(tmp_path, "s1", CONFIG, listed, shard_rows=2, after=None, watermark={})

    assert list(iter_candidates(candidates_path(tmp_path, plan.files[0].name))) == listed


def test_a_plan_is_found_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path, "s1", range(5))

    assert find_plan(tmp_path, "s1", CONFIG) == written
    assert [(file.name, file.rows) for file in written.files] == [("s1-00000", 2), ("s1-00001", 2), ("s1-00002", 1)]
    assert written.watermark == {"newest": 4}


def test_a_plan_of_nothing_stands_too(tmp_path: Path) -> None:
    written = write(tmp_path, "s1", [])

    assert find_plan(tmp_path, "s1", CONFIG) == written and written.files == ()


def test_equal_lists_give_equal_bytes_in_another_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, "s1", range(5))

    contents = [[path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))] for name in ("a", "b")]
    assert contents[0] == contents[1] and len(contents[0]) == 4


@pytest.mark.parametrize("changed", [{"share": 0.25}, {"kinds": ["a", "b"]}, {"new": None}])
def test_a_plan_of_other_parameters_is_none(tmp_path: Path, changed: dict[str, object]) -> None:
    write(tmp_path, "s1", range(3))

    assert find_plan(tmp_path, "s1", CONFIG | changed) is None
    assert newest_plan(tmp_path, CONFIG | changed) is None


class Dated(Section):
    """Parameters with what JSON has no type for."""

    since: date | None
    kinds: tuple[str, ...]


def test_a_config_with_dates_and_tuples_finds_its_plan_again(tmp_path: Path) -> None:
    dump = Dated(since=date(2020, 2, 29), kinds=("a", "b")).model_dump(mode="json")
    write(tmp_path, "s1", range(3), config=dump)

    assert find_plan(tmp_path, "s1", dump) is not None
    assert json.loads((tmp_path / "plan/s1.json").read_text())["config"] == {"since": "2020-02-29", "kinds": ["a", "b"]}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_record_torn_by_a_kill_is_no_plan(tmp_path: Path, share: float) -> None:
    write(tmp_path, "s1", range(3))
    record = tmp_path / "plan/s1.json"
    record.write_bytes(record.read_bytes()[: int(share * record.stat().st_size)])

    assert find_plan(tmp_path, "s1", CONFIG) is None


@pytest.mark.parametrize("content", ["5", "[]", "null", '"s1"', "{}", '{"record_sha256": "0"}'])
def test_a_record_that_is_something_else_is_no_plan(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan/s1.json").write_text(content)

    assert find_plan(tmp_path, "s1", CONFIG) is None


def test_a_flipped_bit_or_a_missing_file_is_no_plan(tmp_path: Path) -> None:
    plan = write(tmp_path, "s1", range(3))
    for path in plan_paths(tmp_path, plan):
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        assert find_plan(tmp_path, "s1", CONFIG) is None
        path.unlink()
        assert find_plan(tmp_path, "s1", CONFIG) is None
        path.write_bytes(whole)

    assert find_plan(tmp_path, "s1", CONFIG) == plan


def test_a_listing_that_breaks_off_leaves_no_plan(tmp_path: Path) -> None:
    def broken() -> Iterator[Candidate]:
        yield from map(candidate, range(5))
        raise ConnectionError("the service went away")

    with pytest.raises(ConnectionError):
        write_plan(tmp_path, "s1", CONFIG, broken(), shard_rows=2, after=None, watermark={})

    assert find_plan(tmp_path, "s1", CONFIG) is None
    assert write(tmp_path, "s1", range(5)) == find_plan(tmp_path, "s1", CONFIG)


@pytest.mark.parametrize("numbers", [[0, 0], [0, 1, 2, 0], [0, 1, 2, 3, 3]])
def test_a_key_listed_twice_is_named(tmp_path: Path, numbers: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"the key 'cc3m:0000000{numbers[-1]}' is listed twice, in s1-0000\d and in"):
        write(tmp_path, "s1", numbers)

    assert find_plan(tmp_path, "s1", CONFIG) is None


def test_a_key_that_a_parent_lists_is_named(tmp_path: Path) -> None:
    first = write(tmp_path, "s1", range(3))

    with pytest.raises(ValueError, match="'cc3m:00000001' is listed twice, in s1-00000 and in s2-00001"):
        write(tmp_path, "s2", [7, 8, 1], after=first)


def test_jobs_stand_in_the_order_of_the_snapshots(tmp_path: Path) -> None:
    first = write(tmp_path, "s9", range(3))
    second = write(tmp_path, "s1", range(3, 6), after=first)
    third = write(tmp_path, "s5", range(6, 8), after=second)

    jobs = jobs_of(tmp_path, third, "cc", Path("cc.yaml"))

    assert [job.name for job in jobs] == ["s9-00000", "s9-00001", "s1-00000", "s1-00001", "s5-00000"]
    assert [plan.snapshot for plan in chain_of(tmp_path, third)] == ["s9", "s1", "s5"]
    assert jobs[:2] == jobs_of(tmp_path, first, "cc", Path("cc.yaml"))
    assert newest_plan(tmp_path, CONFIG) == third


def test_a_job_says_its_own_snapshot_and_the_hash_of_its_candidates(tmp_path: Path) -> None:
    first = write(tmp_path, "s1", range(2))
    second = write(tmp_path, "s2", range(2, 4), after=first)

    specs = [json.loads(job.spec) for job in jobs_of(tmp_path, second, "cc", Path("cc.yaml"))]

    assert [spec["snapshot"] for spec in specs] == ["s1", "s2"]
    assert [spec["candidates"]["sha256"] for spec in specs] == [first.files[0].sha256, second.files[0].sha256]
    assert all(spec["config"] == CONFIG and spec["reads"] == "cc.yaml" for spec in specs)


def test_a_parent_that_is_gone_is_named_with_what_to_do(tmp_path: Path) -> None:
    first = write(tmp_path, "s1", range(2))
    second = write(tmp_path, "s2", range(2, 4), after=first)
    candidates_path(tmp_path, "s1-00000").unlink()

    with pytest.raises(ValueError, match=r"plan/s1\.json: gone or damaged, and snapshot s2 goes on from it: bring"):
        jobs_of(tmp_path, second, "cc", Path("cc.yaml"))


def test_known_keys_are_those_of_the_whole_chain(tmp_path: Path) -> None:
    first = write(tmp_path, "s1", range(100))
    second = write(tmp_path, "s2", range(100, 150), after=first)

    known = KnownKeys(tmp_path, second)

    assert len(known) == 150
    assert all((candidate(number).key in known) == (number < 150) for number in range(300))
    assert candidate(0).key not in KnownKeys(tmp_path, None) and len(KnownKeys(tmp_path, None)) == 0


def test_the_files_of_a_plan_are_all_that_it_wrote(tmp_path: Path) -> None:
    first = write(tmp_path, "s1", range(3))
    second = write(tmp_path, "s2", range(3, 4), after=first)

    assert sorted(plan_paths(tmp_path, second)) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("snapshot", ["2026.11.22", "v1.json", "a-00000"])
def test_a_snapshot_may_be_called_like_a_file(tmp_path: Path, snapshot: str) -> None:
    plan = write(tmp_path, snapshot, range(3))

    assert newest_plan(tmp_path, CONFIG) == plan
