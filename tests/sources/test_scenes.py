import io
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.config import ConfigError, ScenesConfig, load_params
from minimagen.shards import ShardJob, iter_rows, read_table, shard_path
from minimagen.sources.scene_deal import deal_scene
from minimagen.sources.scene_drawing import draw_scene, read_sprites
from minimagen.sources.scene_grammar import caption_of, read_extra
from minimagen.sources.scenes import complete_config, plan, run

SHEET = Path(__file__).parents[2] / "data/assets/sprites.parquet"
CONFIG = ScenesConfig(
    num_scenes=50,
    seed=0,
    size=24,
    objects=("red apple", "fox"),
    backgrounds=("white", "blue"),
    positions=("center", "top left"),
    sizes=("small", "large"),
    relations=(),
    held_out_fraction=0.25,
    jitter=0.02,
    shard_rows=20,
)


def plan_here(config: ScenesConfig = CONFIG, snapshot: str = "demo-1") -> list[ShardJob]:
    return plan(config, reads=SHEET, snapshot=snapshot)


def test_the_plan_covers_every_scene_once() -> None:
    jobs = plan_here()

    specs = [json.loads(job.spec) for job in jobs]
    assert [job.name for job in jobs] == ["demo-1-00000", "demo-1-00001", "demo-1-00002"]
    assert [(spec["start"], spec["stop"]) for spec in specs] == [(0, 20), (20, 40), (40, 50)]


def test_rows_say_what_their_pictures_show(tmp_path: Path) -> None:
    job = plan_here(snapshot="2026-01-02")[1]

    report = run(job, folder=tmp_path)

    rows = list(iter_rows(shard_path(tmp_path, job.name)))
    assert (report.stored, report.rejected, report.pending) == (20, {}, 0)
    assert [row.key for row in rows] == [f"scenes:{index:07d}" for index in range(20, 40)]
    for index, row in enumerate(rows, start=20):
        dealt, truth = deal_scene(CONFIG, index), read_extra(row.extra)
        assert (truth.scene, truth.is_held_out) == (dealt.scene, dealt.is_held_out)
        assert row.text == row.text_raw == row.captions[0] == caption_of(dealt.scene)
        assert row.fetched_at == datetime(2026, 1, 2, tzinfo=UTC)


def test_pictures_are_stored_without_loss(tmp_path: Path) -> None:
    job = plan_here()[0]
    run(job, folder=tmp_path)
    sprites = read_sprites(SHEET, CONFIG.objects)

    row = next(iter_rows(shard_path(tmp_path, job.name)))

    dealt = deal_scene(CONFIG, 0)
    with Image.open(io.BytesIO(row.image_bytes)) as image:
        np.testing.assert_array_equal(np.asarray(image), draw_scene(dealt.scene, sprites, 24, dealt.displacements))


def test_equal_jobs_give_equal_bytes_and_a_done_shard_stays(tmp_path: Path) -> None:
    job = plan_here()[0]
    run(job, folder=tmp_path / "one")
    run(job, folder=tmp_path / "two")

    again = run(job, folder=tmp_path / "one")

    assert again.was_done and again.stored == 20
    paths = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(paths) == 3
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in paths)


def test_more_scenes_leave_the_whole_shards_of_before_as_they_were(tmp_path: Path) -> None:
    longer = CONFIG.model_copy(update={"num_scenes": 100})
    for name, config in (("short", CONFIG), ("long", longer)):
        run(plan_here(config)[1], folder=tmp_path / name)

    short, long = (read_table(shard_path(tmp_path / name, "demo-1-00001")) for name in ("short", "long"))

    assert short.equals(long)


def test_an_empty_list_of_objects_means_the_whole_sheet() -> None:
    completed = complete_config(CONFIG.model_copy(update={"objects": ()}), SHEET)

    assert len(completed.objects) >= 500


def test_the_demo_can_be_planned() -> None:
    params = load_params(SHEET.parents[2] / "experiments/demo.yaml")
    assert params.ingest.scenes is not None

    jobs = plan(params.ingest.scenes, reads=SHEET, snapshot=params.ingest.snapshot)

    assert {"red apple"} <= set(params.ingest.scenes.objects) and "blue" in params.ingest.scenes.backgrounds
    assert jobs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": ("red aple",)}, "objects: 'red aple' is not in "),
        ({"objects": ("red aple",)}, "nearest: red apple"),
        ({"objects": ("fox", "fox")}, "objects: 'fox' is listed 2 times"),
        ({"backgrounds": ("bleu",)}, "backgrounds: 'bleu' is not a known colour; nearest: blue"),
        ({"positions": ("top lift",)}, "positions: 'top lift' is not a known position; nearest: top left"),
        ({"sizes": ("huge",)}, "sizes: 'huge' is not a known size; nearest: "),
        ({"relations": ("beside",), "positions": ()}, "relations: 'beside' is not a known relation; nearest: "),
        ({"relations": ("above",)}, "give positions (one object per scene) or relations (two objects)"),
        ({"positions": ()}, "give positions"),
        ({"objects": ("fox",), "relations": ("above",), "positions": ()}, "objects: relations need two objects"),
        ({"num_scenes": 2}, "held_out_fraction"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(change: dict[str, tuple[str, ...] | int], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan_here(CONFIG.model_copy(update=change))

    assert str(error.value).startswith("params.yaml: ingest.scenes") and message in str(error.value)


def test_a_missing_sheet_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sources\.scenes: .*sprites\.parquet: no such file"):
        plan(CONFIG, reads=tmp_path / "sprites.parquet", snapshot="demo-1")


def test_a_sheet_that_changed_after_planning_is_refused(tmp_path: Path) -> None:
    sheet = tmp_path / "sprites.parquet"
    sheet.write_bytes(SHEET.read_bytes())
    job = plan(CONFIG, reads=sheet, snapshot="demo-1")[0]
    sheet.write_bytes(SHEET.read_bytes() + b"x")

    with pytest.raises(ValueError, match=r"sprites\.parquet has changed since shard demo-1-00000 was planned"):
        run(job, folder=tmp_path / "raw")
