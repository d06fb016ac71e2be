"""Files made to harm are refused in a line by whoever reads them, and nothing in them is run."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from minimagen.config import load_params
from minimagen.errors import UserError
from minimagen.pipeline import Cascade
from minimagen.tracking.registered_files import verified_files
from minimagen.training.checkpoint import load_newest
from tests.hostile_bytes import pickles, tensor_files
from tests.hostile_texts import json_texts, yaml_texts
from tests.sources.audited import recorded_events
from tests.torture import TORTURE
from tests.training.small import CPU
from tests.victims import Victims

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
