"""Stage evaluate on drawn scenes and a folder of pictures, with small networks of random weights."""

import io
import json
import os
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minimagen.config import ConfigError, Params, ScenesConfig, UNetSection, read_yaml, validate_params
from minimagen.datasets.captioned import CaptionedImages
from minimagen.evaluation.pairs import read_pairs
from minimagen.evaluation.report import png_uri
from minimagen.manifest import Manifest, write_manifest
from minimagen.models.unet import UNet
from minimagen.pipeline import Cascade
from minimagen.rows import Failure, Row
from minimagen.saved_model import EncoderRecord, ModelRecord, read_model, write_model
from minimagen.seeding import generator
from minimagen.shapes import TextEmbeds, TextMask
from minimagen.shards import iter_rows, read_shard_file, shard_path, write_failures
from minimagen.sources import scenes
from minimagen.sources.scene_grammar import read_extra
from minimagen.stages.evaluate import run_evaluate
from minimagen.stages.run_lock import AlreadyRunningError, run_lock
from tests.contents import contents
from tests.datasets.prepared import TEXT_DIM, write_prepared

ENCODER = EncoderRecord(name="tiny", revision=None, tokenizer_sha256="00", max_length=64, text_dim=TEXT_DIM)
REJECTED = [Failure("photos:a<b.jpg", "a<b.jpg", "too_small", "short side 3 px"), Failure("c", "c.png", "flat", "")]
SHARD = "demo-1-00000"
CURVES = (
    "step,train_loss,validation_loss,seen_loss,nearest_ratio,nearest_ratio_held_out\n1,0.9,,,,\n2,0.5,0.6,0.5,0.4,0.5\n"
)


def small_params(checkout: Path, *, num_captions: int = 5) -> Params:
    """Returns the demo's parameters with few pictures and small networks."""
    document = read_yaml(checkout / "experiments/demo.yaml")
    assert isinstance(document, dict)
    document["sources"] = {"scenes": str(checkout / "data/assets/sprites.parquet")}
    document["ingest"]["scenes"] |= {"num_scenes": 60, "size": 16, "objects": ["banana", "frog"], "shard_rows": 60}
    document["ingest"]["scenes"] |= {"backgrounds": ["white", "blue"], "positions": ["center", "left"]}
    small = {"dim": 8, "dim_mults": [1, 2], "attn_heads": 2, "attn_head_dim": 4, "cond_dim": 8}
    levels = {"num_resnet_blocks": [1, 1], "layer_attns": [False, True], "layer_cross_attns": [False, True]}
    for name, size, low_res_size in (("base", 8, None), ("super", 16, 8)):
        document["unets"][name] |= {"image_size": size, "low_res_size": low_res_size}
        document["unets"][name]["unet"] |= small | levels
        document["sampling"][name]["num_steps"] = 2
    document["evaluate"] |= {"num_captions": num_captions, "num_training_captions": 4}
    document["evaluate"] |= {"num_loss_images": 8, "num_super_pairs": 5}
    for name in document["unets"]:
        document["unets"][name]["training"]["snapshot_epochs"] = [3]
    document["evaluate"] |= {"num_report_rows": 3, "batch_size": 3}
    return validate_params(document, Path("params.yaml"))


def write_data(root: Path, params: Params) -> None:
    """Draws scenes as stage ingest does and splits them as stage curate does, with made-up embeddings."""
    config: ScenesConfig | None = params.ingest.scenes
    assert config is not None
    raw = root / "data/raw/scenes"
    for job in scenes.plan(config, reads=params.sources["scenes"], snapshot="demo-1"):
        scenes.run(job, folder=raw)
    write_failures(raw / "failures" / f"{SHARD}.parquet", REJECTED)
    counts = {"pending": 0, "rejected/too_small": 1, "rejected/flat": 1}
    write_manifest(raw, Manifest("scenes", {}, counts, {}, "1", (read_shard_file(raw, SHARD),)))
    rows = list(iter_rows(shard_path(raw, SHARD)))
    records = [_curated(row, "validation" if read_extra(row.extra).is_held_out else "train") for row in rows]
    _write_curated(root, records)


