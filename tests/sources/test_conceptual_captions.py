import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minimagen.config import CaptionRules, ConceptualCaptionsConfig, ConfigError, ImageRules
from minimagen.errors import UserError
from minimagen.shards import ShardJob
from minimagen.sources import conceptual_captions as source
from minimagen.sources import remote
from minimagen.sources.candidates import Candidate, candidates_path, iter_candidates
from tests.simulators.conceptual_captions import PATHS, REASONS, ConceptualCaptions
from tests.simulators.server import Site, running_site

IMAGES = ImageRules(
    store_size=16, min_side=8, max_aspect=3.0, max_pixels=100_000, min_std=2.0, animated="first_frame", encoding="png"
)
CONFIG = ConceptualCaptionsConfig(
    shard_rows=50,
    max_bytes=100_000,
    min_success=0.3,
    images=IMAGES,
    captions=CaptionRules(min_chars=2, max_chars=120),
    dataset="cc3m",
    split="train",
    listing="hub",
    max_rows=None,
    seed=7,
)
BAD_TSV_ROWS = {300: "bad_encoding", 301: "bad_line", 302: "bad_encoding"}


@pytest.fixture
def world() -> ConceptualCaptions:
    return ConceptualCaptions(slow_s=0.0)


@pytest.fixture
def site(world: ConceptualCaptions, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(world) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", "{}:{}".format(*site.address))
        yield site


@pytest.fixture
def reads(site: Site, tmp_path: Path) -> Path:
    path = tmp_path / "services.yaml"
    addresses = ", ".join(f'{name}: "{site.url}{address}"' for name, address in PATHS.items())
    path.write_text(
        f'hub: {{url: "{site.url}", requests_per_s: 1000, in_flight: 2}}\ntsv: {{{addresses}}}\n'
        "images: {requests_per_s: 100000, per_host: 8, in_flight: 8, attempts: 1}\n"
    )
    return path


def plan(root: Path, reads: Path, snapshot: str = "s1", **changes: object) -> list[ShardJob]:
    config = CONFIG.model_copy(update=changes)
    return source.plan(config, reads=reads, snapshot=snapshot, folder=root / "raw/cc", state=root / "runs/cc")


def listed(root: Path, jobs: list[ShardJob]) -> list[Candidate]:
    return [one for job in jobs for one in iter_candidates(candidates_path(root / "raw/cc", job.name))]


def watermark(root: Path, snapshot: str = "s1") -> dict[str, object]:
    return json.loads((root / f"raw/cc/plan/{snapshot}.json").read_bytes())["watermark"]


def test_the_hub_lists_every_row_once_under_its_number_in_a_seeded_order(
    tmp_path: Path, reads: Path, site: Site, world: ConceptualCaptions
) -> None:
    candidates = listed(tmp_path, plan(tmp_path, reads))
    numbers = [int(one.key.removeprefix("cc3m:")) for one in candidates]

    assert sorted(numbers) == list(range(400)) and numbers != sorted(numbers)
    for number, one in zip(numbers, candidates, strict=True):
        assert one.captions == (world.alt("cc3m_train", number).caption,)
        assert one.url == world.url("cc3m_train", number, site.url)
        assert one.reason == ("duplicate_url" if number % 25 == 24 else "")
    assert watermark(tmp_path)["revision"] == world.commit
    assert {"NA", "null", '"quoted" at the beginning'} <= {one.captions[0] for one in candidates}


def test_a_plan_that_stands_is_returned_without_a_request(tmp_path: Path, reads: Path, site: Site) -> None:
    jobs = plan(tmp_path, reads)
    asked = len(site.requests)

    assert plan(tmp_path, reads) == jobs and len(site.requests) == asked


def test_a_list_is_fetched_once_and_again_only_if_it_has_changed(
    tmp_path: Path, reads: Path, site: Site, world: ConceptualCaptions
) -> None:
    def fetched() -> int:
        return sum("/cc-cdn/" in request.path for request in site.requests)

    plan(tmp_path, reads, "s1", max_rows=50)
    first = fetched()
    plan(tmp_path, reads, "s2", max_rows=50)

    assert first == 3 and fetched() == first  # two files, of which one was cut half-way
    assert not list((tmp_path / "runs/cc/lists").glob("*.parquet*"))


def test_a_download_that_was_cut_goes_on_where_it_stopped(tmp_path: Path, reads: Path, site: Site) -> None:
    plan(tmp_path, reads, listing="tsv")

    first, second = (request for request in site.requests if request.path == PATHS["cc3m_train"])
    assert "range" not in first.headers and second.headers["range"].startswith("bytes=")


def test_the_tsv_lists_the_same_rows_as_the_hub_but_for_its_bad_lines(tmp_path: Path, reads: Path) -> None:
    hub = {one.key: one for one in listed(tmp_path / "hub", plan(tmp_path / "hub", reads))}

    tsv = {one.key: one for one in listed(tmp_path / "tsv", plan(tmp_path / "tsv", reads, listing="tsv"))}

    bad = {f"cc3m:{number:08d}": reason for number, reason in BAD_TSV_ROWS.items()}
    assert {key: tsv[key].reason for key in bad} == bad
    assert {key: one for key, one in tsv.items() if key not in bad} == {
        k: one for k, one in hub.items() if k not in bad
    }


def test_the_opposite_order_of_columns_and_the_validation_list_are_read_too(
    tmp_path: Path, reads: Path, site: Site, world: ConceptualCaptions
) -> None:
    large = listed(tmp_path / "12m", plan(tmp_path / "12m", reads, dataset="cc12m", listing="tsv"))
    small = listed(tmp_path / "val", plan(tmp_path / "val", reads, split="validation"))

    by_key = {one.key: one for one in large}
    assert by_key["cc12m:00000003"].url == world.url("cc12m_train", 3, site.url)
    assert by_key["cc12m:00000003"].captions == (world.alt("cc12m_train", 3).caption,)
    assert sorted(one.key for one in small)[:2] == ["cc3m-validation:00000000", "cc3m-validation:00000001"]


def test_the_closed_original_address_says_what_else_there_is(
    tmp_path: Path, reads: Path, world: ConceptualCaptions
) -> None:
    world.is_google_closed = True

    with pytest.raises(UserError, match=r"GCC-training\.tsv: status 403: .*listing in params.yaml may be hub"):
        plan(tmp_path, reads, listing="tsv")


def test_what_is_nowhere_is_refused_before_anything_is_asked() -> None:
    def validate(**changes: str) -> None:
        ConceptualCaptionsConfig.model_validate(CONFIG.model_dump() | changes)

    with pytest.raises(ValueError, match="listing is hub, where only CC3M is"):
        validate(dataset="cc12m")
    with pytest.raises(ValueError, match="cc12m has a training list only"):
        validate(dataset="cc12m", split="validation", listing="tsv")


def test_each_snapshot_draws_the_next_rows_until_all_are_drawn(tmp_path: Path, reads: Path) -> None:
    whole = [one.key for one in listed(tmp_path / "all", plan(tmp_path / "all", reads))]
    draws = [plan(tmp_path, reads, snapshot, max_rows=150) for snapshot in ("s1", "s2", "s3", "s4")]

    assert [len(listed(tmp_path, jobs)) for jobs in draws] == [150, 300, 400, 400]
    assert [one.key for one in listed(tmp_path, draws[3])] == whole
    assert [watermark(tmp_path, snapshot)["drawn"] for snapshot in ("s1", "s2", "s3", "s4")] == [150, 300, 400, 400]


def test_a_list_that_has_grown_gives_the_rows_that_no_snapshot_has(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("".join(f"caption {number}\thttp://a.example/{number}\n" for number in range(60)))
    plan(tmp_path, path, "s1", listing="file", max_rows=40)
    with path.open("a") as stream:
        stream.writelines(f"caption {number}\thttp://a.example/{number}\n" for number in range(60, 100))

    keys = [one.key for one in listed(tmp_path, plan(tmp_path, path, "s2", listing="file", max_rows=40))]
    rest = [one.key for one in listed(tmp_path, plan(tmp_path, path, "s3", listing="file", max_rows=40))]

    assert len(set(keys)) == 80 and rest[:80] == keys
    assert sorted(rest) == [f"cc3m:{number:08d}" for number in range(100)]


@pytest.mark.parametrize("change", ["another row", "a row less", "a longer last row"])
def test_another_list_is_no_longer_one(tmp_path: Path, change: str) -> None:
    rows = [f"caption {number}\thttp://a.example/{number}" for number in range(60)]
    path = tmp_path / "mine.tsv"
    path.write_text("\n".join(rows))
    plan(tmp_path, path, "s1", listing="file", max_rows=10)
    rows = {
        "another row": ["x\thttp://x/", *rows],
        "a row less": rows[:-1],
        "a longer last row": [*rows[:-1], rows[-1] + "0"],
    }[change]
    path.write_text("\n".join(rows))

    with pytest.raises(UserError, match=r"mine\.tsv: does not begin with the list that the snapshot 's1' drew from"):
        plan(tmp_path, path, "s2", listing="file", max_rows=10)


def test_a_file_that_changes_under_its_snapshot_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("caption 1\thttp://a.example/1\n")
    plan(tmp_path, path, "s1", listing="file")
    path.write_text("caption 1\thttp://a.example/1\ncaption 2\thttp://a.example/2\n")

    with pytest.raises(UserError, match=r"mine\.tsv: the list has changed since the snapshot 's1'"):
        plan(tmp_path, path, "s1", listing="file")


def test_a_parquet_file_of_the_user_is_a_list_too(tmp_path: Path) -> None:
    path = tmp_path / "mine/list.parquet"
    path.parent.mkdir()
    captions = ["one", None, "t\tab", "line\nbreak", 'qu"ote', "NA"]
    urls = [f"http://a.example/{number}" for number in range(6)]
    pq.write_table(pa.table({"caption": captions, "image_url": urls, "more": [1] * 6}), path)
    (path.parent / "hosts.yaml").write_text("images: {per_host: 1}")

    found = {one.key: one for one in listed(tmp_path, plan(tmp_path, path.parent, listing="file"))}

    assert [found[f"cc3m:{number:08d}"].captions for number in (0, 2, 3, 4, 5)] == [
        (captions[n],) for n in (0, 2, 3, 4, 5)
    ]
    assert found["cc3m:00000001"].reason == "no_caption"


def test_a_file_without_the_columns_or_missing_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"], "link": ["http://a/"]}), tmp_path / "mine.parquet")

    with pytest.raises(ConfigError, match=r"mine\.parquet: has no column 'image_url' or 'url'; found: text, link"):
        plan(tmp_path, tmp_path / "mine.parquet", listing="file")
    with pytest.raises(ConfigError, match=r"nowhere\.tsv: no such file"):
        plan(tmp_path, tmp_path / "nowhere.tsv", listing="file")


def test_a_file_of_the_hub_that_is_not_what_its_tree_says_is_refused_and_forgotten(
    tmp_path: Path, reads: Path, world: ConceptualCaptions
) -> None:
    world.flips_a_bit = True

    with pytest.raises(UserError, match=r"unlabeled/train-00000-of-00002\.parquet: SHA-256"):
        plan(tmp_path, reads)
    assert not list((tmp_path / "runs/cc/lists").iterdir())


def test_every_row_of_a_simulated_web_gets_the_outcome_of_its_fate(
    tmp_path: Path, reads: Path, world: ConceptualCaptions
) -> None:
    jobs = plan(tmp_path, reads, max_rows=100)
    folder, state = tmp_path / "raw/cc", tmp_path / "runs/cc"

    reports = [remote.run(job, folder=folder, state=state) for job in jobs]

    expected = [_expected(world, one) for one in listed(tmp_path, jobs)]
    rejected = {reason: sum(report.rejected.get(reason, 0) for report in reports) for reason in set(expected) - {""}}
    assert rejected == {reason: expected.count(reason) for reason in rejected}
    assert sum(report.stored for report in reports) == expected.count("")
    assert 0.3 < expected.count("") / len(expected) < 0.75
    assert not any(report.pending for report in reports)


def test_a_list_four_times_as_long_takes_no_more_memory(tmp_path: Path, checkout: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from minimagen.config import ConceptualCaptionsConfig\n"
        "from minimagen.sources.conceptual_captions import plan\n"
        "config, root = ConceptualCaptionsConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])\n"
        "plan(config, reads=root / 'l.tsv', snapshot='s1', folder=root / 'raw', state=root / 'state')\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    config = CONFIG.model_copy(update={"listing": "file", "max_rows": 200}).model_dump_json()
    environment, peaks_mib = os.environ | {"PYTHONPATH": str(checkout)}, []

    for num_rows in (1_000, 4_000):
        root = tmp_path / str(num_rows)
        root.mkdir()
        (root / "l.tsv").write_text("".join(f"{'long ' * 3000}\thttp://a.example/{n}\n" for n in range(num_rows)))
        command = [sys.executable, "-c", script, config, str(root)]
        peaks_mib.append(int(subprocess.check_output(command, env=environment)) / 1024)

    assert peaks_mib[1] - peaks_mib[0] < 16  # the longer list is 43 MiB longer


def _expected(world: ConceptualCaptions, candidate: Candidate) -> str:
    fate = world.alt("cc3m_train", int(candidate.key.removeprefix("cc3m:"))).fate
    if fate == "dead":
        return "blocked_address"  # its port is none that tests may ask
    return candidate.reason or REASONS.get(fate, "")
