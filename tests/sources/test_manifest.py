import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from minimagen.config import CaptionRules, ConfigError, ImageRules, ManifestConfig
from minimagen.errors import UserError
from minimagen.shards import ShardJob
from minimagen.sources import manifest as source
from minimagen.sources import remote
from minimagen.sources.candidates import Candidate, candidates_path, iter_candidates
from minimagen.sources.services import read_image_hosts
from tests.simulators.pictures import PictureHost
from tests.simulators.server import Site, running_site

IMAGES = ImageRules(
    store_size=16, min_side=8, max_aspect=3.0, max_pixels=100_000, min_std=2.0, animated="first_frame", encoding="png"
)
CONFIG = ManifestConfig(
    shard_rows=4,
    max_bytes=1_000_000,
    min_success=0.0,
    images=IMAGES,
    captions=CaptionRules(min_chars=1, max_chars=120),
    url_column="image_url",
    caption_column="caption",
    split=None,
    license="CC0-1.0",
    lang="en",
)
RECORDS = [
    {"image_url": f"https://a.example/{number}.jpg", "caption": caption}
    for number, caption in enumerate(["one", "NA", "null", '"quoted"', "caf\u00e9", "six"])
]


def plan(root: Path, reads: Path, snapshot: str = "s1", **changes: object) -> list[ShardJob]:
    config = CONFIG.model_copy(update=changes)
    return source.plan(config, reads=reads, snapshot=snapshot, folder=root / "raw/m", state=root / "runs/m")


def listed(root: Path, jobs: Sequence[ShardJob]) -> list[Candidate]:
    return [one for job in jobs for one in iter_candidates(candidates_path(root / "raw/m", job.name))]


def write(path: Path, records: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def rows(*pairs: tuple[str, object]) -> list[dict[str, object]]:
    return [{"image_url": url, "caption": caption} for url, caption in pairs]


@pytest.mark.parametrize(
    "suffix", ["json", "columns.json", "parts.json", "pandas.json", "jsonl", "csv", "tsv", "parquet"]
)
def test_every_format_and_shape_lists_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path, table = tmp_path / f"t.{suffix}", pd.DataFrame(RECORDS)
    columns = {name: [record[name] for record in RECORDS] for name in RECORDS[0]}
    match suffix:
        case "json" | "columns.json" | "parts.json":
            shapes = {"json": RECORDS, "columns.json": columns, "parts.json": {"train": columns}}
            path.write_text(json.dumps(shapes[suffix]))
        case "pandas.json":
            table.to_json(path)
        case "jsonl":
            write(path, RECORDS)
        case "csv":
            table.to_csv(path, index=False)
        case "tsv":
            path.write_text("\n".join("\t".join(row) for row in (columns, *(one.values() for one in RECORDS))))
        case _:
            table.to_parquet(path)

    found = [(one.url, one.captions[0], one.reason) for one in listed(tmp_path, plan(tmp_path, path))]

    assert found == [(record["image_url"], record["caption"], "") for record in RECORDS]


def test_the_shape_of_the_papers_authors_has_parts_and_a_split_names_one(tmp_path: Path) -> None:
    urls = [f"https://a.example/{number}" for number in range(5)]
    parts = {
        "train": {"image_url": urls[:3], "caption": ["a", "b", "c"]},
        "validation": {"image_url": urls[2:], "caption": ["c", "d", "e"]},
    }
    path = tmp_path / "cc.json"
    path.write_text(json.dumps(parts))

    both = listed(tmp_path / "all", plan(tmp_path / "all", path))
    validation = listed(tmp_path / "val", plan(tmp_path / "val", path, split="validation"))

    assert [(one.url, one.reason) for one in both] == [
        *((url, "") for url in urls[:3]),
        (urls[2], "duplicate_url"),
        *((url, "") for url in urls[3:]),
    ]
    assert [json.loads(one.extra) for one in both[2:4]] == [{"split": "train"}, {"split": "validation"}]
    assert [one.url for one in validation] == urls[2:]


def test_a_key_is_of_the_address_alone_so_order_captions_and_spelling_do_not_matter(tmp_path: Path) -> None:
    first = plan(tmp_path, write(tmp_path / "a/t.jsonl", RECORDS))
    again = [record | {"caption": "anew"} for record in RECORDS]
    random.Random(1).shuffle(again)
    again[0] = {"image_url": again[0]["image_url"].replace("a.example", "A.EXAMPLE:443") + "#x", "caption": "x"}

    second = plan(tmp_path / "other", write(tmp_path / "b/t.jsonl", again))

    keys = {one.key for one in listed(tmp_path, first)}
    assert len(keys) == len(RECORDS) and keys == {one.key for one in listed(tmp_path / "other", second)}


def test_rows_of_one_address_become_one_with_all_captions_and_every_row_has_an_outcome(tmp_path: Path) -> None:
    table = rows(
        ("https://a.example/cat", "a cat"),
        ("https://a.example/dog", ["a dog", "a hound"]),
        ("HTTPS://a.example:443/cat", "a tabby"),
        ("https://a.example/cat", "a cat"),
        ("https://a.example/dog", None),
    )

    found = listed(tmp_path, plan(tmp_path, write(tmp_path / "t.jsonl", table)))

    assert [one.captions for one in found[:2]] == [("a cat", "a tabby"), ("a dog", "a hound")]
    assert [one.reason for one in found] == ["", "", "duplicate_url", "duplicate_url", "no_caption"]
    assert [one.key for one in found[2:]] == [f"{found[0].key}#2", f"{found[0].key}#3", f"{found[1].key}#2"]
    assert found[2].detail == f"line 3: the address of {found[0].key}, which has its captions too"


def test_a_row_without_a_caption_takes_that_of_a_later_row_of_its_address(tmp_path: Path) -> None:
    table = rows(("https://a.example/cat", None), ("https://a.example/cat", "a cat"))

    found = listed(tmp_path, plan(tmp_path, write(tmp_path / "t.jsonl", table)))

    assert [(one.reason, one.captions) for one in found] == [("", ("a cat",)), ("duplicate_url", ("a cat",))]


def test_a_later_snapshot_lists_only_new_addresses_wherever_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", RECORDS)
    first = plan(tmp_path, path)
    write(path, [*rows(("https://a.example/new", "new")), *reversed(RECORDS), RECORDS[0] | {"caption": "later"}])

    second = plan(tmp_path, path, "s2")

    assert second[: len(first)] == first
    added = listed(tmp_path, second[len(first) :])
    assert [(one.url[18:], one.reason) for one in added] == [("new", ""), ("0.jpg", "duplicate_url")]
    assert "listed before, and its captions stay as they were" in added[1].detail


def test_an_unchanged_table_adds_nothing_and_a_standing_plan_reads_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*RECORDS, *rows(("", "x"), ("", "x"), ("https://b.example/", 7))])

    first = plan(tmp_path, path)

    assert plan(tmp_path, path) == first == plan(tmp_path, path, "s2") and len(first) == 3
    assert not list((tmp_path / "runs/m").iterdir())