def _curated(row: Row, split: str) -> dict[str, object]:
    record = {field: getattr(row, field) for field in Row.__slots__ if field != "image_bytes"}
    return record | {"image": {"bytes": row.image_bytes, "path": "x.png"}, "group_id": row.key, "split": split}


def _write_curated(root: Path, records: Sequence[dict[str, object]]) -> None:
    write_prepared(root / "data", {SHARD: list(records)})


def _data_sha256(root: Path) -> str:
    return CaptionedImages.load(
        root / "data/curated", root / "data/embeddings", split="train", size=8, crop="center", cache=None
    ).data_sha256


def write_models(root: Path, params: Params) -> None:
    """Writes networks of random weights as stage train does."""
    for name in params.cascade:
        section, data_sha256 = params.unets[name], _data_sha256(root)
        write_model(root / "data/models" / name, _record(name, section, data_sha256), _weights(section))
        checkpoint = root / "data/checkpoints" / name
        checkpoint.mkdir(parents=True)
        write_model(checkpoint / "epoch-00003", _record(name, section, data_sha256), _weights(section))
        (checkpoint / "curves.csv").write_text(CURVES)


def _record(name: str, section: UNetSection, data_sha256: str) -> ModelRecord:
    return ModelRecord(
        name=name,
        image_size=section.image_size,
        low_res_size=section.low_res_size,
        unet=section.unet,
        diffusion=section.diffusion,
        encoder=ENCODER,
        num_steps=2,
        data_sha256=data_sha256,
    )


def _weights(section: UNetSection) -> dict[str, torch.Tensor]:
    network = UNet(section.unet, text_dim=TEXT_DIM, has_low_res=section.low_res_size is not None)
    draws = generator(section.image_size)
    return {name: 0.1 * torch.randn(value.shape, generator=draws) for name, value in network.state_dict().items()}


def _outs(root: Path) -> dict[str, str]:
    return contents([root / "data/cascade.json", *(root / "data/eval").iterdir()], root)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, checkout = tmp_path_factory.mktemp("prepared"), Path(__file__).parents[2]
    write_data(root, small_params(checkout))
    write_models(root, small_params(checkout))
    return root


@pytest.fixture(scope="module")
def evaluated(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluated") / "project"
    shutil.copytree(prepared, root)
    run_evaluate(small_params(Path(__file__).parents[2]), root)
    return root


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "project")
    return tmp_path / "project"


def test_metrics_say_all_that_the_design_promises(evaluated: Path):
    metrics = json.loads((evaluated / "data/eval/metrics.json").read_bytes())

    assert metrics["alignment"].keys() >= {"joint", "object", "background", "size", "position", "shuffled", "chance"}
    assert metrics["alignment"]["num_captions"] == 5
    assert metrics["alignment"]["chance"] == pytest.approx(1 / (2 * 2 * 2 * 2))
    assert metrics["unets"]["base"].keys() == {"loss", "loss_by_time"}
    assert metrics["unets"]["super"].keys() >= {"loss", "psnr", "psnr_bicubic", "psnr_gain", "colour_error"}
    assert metrics["reproduction"]["num_pairs"] == 4
    assert metrics["sampling"]["num_evaluations"] == 2 + 2


def test_scores_have_a_record_for_each_sample(evaluated: Path):
    scores = json.loads((evaluated / "data/eval/scores.json").read_bytes())
    metrics = json.loads((evaluated / "data/eval/metrics.json").read_bytes())

    assert [len(scores[kind]) for kind in ("held_out", "training")] == [5, 4]
    right = [all(record["is_right"]["super"].values()) for record in scores["held_out"]]
    assert sum(right) / 5 == metrics["alignment"]["joint"]
    gains = [record["psnr"] - record["psnr_bicubic"] for record in scores["super_resolution"]["super"]]
    assert sum(gains) / 5 == pytest.approx(metrics["unets"]["super"]["psnr_gain"]["mean"])


def test_scores_for_the_gate_are_of_every_network_and_name_picture_and_caption(evaluated: Path):
    denoising = json.loads((evaluated / "data/eval/scores.json").read_bytes())["denoising"]

    assert len(denoising["samples"]) == 8 and denoising["times"] == [0.125, 0.375, 0.625, 0.875]
    for sample in denoising["samples"]:
        assert sample.keys() == {"key", "caption", "picture", "psnr"} and sample["psnr"].keys() == {"base", "super"}
        assert all(0.0 < value < 60.0 for value in sample["psnr"].values())
    assert len({sample["picture"] for sample in denoising["samples"]}) > 4


