"""The way to hub models, against a loopback hub, in processes of their own (the hub's address is read at import)."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulators.hub import running_hub
from tests.text.builders import CORPUS, make_encoder

LOCATE = """
import json, sys
from pathlib import Path
from minimagen.text.locate import describe, locate, write_record
files = locate(sys.argv[1], sys.argv[2] or None)
write_record(Path(sys.argv[3]), files)
print(json.dumps([files.name, files.revision, files.kind, sorted(files.sha256s)]))
"""
OPEN = """
import json, sys
from pathlib import Path
from minimagen.text.locate import open_stage
files = open_stage(Path(sys.argv[1]))
print(json.dumps([files.name, files.folder.name]))
"""
ENCODE = """
import sys
from pathlib import Path
from minimagen.text.t5 import TextEncoder
encoder = TextEncoder.from_stage(Path(sys.argv[1]), device="cpu")
print(len(encoder.encode(["a frog"], max_length=8, batch_tokens=16, precision="fp32")[0]))
"""
FILES = ["config.json", "model.safetensors", "spiece.model", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_encoder(tmp_path_factory.mktemp("tiny"))
    (folder / "encoder.json").unlink()
    (folder / "README.md").write_text("A model card.")
    (folder / "tf_model.h5").write_bytes(b"weights of another framework")
    return folder


def run(program: str, *arguments: object, home: Path, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=inherited | {"HF_HOME": str(home), "HF_ENDPOINT": url} | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def closed_url() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.long
def test_a_renamed_hub_model_is_fetched_once_and_loads_from_the_cache_without_the_hub(tmp_path: Path, model: Path):
    home, stage = tmp_path / "home", tmp_path / "stage"
    with running_hub() as hub:
        commit = hub.publish("google-t5/t5-base", model)
        hub.renamed["t5-base"] = "google-t5/t5-base"
        located = run(LOCATE, "t5_base", "", stage, home=home, url=hub.url)
        fetched = {request.rsplit("/", 1)[1] for request in hub.requests if request.startswith("GET /google-t5")}

    encoded = run(ENCODE, stage, home=home, url=closed_url())

    assert (located.returncode, json.loads(located.stdout)) == (0, ["t5-base", commit, "hub", FILES]), located.stderr
    assert fetched == set(FILES)
    assert [path.name for path in stage.iterdir()] == ["encoder.json"]
    assert (encoded.returncode, encoded.stdout) == (0, "3\n"), encoded.stderr


def test_a_branch_becomes_its_commit_and_another_machine_gets_the_same_files(tmp_path: Path, model: Path):
    stage = tmp_path / "stage"
    newer = make_encoder(tmp_path / "newer", [*CORPUS, "walrus"])
    with running_hub() as hub:
        commit = hub.publish("acme/t5", model, branch="v1")
        hub.publish("acme/t5", newer)
        located = run(LOCATE, "acme/t5", "v1", stage, home=tmp_path / "here", url=hub.url)
        hub.publish("acme/t5", newer, branch="v1")
        opened = run(OPEN, stage, home=tmp_path / "there", url=hub.url)

    assert json.loads(located.stdout)[1] == commit, located.stderr
    assert (opened.returncode, json.loads(opened.stdout)) == (0, ["acme/t5", commit]), opened.stderr


def test_a_model_without_safetensors_is_fetched_with_its_torch_archive(tmp_path: Path, model: Path):
    old = tmp_path / "old"
    old.mkdir()
    for name in ("config.json", "spiece.model"):
        (old / name).write_bytes((model / name).read_bytes())
    (old / "pytorch_model.bin").write_bytes(b"not opened by this test")
    with running_hub() as hub:
        hub.publish("acme/t5", old)
        located = run(LOCATE, "acme/t5", "", tmp_path / "stage", home=tmp_path / "home", url=hub.url)

    expected = ["config.json", "pytorch_model.bin", "spiece.model"]
    assert (located.returncode, json.loads(located.stdout)[3]) == (0, expected), located.stderr


def test_a_cached_file_that_changed_is_named(tmp_path: Path, model: Path):
    home, stage = tmp_path / "home", tmp_path / "stage"
    with running_hub() as hub:
        hub.publish("acme/t5", model)
        run(LOCATE, "acme/t5", "", stage, home=home, url=hub.url)
    (weights,) = home.rglob("snapshots/*/model.safetensors")
    weights.resolve().write_bytes(b"other weights")

    opened = run(OPEN, stage, home=home, url=closed_url())

    assert opened.returncode == 1
    assert "model.safetensors: sha256" in opened.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("acme/nothing", "", "the hub has no such model or revision"),
        ("acme/t5", "v9", "the hub has no such model or revision"),
        ("acme/bert", "", "model_type is 'bert', expected 't5'"),
    ],
)
def test_what_the_hub_does_not_have_is_one_clear_line(
    tmp_path: Path, model: Path, name: str, revision: str, message: str
):
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert"}')
    with running_hub() as hub:
        hub.publish("acme/t5", model)
        hub.publish("acme/bert", bert)
        located = run(LOCATE, name, revision, tmp_path / "stage", home=tmp_path / "home", url=hub.url)

    assert located.returncode == 1
    assert message in located.stderr.splitlines()[-1]
    assert not (tmp_path / "stage").exists()


def test_a_hub_that_does_not_answer_is_one_clear_line(tmp_path: Path):
    located = run(LOCATE, "t5-base", "", tmp_path / "stage", home=tmp_path / "home", url=closed_url())

    last = located.stderr.splitlines()[-1]
    assert located.returncode == 1
    assert last.startswith(
        "minimagen.config.section.ConfigError: text_encoder.name t5-base (revision main): not in the cache"
    )
    assert f"HF_HOME={tmp_path / 'home'}" in last
