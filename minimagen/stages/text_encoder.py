"""Stage text-encoder: fixes which encoder reads the captions, down to the hash of every file.

Writes the built-in encoder itself, or for a hub model and a local folder only what they are.
"""

import shutil
import time
from pathlib import Path

from minimagen.config import Params
from minimagen.files import write_json
from minimagen.sources.scene_drawing import read_sprite_names
from minimagen.sources.scene_grammar import grammar_corpus
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.text.locate import EncoderFiles, hash_folder, locate, refuse_revision, write_record
from minimagen.text.names import TINY
from minimagen.text.tiny import build_tiny

OUT = Path("data/text_encoder")
SPRITES = Path("data/assets/sprites.parquet")
WORDS = Path("data/assets/words.txt")


def run_text_encoder(params: Params, root: Path = Path()) -> None:
    """Writes ``data/text_encoder/``, a pure function of params.yaml, the committed assets and the hub's content.

    Raises:
        ConfigError: there is no such encoder, or the hub cannot be reached; nothing was written.
        BusyError: another process writes it.
    """
    with run_lock(stage_lock(root, "text_encoder")):
        _write(params, root)


def _write(params: Params, root: Path) -> None:
    started = time.monotonic()
    folder = root / OUT
    name, revision = params.text_encoder.name, params.text_encoder.revision
    if name == TINY:
        refuse_revision(name, revision)
        _make_empty(folder)
        files = _build(root, folder)
    else:
        files = locate(name, revision)
        _make_empty(folder)
    write_record(folder, files)
    write_json(root / "runs/text_encoder/timings.json", {"total_s": round(time.monotonic() - started, 3)})
    print(f"text-encoder: {files.name}, revision {files.revision}, {files.text_dim} values per token -> {folder}")


def _build(root: Path, folder: Path) -> EncoderFiles:
    """The corpus is every sprite's caption and the word list, whatever the data set uses: no snapshot changes it."""
    corpus = [*grammar_corpus(read_sprite_names(root / SPRITES)), *(root / WORDS).read_text().splitlines()]
    build_tiny(folder, corpus)
    return hash_folder(folder, TINY, None, "stored")


def _make_empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