def test_pairs_are_training_pictures_beside_what_was_drawn_for_their_captions(evaluated: Path):
    pairs = read_pairs(evaluated / "data/eval/pairs.safetensors")
    scores = json.loads((evaluated / "data/eval/scores.json").read_bytes())

    assert list(pairs.captions) == [record["caption"] for record in scores["training"]]
    assert {label: pictures.shape for label, pictures in pairs.pictures.items()} == dict.fromkeys(
        ("real", "drawn"), (4, 16, 16, 3)
    )


def test_weights_of_an_earlier_epoch_draw_from_the_same_noise(evaluated: Path):
    """Here they are the final weights, so the same pictures have to come out."""
    page = (evaluated / "data/eval/report.html").read_text()
    drawn = read_pairs(evaluated / "data/eval/pairs.safetensors").pictures["drawn"]

    shown = re.findall(r'src="([^"]*)" alt="after 3 epochs"', page)
    assert shown == [png_uri(picture) for picture in drawn]


def test_an_epoch_that_one_network_did_not_come_to_is_not_shown(project: Path, checkout: Path):
    shutil.rmtree(project / "data/checkpoints/base/epoch-00003")

    run_evaluate(small_params(checkout), project)

    assert "after 3 epochs" not in (project / "data/eval/report.html").read_text()


def test_bicubic_baseline_is_that_of_pillow(evaluated: Path):
    scores = json.loads((evaluated / "data/eval/scores.json").read_bytes())
    pictures = {row.key: row.image_bytes for row in iter_rows(shard_path(evaluated / "data/raw/scenes", SHARD))}

    for record in scores["super_resolution"]["super"]:
        with Image.open(io.BytesIO(pictures[record["key"]])) as opened:
            original = opened.convert("RGB")
        blurred = original.resize((8, 8), Image.Resampling.BICUBIC).resize((16, 16), Image.Resampling.BICUBIC)
        error = np.asarray(original, dtype=float) - np.asarray(blurred, dtype=float)
        assert record["psnr_bicubic"] == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)), abs=0.2)


