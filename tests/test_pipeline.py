import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from minimagen.datasets.transforms import to_float
from minimagen.diffusion.cascade import resize
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.pipeline import Cascade, StageOverrides, load_cascade_parts
from minimagen.saved_model import read_model, write_model
from minimagen.text.locate import hash_folder, write_record
from minimagen.text.tiny import build_tiny
from tests.small_cascade import CORPUS, small_sampling, write_small_cascade

APPLE, FROG = CORPUS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_cascade(tmp_path_factory.mktemp("cascade"))


@pytest.fixture(scope="module")
def cascade(folder: Path) -> Cascade:
    return Cascade.load(folder)


def test_every_stage_draws_every_caption_at_its_size(cascade: Cascade) -> None:
    samples = cascade.sample([APPLE, FROG], num_per_caption=2)

    assert samples.captions == (APPLE, APPLE, FROG, FROG)
    assert samples.pixels["base"].shape == (4, 8, 8, 3)
    assert samples.pixels["super"].shape == (4, 16, 16, 3)


def test_a_picture_depends_on_seed_caption_and_number_alone(cascade: Cascade) -> None:
    together = cascade.sample([APPLE, FROG], num_per_caption=2, seed=3, batch_size=3)
    alone = cascade.sample([FROG], num_per_caption=1, seed=3)

    difference = together.pixels["super"][2].astype(int) - alone.pixels["super"][0].astype(int)
    assert np.abs(difference).max() <= 1  # rounding of the last bit


def test_the_seed_changes_every_picture(cascade: Cascade) -> None:
    first, second = (cascade.sample([APPLE], seed=seed).pixels["super"] for seed in (0, 1))

    assert not np.array_equal(first, second)


def test_the_empty_caption_draws(cascade: Cascade) -> None:
    assert cascade.sample([""]).pixels["super"].shape == (1, 16, 16, 3)


def test_no_caption_is_refused(cascade: Cascade) -> None:
    with pytest.raises(ValueError, match="no caption"):
        cascade.sample([])


def test_overrides_change_the_picture_and_not_the_cascade(cascade: Cascade) -> None:
    plain = cascade.sample([APPLE]).pixels["super"]

    changed = cascade.sample([APPLE], overrides=StageOverrides(num_steps=1, guidance_scale=5.0)).pixels["super"]

    assert not np.array_equal(changed, plain)
    assert np.array_equal(cascade.sample([APPLE]).pixels["super"], plain)


def test_captions_are_read_as_the_embeddings_store_them(cascade: Cascade) -> None:
    embeds, mask = cascade.encode([APPLE, "a frog"])

    assert_close(embeds, embeds.half().float(), rtol=0, atol=0)
    assert mask.sum(dim=1).tolist() == [9, 3]  # eight words and two, and the end


def test_captions_are_encoded_in_the_precision_of_training(cascade: Cascade, tmp_path: Path) -> None:
    trained_in_bf16 = Cascade.load(write_small_cascade(tmp_path, precision="bf16"))

    rounded, exact = (one.encode([APPLE])[0] for one in (trained_in_bf16, cascade))

    wanted = cascade._load_encoder().encode([APPLE], max_length=16, batch_tokens=64, precision="bf16")[0]
    assert_close(rounded[0], torch.as_tensor(wanted).half().float(), rtol=0, atol=0)
    assert not torch.equal(rounded, exact)


def test_a_negative_caption_leads_away_and_is_no_caption_by_default(cascade: Cascade) -> None:
    plain = cascade.sample([APPLE, FROG], num_per_caption=2).pixels["super"]

    away = cascade.sample([APPLE, FROG], num_per_caption=2, negative="a blue background")
    alone = cascade.sample([FROG], negative="a blue background").pixels["super"]

    assert not np.array_equal(away.pixels["super"], plain)
    assert np.abs(away.pixels["super"][2].astype(int) - alone[0].astype(int)).max() <= 1
    assert np.array_equal(cascade.sample([APPLE, FROG], num_per_caption=2).pixels["super"], plain)


def test_a_negative_caption_without_guidance_is_refused(cascade: Cascade) -> None:
    with pytest.raises(ValueError, match="negative caption 'frog': no stage has guidance"):
        cascade.sample([APPLE], negative="frog", overrides=StageOverrides(guidance_scale=1.0))


