"""Feature networks from folders: the vectors are those of the network itself, and what is no network is refused."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from minimagen.config import ConfigError
from minimagen.features.load import load_features
from minimagen.seeding import generator
from tests.features.small_networks import SIZE_PX, write_clip, write_dinov2, write_inception

CPU = torch.device("cpu")
MEAN, STD = (torch.tensor(values)[:, None, None] for values in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))


def _pictures(num: int, size: int) -> torch.Tensor:
    return torch.rand(num, 3, size, size, generator=generator("pictures", size)) * 2 - 1


def test_dinov2_is_its_class_token_of_the_prepared_picture(tmp_path: Path):
    model, pictures = write_dinov2(tmp_path), _pictures(3, 16)

    found = load_features(str(tmp_path), CPU)

    resized = functional.interpolate(pictures, (32, 32), mode="bicubic", antialias=True).clamp(-1, 1)
    prepared = ((resized[:, :, 2:30, 2:30] + 1) / 2 - MEAN) / STD
    with torch.no_grad():
        expected = model(pixel_values=prepared).last_hidden_state[:, 0]
    torch.testing.assert_close(found.of_pictures(pictures), expected, atol=1e-5, rtol=1e-4)
    assert found.identity.is_comparable and not found.has_captions


def test_clip_vectors_give_the_logits_of_the_model(tmp_path: Path):
    model, pictures, captions = write_clip(tmp_path), _pictures(2, SIZE_PX), ["a b", "c d e f"]

    found = load_features(str(tmp_path), CPU)

    text, image = found.of_captions(captions), found.of_pictures(pictures)
    tokens = found._tokenizer(captions, padding=True, return_tensors="pt")  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        logits = model(**tokens, pixel_values=((pictures + 1) / 2 - MEAN) / STD).logits_per_image
    cosines = functional.normalize(image, dim=1) @ functional.normalize(text, dim=1).T
    torch.testing.assert_close(cosines * model.logit_scale.exp(), logits, atol=1e-4, rtol=1e-4)


def test_a_caption_keeps_its_vector_among_longer_ones(tmp_path: Path):
    write_clip(tmp_path)
    found = load_features(str(tmp_path), CPU)

    alone, among = found.of_captions(["a b"]), found.of_captions(["a b", "c d e f g h i j k l m a b c d e"])

    torch.testing.assert_close(alone[0], among[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("num_classes", "is_fid"), [(1000, False), (1008, True)])
def test_inception_is_recognised_by_its_names_and_pools_as_its_weights_want(
    tmp_path: Path, num_classes: int, is_fid: bool
):
    network, pictures = write_inception(tmp_path, num_classes=num_classes), _pictures(1, 299)

    found = load_features(str(tmp_path), CPU)

    mean, std = (torch.tensor(of)[:, None, None] for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        prepared = pictures if is_fid else ((pictures + 1) / 2 - mean) / std
        expected = network(prepared).mean(dim=(2, 3))
    torch.testing.assert_close(found.of_pictures(pictures), expected)
    assert expected.shape == (1, 2048)


def test_identity_follows_every_file(tmp_path: Path):
    write_dinov2(tmp_path)
    before = load_features(str(tmp_path), CPU).identity

    path = tmp_path / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.4", "0.45"))

    after = load_features(str(tmp_path), CPU).identity
    assert before.sha256 != after.sha256 and before.name == after.name


def test_other_architectures_and_other_formats_are_refused_by_name(tmp_path: Path):
    write_dinov2(tmp_path / "model")
    config = tmp_path / "model/config.json"
    config.write_text(config.read_text().replace('"dinov2"', '"resnet"'))
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled/pytorch_model.bin").write_bytes(b"code")

    with pytest.raises(ConfigError, match=r"evaluate\.features .*'resnet', expected clip, dinov2 or inception_v3"):
        load_features(str(tmp_path / "model"), CPU)
    with pytest.raises(ConfigError, match=r"holds no model\.safetensors"):
        load_features(str(tmp_path / "pickled"), CPU)


def test_what_lacks_a_weight_or_a_preparation_is_refused(tmp_path: Path):
    write_dinov2(tmp_path / "bare")
    (tmp_path / "bare/preprocessor_config.json").unlink()
    write_inception(tmp_path / "renamed", num_classes=1000)
    (tmp_path / "renamed/config.json").write_text(json.dumps({"architecture": "inception_v3"}))
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "renamed/model.safetensors")
    del tensors["Mixed_7c.branch1x1.conv.weight"]
    save_file(tensors, tmp_path / "renamed/model.safetensors")

    with pytest.raises(ConfigError, match=r"preprocessor_config\.json"):
        load_features(str(tmp_path / "bare"), CPU)
    with pytest.raises(ConfigError, match=r"no Mixed_7c\.branch1x1\.conv\.weight"):
        load_features(str(tmp_path / "renamed"), CPU)


@pytest.mark.parametrize("name", ["./nowhere", "two words"])
def test_what_is_neither_folder_nor_hub_name_is_refused(name: str):
    with pytest.raises(ConfigError, match=f"evaluate.features '{name}': no such folder"):
        load_features(name, CPU)