def test_report_shows_every_rejected_file_and_asks_for_nothing(evaluated: Path):
    page = (evaluated / "data/eval/report.html").read_text()

    assert "photos:a&lt;b.jpg" in page
    assert "short side 3 px" in page
    assert "<td>ingest scenes</td>" + "".join(f'<td class="number">{number}</td>' for number in (62, 60, 0, 2)) in page
    assert all(uri.startswith("data:") for uri in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert page.count('class="line-1"') >= 2
    assert "sampling.base.num_steps" in page


def test_outs_hold_no_path_and_the_run_leaves_times_beside_them(evaluated: Path):
    for name in _outs(evaluated):
        assert str(evaluated).encode() not in (evaluated / name).read_bytes()
    assert json.loads((evaluated / "runs/evaluate/timings.json").read_bytes())["num_pictures"] == 14
    assert not list((evaluated / "runs/evaluate").glob("*/drawn"))


def test_cascade_loads_from_the_folder_that_was_evaluated(evaluated: Path, checkout: Path):
    cascade = Cascade.load(evaluated / "data")

    params = small_params(checkout)
    assert tuple(stage.name for stage in cascade.stages) == params.cascade
    assert cascade.stages[1].settings.aug_level == params.sampling["super"].aug_level


def test_a_second_evaluation_gives_the_same_bytes(evaluated: Path, project: Path, checkout: Path):
    run_evaluate(small_params(checkout), project)

    assert _outs(project) == _outs(evaluated)


def test_an_interrupted_evaluation_goes_on_with_what_it_has_drawn(
    evaluated: Path, project: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    draw, drawn, limits = Cascade.draw, list[str](), [2, 100]

    def limited(
        cascade: Cascade, embeds: TextEmbeds, mask: TextMask, *, seed: int, sample_ids: Sequence[str]
    ) -> object:
        if limits[0] == 0:
            raise KeyboardInterrupt
        limits[0] -= 1
        drawn.extend(sample_ids)
        return draw(cascade, embeds, mask, seed=seed, sample_ids=sample_ids)

    monkeypatch.setattr(Cascade, "draw", limited)
    with pytest.raises(KeyboardInterrupt):
        run_evaluate(small_params(checkout), project)
    del limits[0]
    run_evaluate(small_params(checkout), project)

    assert len(set(drawn)) == 9 and len(drawn) == 9 + 4, "the four training captions once more, as after an epoch"
    assert _outs(project) == _outs(evaluated)


def test_a_signal_ends_the_evaluation_after_the_batch_and_is_told_by_the_exit_code(
    project: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    draw = Cascade.draw

    def told_to_stop(cascade: Cascade, *args: torch.Tensor, seed: int, sample_ids: Sequence[str]) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return draw(cascade, *args, seed=seed, sample_ids=sample_ids)

    monkeypatch.setattr(Cascade, "draw", told_to_stop)
    try:
        with pytest.raises(SystemExit) as stopped:
            run_evaluate(small_params(checkout), project)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    assert stopped.value.code == 143
    assert len(list((project / "runs/evaluate").glob("*/drawn/held-out/*"))) == 1
    assert not (project / "data/eval").exists()


def test_a_second_process_leaves_the_work_to_the_first(project: Path, checkout: Path):
    with run_lock(project / "runs/evaluate/evaluate.lock"), pytest.raises(AlreadyRunningError, match="held by process"):
        run_evaluate(small_params(checkout), project)


def test_an_unlisted_model_stops_the_evaluation_by_name(project: Path, checkout: Path):
    shutil.copytree(project / "data/models/super", project / "data/models/super2")

    with pytest.raises(ConfigError, match=r"data/models/super2.*cascade \(base, super\)"):
        run_evaluate(small_params(checkout), project)


def test_a_model_of_other_data_is_refused_by_name(project: Path, checkout: Path):
    model = read_model(project / "data/models/super")
    record = model.record.model_copy(update={"data_sha256": "f" * 64})
    write_model(project / "data/models/super", record, model.tensors)

    with pytest.raises(ValueError, match=r"data/models/super was trained on data ffffffffffff, but data/curated"):
        run_evaluate(small_params(checkout), project)


def test_a_model_of_other_parameters_is_refused_by_name(project: Path, checkout: Path):
    params = small_params(checkout)
    section = params.unets["base"]
    changed = section.model_copy(update={"diffusion": section.diffusion.model_copy(update={"target": "eps"})})

    with pytest.raises(ValueError, match=r"data/models/base was trained with unets\.base\.diffusion"):
        run_evaluate(params.model_copy(update={"unets": params.unets | {"base": changed}}), project)


def test_a_damaged_model_is_refused_by_name(project: Path, checkout: Path):
    path = project / "data/models/base/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"model\.safetensors"):
        run_evaluate(small_params(checkout), project)


def test_pictures_of_unknown_content_are_shown_but_not_scored(project: Path, checkout: Path):
    params = small_params(checkout)
    rows = list(iter_rows(shard_path(project / "data/raw/scenes", SHARD)))
    records = [_curated(row, ["train", "validation"][number % 2]) | {"extra": "{}"} for number, row in enumerate(rows)]
    shutil.rmtree(project / "data/models")
    shutil.rmtree(project / "data/checkpoints")
    _write_curated(project, records)
    write_models(project, params)

    run_evaluate(params, project)

    assert "alignment" not in json.loads((project / "data/eval/metrics.json").read_bytes())
    assert "Alignment was not scored: no source" in (project / "data/eval/report.html").read_text()


def test_a_base_alone_with_a_single_caption_is_evaluated(project: Path, checkout: Path):
    document = small_params(checkout, num_captions=1).model_dump(mode="json")
    document["cascade"] = ["base"]
    for key in ("unets", "sampling"):
        del document[key]["super"]
    for parent in ("models", "checkpoints"):
        shutil.rmtree(project / "data" / parent / "super")

    run_evaluate(validate_params(document, Path("params.yaml")), project)

    metrics = json.loads((project / "data/eval/metrics.json").read_bytes())
    assert metrics["alignment"]["num_captions"] == 1
    assert "shuffled" not in metrics["alignment"]
    assert "base_alignment" not in metrics