def test_guidance_is_refused_where_no_training_was_without_captions(folder: Path) -> None:
    cascade = Cascade.load(folder)
    record = cascade.records["base"]
    never = record.model_copy(update={"diffusion": record.diffusion.model_copy(update={"cond_drop_prob": 0.0})})
    cascade.records["base"] = never

    with pytest.raises(ValueError, match="guidance 3: base was trained with cond_drop_prob 0"):
        cascade.sample(["frog"], overrides=StageOverrides(guidance_scale=3.0))


def test_settings_are_those_that_are_drawn_with(cascade: Cascade) -> None:
    settings = cascade.settings(StageOverrides(num_steps=2))

    assert [(name, one.sampler, one.num_steps) for name, one in settings.items()] == [
        ("base", "ddpm", 2),
        ("super", "dpmpp_2m", 2),
    ]
    assert cascade.settings()["base"].num_steps == 3


def test_the_law_of_noise_and_the_sampling_options_are_those_on_disk(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    document = json.loads((copy / "cascade.json").read_text())
    document["sampling"]["super"] |= {"low_frequency_consistency": True, "guidance_interval": [0.2, 0.7]}
    (copy / "cascade.json").write_text(json.dumps(document))
    model = read_model(copy / "models/base")
    law = model.record.diffusion.model_copy(update={"zero_terminal_snr": True, "schedule": "linear"})
    write_model(copy / "models/base", model.record.model_copy(update={"diffusion": law}), model.tensors)

    changed = Cascade.load(copy)

    assert changed.stages[0].denoiser.schedule == NoiseSchedule("linear", 0.0, zero_terminal_snr=True)
    assert changed.settings()["super"].guidance_interval == (0.2, 0.7)
    pixels = changed.sample([APPLE]).pixels
    shrunk = resize(to_float(pixels["super"]), 8)
    assert (shrunk - to_float(pixels["base"])).abs().mean() < 2 / 255 * 1.5  # rounding to levels included


def test_parts_draw_embedded_captions_as_the_whole_does(cascade: Cascade, folder: Path) -> None:
    sampling = {"base": small_sampling(None, sampler="ddpm"), "super": small_sampling(0.1)}
    parts = load_cascade_parts(folder / "models", sampling, device=torch.device("cpu"))
    embeds, mask = cascade.encode([APPLE])

    drawn = parts.draw(embeds, mask, seed=0, sample_ids=["a"])

    assert_close(drawn["super"], cascade.draw(embeds, mask, seed=0, sample_ids=["a"])["super"], rtol=0, atol=0)
    with pytest.raises(ValueError, match="without a text encoder"):
        parts.sample([APPLE])


def test_a_folder_without_a_cascade_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cascade\.json"):
        Cascade.load(tmp_path)


def test_a_damaged_model_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = bytearray((copy / "models/super/model.safetensors").read_bytes())
    weights[-5] ^= 1
    (copy / "models/super/model.safetensors").write_bytes(weights)

    with pytest.raises(ValueError, match=r"super/model\.safetensors"):
        Cascade.load(copy)


def test_stages_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    document = json.loads((copy / "cascade.json").read_text())
    document["cascade"] = ["super"]
    (copy / "cascade.json").write_text(json.dumps(document))

    with pytest.raises(ValueError, match="super starts from pictures of 8 px but follows nothing"):
        Cascade.load(copy)


def test_another_tokenizer_than_the_trained_one_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "text_encoder")
    (copy / "text_encoder").mkdir()
    build_tiny(copy / "text_encoder", ["other words"])
    write_record(copy / "text_encoder", hash_folder(copy / "text_encoder", "tiny", None, "stored"))

    with pytest.raises(ValueError, match=r"tokenizer .* is not the one the cascade was trained with"):
        Cascade.load(copy).sample([APPLE])


def test_other_weights_of_the_encoder_than_the_trained_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = next((copy / "text_encoder").glob("model*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    write_record(copy / "text_encoder", hash_folder(copy / "text_encoder", "tiny", None, "stored"))

    with pytest.raises(ValueError, match=r"encoder [0-9a-f]{12} is not the one the cascade was trained with"):
        Cascade.load(copy).sample([APPLE])