def test_a_table_that_changes_under_its_snapshot_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", RECORDS)
    plan(tmp_path, path)
    write(path, RECORDS[1:])

    with pytest.raises(
        UserError, match=r"t\.jsonl has changed since the snapshot 's1' listed it: a new ingest\.snapshot"
    ):
        plan(tmp_path, path)


def test_a_folder_holds_the_table_and_says_how_its_hosts_may_be_asked(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine/t.jsonl", RECORDS).parent
    (folder / "hosts.yaml").write_text("images: {requests_per_s: 50, robots: false}")

    assert len(listed(tmp_path, plan(tmp_path, folder))) == len(RECORDS)
    assert (read_image_hosts(folder).requests_per_s, read_image_hosts(folder).robots) == (50, False)
    assert read_image_hosts(folder / "t.jsonl").robots


def test_a_path_whose_table_dvc_would_not_see_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "mine/t.jsonl", RECORDS)
    (tmp_path / "mine.yaml").write_text("images: {}")

    with pytest.raises(ConfigError, match=r"mine\.yaml: is YAML, expected a table, or a folder that holds it and host"):
        plan(tmp_path, tmp_path / "mine.yaml")


@pytest.mark.parametrize(("names", "found"), [((), "nothing"), (("a.csv", "b.csv"), r"a\.csv, b\.csv")])
def test_a_folder_that_does_not_say_which_table_is_refused(tmp_path: Path, names: Sequence[str], found: str) -> None:
    for name in ("hosts.yaml", *names):
        write(tmp_path / "mine" / name, [])

    with pytest.raises(ConfigError, match=rf"mine: holds {found}, expected one table, and hosts\.yaml"):
        plan(tmp_path, tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url_column": "image_ulr"}, "no column 'image_ulr' (ingest.manifest.url_column in params.yaml); "
         "found: 'image_url', 'caption'; nearest: 'image_url'"),
        ({"caption_column": "text"}, "no column 'text' (ingest.manifest.caption_column in params.yaml); "
         "found: 'image_url', 'caption'"),
        ({"split": "train"}, "no part 'train' (ingest.manifest.split in params.yaml); it has no parts"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "json"])
def test_a_misspelt_parameter_is_one_line_with_the_nearest_name(
    tmp_path: Path, suffix: str, changes: dict[str, str], message: str
) -> None:
    path, table = tmp_path / f"t.{suffix}", pd.DataFrame(RECORDS)
    writers = {"jsonl": lambda: write(path, RECORDS), "csv": lambda: table.to_csv(path, index=False)}
    writers |= {"parquet": lambda: table.to_parquet(path), "json": lambda: path.write_text(json.dumps(RECORDS))}
    writers[suffix]()

    with pytest.raises(ConfigError) as error:
        plan(tmp_path, path, "s1", **changes)

    assert str(error.value) == f"{path}: {message}"
    assert not (tmp_path / "raw").exists()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.csv: no such file \(sources\.manifest in params\.yaml\)"):
        plan(tmp_path, tmp_path / "nowhere.csv")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(PictureHost()) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", "{}:{}".format(*site.address))
        yield site


def test_pictures_are_fetched_once_each_with_the_captions_of_all_their_rows(tmp_path: Path, site: Site) -> None:
    table = rows(
        (f"{site.url}/img/ok/a.png", "first"),
        (f"{site.url}/img/status/404/b.png", "gone"),
        (f"{site.url}/img/ok/a.png", "second"),
        ("file:///etc/passwd", "mine"),
    )
    jobs = plan(tmp_path, write(tmp_path / "t.jsonl", table))

    (report,) = [remote.run(job, folder=tmp_path / "raw/m", state=tmp_path / "runs/m") for job in jobs]

    assert (report.stored, report.rejected) == (1, {"blocked_scheme": 1, "duplicate_url": 1, "http_404": 1})
    assert sum(request.path == "/img/ok/a.png" for request in site.requests) == 1
