import json
import shutil
from pathlib import Path

import pytest

from minimagen.config import ConfigError
from minimagen.text.locate import describe, hash_folder, locate, open_stage, read_record, write_record
from tests.text.builders import make_encoder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tmp_path: Path, built: Path) -> Path:
    return shutil.copytree(built, tmp_path / "encoder")


@pytest.mark.parametrize(
    ("name", "resolved", "text_dim"),
    [
        ("tiny", "tiny", 128),
        ("t5-base", "t5-base", 768),
        ("t5_small", "t5-small", 512),
        ("large", "t5-large", 1024),
        ("xxl1.1", "google/t5-v1_1-xxl", 4096),
    ],
)
def test_known_encoders_are_described_without_files(name: str, resolved: str, text_dim: int):
    description = describe(name)

    assert (description.name, description.text_dim) == (resolved, text_dim)


def test_a_folder_is_described_from_its_config(folder: Path):
    assert describe(str(folder)).text_dim == 128


def test_a_folder_is_located_with_the_hash_of_every_file_it_needs(folder: Path):
    (folder / "notes.txt").write_text("not part of the encoder")

    files = locate(str(folder), None)

    expected = {"config.json", "model.safetensors", "spiece.model", "tokenizer.json", "tokenizer_config.json"}
    assert (files.kind, files.revision, files.text_dim, set(files.sha256s)) == ("folder", None, 128, expected)


def test_a_folder_takes_no_revision(folder: Path):
    with pytest.raises(ConfigError, match=r"text_encoder\.revision 'main'.*not a hub model"):
        locate(str(folder), "main")


def test_an_unreachable_hub_is_one_error_that_names_model_environment_and_way_out():
    with pytest.raises(ConfigError) as caught:
        locate("t5_base", None)

    message = str(caught.value)
    assert "\n" not in message
    for part in ("t5-base", "HF_HOME=", "HF_HUB_OFFLINE=1", "text_encoder.name", "spiece.model", "tiny"):
        assert part in message


@pytest.mark.parametrize("name", ["/nowhere/t5", "./t5", "a/b/c", "t5 base", "-t5-"])
def test_what_is_neither_folder_nor_hub_name_is_refused_by_name(name: str):
    with pytest.raises(ConfigError, match=f"text_encoder.name '{name}': no such folder"):
        locate(name, None)


def test_another_architecture_is_refused(folder: Path):
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "d_model": 8}))

    with pytest.raises(ConfigError, match=r"config\.json: model_type is 'bert', expected 't5'"):
        locate(str(folder), None)


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        (("config.json",), r"config\.json: no such file"),
        (("model.safetensors",), "holds no weights"),
        (("spiece.model", "tokenizer.json"), r"neither spiece\.model nor tokenizer\.json"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(folder: Path, absent: tuple[str, ...], message: str):
    for name in absent:
        (folder / name).unlink()

    with pytest.raises(ConfigError, match=message):
        locate(str(folder), None)


def test_a_record_round_trips_and_holds_no_path_of_the_machine(folder: Path):
    files = hash_folder(folder, "tiny", None, "stored")

    write_record(folder, files)

    assert read_record(folder) == files
    assert str(folder) not in (folder / "encoder.json").read_text()


@pytest.mark.parametrize("file", ["model.safetensors", "spiece.model", "config.json"])
def test_a_stored_file_that_changed_is_found(folder: Path, file: str):
    content = bytearray((folder / file).read_bytes())
    content[-3] ^= 1
    (folder / file).write_bytes(content)

    with pytest.raises(ValueError, match=rf"{file}: sha256 .* recorded"):
        open_stage(folder)


def test_a_local_folder_that_changed_since_the_stage_is_found(tmp_path: Path, folder: Path):
    stage = tmp_path / "stage"
    write_record(stage, locate(str(folder), None))
    assert open_stage(stage).folder == folder

    (folder / "tokenizer.json").unlink()

    with pytest.raises(ValueError, match=r"tokenizer\.json: sha256 no such file"):
        open_stage(stage)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": 99}', '{"version": 1, "name": "x"}'])
def test_a_damaged_record_is_named(folder: Path, content: str):
    (folder / "encoder.json").write_text(content)

    with pytest.raises(ValueError, match=r"encoder\.json"):
        read_record(folder)


def test_a_stage_that_has_not_finished_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="stage text-encoder has not finished"):
        open_stage(tmp_path)


def test_the_tokenizer_hash_does_not_depend_on_the_weights(folder: Path):
    before = hash_folder(folder, "tiny", None, "stored")
    (folder / "model.safetensors").write_bytes(b"other weights")

    after = hash_folder(folder, "tiny", None, "stored")

    assert before.tokenizer_sha256 == after.tokenizer_sha256
    assert before.identity_sha256 != after.identity_sha256
