"""Files made to harm are refused in a line by whoever reads them, and nothing in them is run."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from minimagen.config import load_params
from minimagen.dvc_record import read_outs
from minimagen.embeddings import read_embedding_manifest, read_embeddings
from minimagen.errors import UserError
from minimagen.journal import read_journal
from minimagen.manifest import read_manifest
from minimagen.pipeline import Cascade
from minimagen.saved_model import RECORD_FILE, WEIGHTS_FILE
from minimagen.sealed import MANIFEST, write_sealed
from minimagen.shards import read_table
from minimagen.text.locate import hash_folder, write_record
from minimagen.text.t5 import TextEncoder
from minimagen.tracking.registered_files import verified_files
from minimagen.training.checkpoint import load_newest, save_state
from tests.hostile_bytes import pickles, tensor_files
from tests.hostile_texts import json_texts, yaml_texts
from tests.small_cascade import write_small_cascade
from tests.sources.audited import recorded_events
from tests.torture import TORTURE
from tests.training.small import CPU, small_config, small_state

FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
    "webbrowser.open",
)
CANARY = "canary-of-the-hostile-files"
WITHIN_S = 20.0
"""Longest time for one file, on a busy machine."""
STRIDE = 1 if TORTURE else 4
Reader = Callable[[bytes], object]


class Victims:
    """Everything that reads files, each with one file replaced by what it is given and sealed anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cascade = write_small_cascade(root / "cascade")
        self.encoder = Path(shutil.copytree(self.cascade / "text_encoder", root / "encoder"))
        self.state = small_state(small_config())
        self.saved = save_state(root / "states", self.state, scaler=None, unreported_losses=[], device=CPU)
        self.untouched = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    def heal(self) -> None:
        """Puts back what the last file has replaced."""
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and path not in self.untouched:
                path.unlink()
        for path, content in self.untouched.items():
            if not path.exists() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def reseal(self, folder: Path, name: str, content: bytes) -> None:
        """Replaces a file of a sealed folder as one does who can compute a hash."""
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST} | {name: content}
        facts = {key: value for key, value in manifest.items() if key not in ("files", "manifest_sha256")}
        write_sealed(folder, files.items(), facts)

    def model(self, content: bytes) -> None:
        self.reseal(self.cascade / "models/base", WEIGHTS_FILE, content)
        Cascade.load(self.cascade)

    def registered(self, content: bytes) -> None:
        self.reseal(self.cascade / "models/super", WEIGHTS_FILE, content)
        verified_files(self.cascade)

    def model_record(self, content: bytes) -> None:
        self.reseal(self.cascade / "models/base", RECORD_FILE, content)
        Cascade.load(self.cascade)

    def model_manifest(self, content: bytes) -> None:
        (self.cascade / "models/base" / MANIFEST).write_bytes(content)
        Cascade.load(self.cascade)

    def cascade_file(self, content: bytes) -> None:
        (self.cascade / "cascade.json").write_bytes(content)
        Cascade.load(self.cascade)

    def weights(self, content: bytes) -> None:
        self.resume("weights.safetensors", content)

    def moments(self, content: bytes) -> None:
        self.resume("moments1.safetensors", content)

    def state_record(self, content: bytes) -> None:
        self.resume("state.json", content)

    def resume(self, name: str, content: bytes) -> None:
        """Goes on from a state; a refusal has to leave the training as it was."""
        self.reseal(self.saved, name, content)
        before = [parameter.detach().clone() for parameter in self.state.network.parameters()]
        try:
            load_newest(self.saved.parent, self.state, scaler=None, device=CPU)
        finally:
            after = self.state.network.parameters()
            assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True)), name

    def stored_encoder(self, content: bytes) -> None:
        (self.encoder / "model.safetensors").write_bytes(content)
        self.open_encoder()

    def torch_encoder(self, content: bytes) -> None:
        (self.encoder / "model.safetensors").unlink()
        (self.encoder / "pytorch_model.bin").write_bytes(content)
        self.open_encoder()

    def open_encoder(self) -> None:
        write_record(self.encoder, hash_folder(self.encoder, "tiny", None, "stored"))
        TextEncoder.from_stage(self.encoder, device="cpu")

    def encoder_config(self, content: bytes) -> None:
        (self.encoder / "config.json").write_bytes(content)
        self.open_encoder()

    def encoder_record(self, content: bytes) -> None:
        (self.encoder / "encoder.json").write_bytes(content)
        TextEncoder.from_stage(self.encoder, device="cpu")

    def embeddings(self, content: bytes) -> None:
        read_embeddings(self.written("shard.safetensors", content))

    def embedding_manifest(self, content: bytes) -> None:
        read_embedding_manifest(self.written("manifest.json", content).parent)

    def shard(self, content: bytes) -> None:
        read_table(self.written("shard.parquet", content))

    def shard_manifest(self, content: bytes) -> None:
        read_manifest(self.written("manifest.json", content).parent)

    def journal(self, content: bytes) -> None:
        list(read_journal(self.written("journal.jsonl", content + b"\n" + content + b"\n{}\n")))
        raise UserError("every line of it was torn: nothing was read")

    def params(self, content: bytes) -> None:
        load_params(self.written("params.yaml", content))

    def lock(self, content: bytes) -> None:
        read_outs(self.written("dvc.lock", content).parent)

    def written(self, name: str, content: bytes) -> Path:
        path = self.root / "loose" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    """All readers, of files that they have read once: what libraries import at first is imported."""
    found = Victims(tmp_path_factory.mktemp("victims"))
    Cascade.load(found.cascade).encode(["a frog"])
    load_newest(found.saved.parent, found.state, scaler=None, device=CPU)
    yield found


def not_refused(victims: Victims, reader: Reader, files: Sequence[tuple[str, bytes]]) -> list[str]:
    """Returns a line for each file that was not refused, or that did something."""
    complaints: list[str] = []
    for name, content in files:
        started, outcome = time.monotonic(), "read"
        with recorded_events(FORBIDDEN) as events:
            try:
                reader(content)
            except UserError:
                outcome = "refused"
            except Exception as error:  # noqa: BLE001  # any other is what is looked for
                outcome = f"{type(error).__name__}: {error!s:.200}"
        took_s = time.monotonic() - started
        if outcome != "refused" or events or took_s > WITHIN_S or list(Path().glob(f"*{CANARY}*")):
            complaints.append(f"{name}: {outcome} after {took_s:.1f} s {events}")
        victims.heal()
    return complaints


def slice_of(files: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return list(files)[::STRIDE]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pickle would write it would write here; the program that it would run writes the canary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(f"open({CANARY!r}, 'w')\n")


def test_what_is_whole_is_read_without_pickle_program_or_connection(victims: Victims, checkout: Path) -> None:
    with recorded_events(FORBIDDEN) as events:
        Cascade.load(victims.cascade).encode(["a frog"])
        verified_files(victims.cascade)
        load_newest(victims.saved.parent, victims.state, scaler=None, device=CPU)
        victims.open_encoder()
        load_params(checkout / "params.yaml")
    assert events == []


def test_there_are_a_hundred_and_more() -> None:
    whole = (pickles(CANARY), tensor_files(), yaml_texts(CANARY), json_texts())
    counts = [len(list(files)) for files in whole]
    assert counts[0] == 48 and sum(counts) > 120


PICKLE_READERS = ("model", "weights", "embeddings", "stored_encoder", "torch_encoder", "shard", "registered")


@pytest.mark.parametrize("reader", PICKLE_READERS)
def test_a_pickle_is_read_by_nobody(victims: Victims, reader: str) -> None:
    assert not_refused(victims, getattr(victims, reader), slice_of(pickles(CANARY))) == []


@pytest.mark.parametrize("reader", ["model", "weights", "moments", "embeddings", "stored_encoder"])
def test_a_header_that_lies_is_refused(victims: Victims, reader: str) -> None:
    assert not_refused(victims, getattr(victims, reader), list(tensor_files())) == []


@pytest.mark.parametrize("reader", ["params", "lock"])
def test_yaml_that_calls_grows_or_never_ends_is_refused(victims: Victims, reader: str) -> None:
    assert not_refused(victims, getattr(victims, reader), list(yaml_texts(CANARY))) == []


JSON_READERS = (
    "model_record",
    "model_manifest",
    "cascade_file",
    "state_record",
    "encoder_config",
    "encoder_record",
    "embedding_manifest",
    "shard_manifest",
    "journal",
)


@pytest.mark.parametrize("reader", JSON_READERS)
def test_json_that_is_no_record_is_refused(victims: Victims, reader: str) -> None:
    assert not_refused(victims, getattr(victims, reader), list(json_texts())) == []


def test_code_that_comes_with_an_encoder_is_not_run(victims: Victims) -> None:
    """A hub model may name classes of its own, in files beside it; `trust_remote_code` would import them."""
    own = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}
    for name in ("config.json", "tokenizer_config.json"):
        path = victims.encoder / name
        document = json.loads(path.read_bytes()) if path.exists() else {}
        path.write_text(json.dumps(document | {"auto_map": own, "tokenizer_class": "Own"}))
    (victims.encoder / "own.py").write_text(f"open({CANARY!r}, 'w')\n")
    with recorded_events(FORBIDDEN) as events, contextlib.suppress(UserError):
        victims.open_encoder()
    victims.heal()
    assert events == []
    assert not Path(CANARY).exists()


def test_the_watch_sees_what_it_looks_for(tmp_path: Path) -> None:
    harmless = tmp_path / "harmless.pt"
    torch.save({"a": torch.zeros(1)}, harmless)
    with recorded_events(FORBIDDEN) as events:
        torch.load(harmless, weights_only=True)
    assert events == []
    with recorded_events(FORBIDDEN) as events:
        subprocess.run(["true"], check=True)
        with socket.socket() as stream, contextlib.suppress(OSError):
            stream.connect(("127.0.0.1", 9))
    assert [event.partition(" ")[0] for event in events] == ["subprocess.Popen", "socket.connect"]
