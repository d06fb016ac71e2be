"""Where an encoder's files are, by name: hub models, local folders, and folders written by stage text-encoder.

Every file is named with its SHA-256, and what was recorded is verified before it is used. Knows which files make a T5
encoder, not how one is run. Nothing here touches the network at import, or where the files are already on the disk.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from minimagen.config import ConfigError
from minimagen.errors import UserError, not_finished
from minimagen.files import canonical_json, read_json, sha256_bytes, sha256_file, write_json
from minimagen.hub_files import fetch_snapshot, matching_files
from minimagen.text.names import ALIASES, HUB_TEXT_DIMS, TINY, TINY_TEXT_DIM

RECORD_FILE = "encoder.json"
RECORD_VERSION = 1

_TOKENIZER_PATTERNS = ("spiece.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_SAFETENSORS_PATTERNS = ("model*.safetensors", "model.safetensors.index.json")
_TORCH_PATTERNS = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_ADVICE = (
    "Fetch it where there is a network and set text_encoder.name to that folder (config.json, model.safetensors, "
    "spiece.model), or use the built-in encoder: text_encoder.name: tiny"
)


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """One encoder on the disk."""

    name: str
    """As in params.yaml, aliases resolved."""
    revision: str | None
    """Commit of a hub model; None for tiny and for a local folder."""
    kind: Literal["stored", "hub", "folder"]
    """Whether the files stand beside the record, in the hub's cache, or in the user's folder."""
    text_dim: int
    """Width of a token vector."""
    sha256s: dict[str, str]
    """SHA-256 of each file that is used, by file name."""
    folder: Path
    """Where the files are on this machine; not part of the record."""

    @property
    def identity_sha256(self) -> str:
        """One hash of all that the encoder's output depends on."""
        return sha256_bytes(canonical_json(self.sha256s).encode())

    @property
    def tokenizer_sha256(self) -> str:
        """One hash of the tokenizer's files."""
        tokenizer = {name: self.sha256s[name] for name in _TOKENIZER_PATTERNS if name in self.sha256s}
        return sha256_bytes(canonical_json(tokenizer).encode())


@dataclass(frozen=True, slots=True)
class EncoderDescription:
    """What can be known of an encoder without its weights."""

    name: str
    text_dim: int


def describe(name: str, revision: str | None = None) -> EncoderDescription:
    """Returns name and token width of an encoder; of an unknown hub model only config.json is fetched.

    Raises:
        ConfigError: there is no such encoder, or it is not a T5.
    """
    resolved = ALIASES.get(name, name)
    if resolved == TINY:
        return EncoderDescription(TINY, TINY_TEXT_DIM)
    if resolved in HUB_TEXT_DIMS:
        return EncoderDescription(resolved, HUB_TEXT_DIMS[resolved])
    folder = Path(resolved) if Path(resolved).is_dir() else _fetch(resolved, revision, ("config.json",))
    return EncoderDescription(resolved, _read_text_dim(folder))


def locate(name: str, revision: str | None) -> EncoderFiles:
    """Finds the files of a hub model (fetching what the cache lacks) or of a local folder, and hashes them.

    Args:
        name: a hub name, an alias of the original MinImagen, or a folder; ``tiny`` is built by its stage instead.
        revision: commit, tag or branch of a hub model; None is its main branch.

    Raises:
        ConfigError: nothing of that name, the hub cannot be reached, files are missing, or it is not a T5.
    """
    resolved = ALIASES.get(name, name)
    if resolved not in HUB_TEXT_DIMS and Path(resolved).is_dir():
        refuse_revision(resolved, revision)
        return hash_folder(Path(resolved), resolved, None, "folder")
    folder = _fetch(resolved, revision, ("config.json", *_TOKENIZER_PATTERNS, *_SAFETENSORS_PATTERNS))
    if not matching_files(folder, _SAFETENSORS_PATTERNS):
        folder = _fetch(resolved, folder.name, ("config.json", *_TOKENIZER_PATTERNS, *_TORCH_PATTERNS))
    return hash_folder(folder, resolved, folder.name, "hub")


def hash_folder(
    folder: Path, name: str, revision: str | None, kind: Literal["stored", "hub", "folder"]
) -> EncoderFiles:
    """Hashes the files of a folder that make the encoder.

    Raises:
        ConfigError: the folder holds no T5, no tokenizer or no weights.
    """
    text_dim = _read_text_dim(folder)
    tokenizer = matching_files(folder, _TOKENIZER_PATTERNS)
    if not {"spiece.model", "tokenizer.json"} & set(tokenizer):
        raise ConfigError(f"text_encoder.name {name}: {folder} holds neither spiece.model nor tokenizer.json")
    weights = matching_files(folder, _SAFETENSORS_PATTERNS) or matching_files(folder, _TORCH_PATTERNS)
    if not weights:
        raise ConfigError(f"text_encoder.name {name}: {folder} holds no weights (model.safetensors)")
    sha256s = {file: sha256_file(folder / file) for file in ("config.json", *tokenizer, *weights)}
    return EncoderFiles(name, revision, kind, text_dim, sha256s, folder)


def write_record(stage_folder: Path, files: EncoderFiles) -> None:
    """Writes encoder.json, the last file of stage text-encoder; it names no path of this machine's cache."""
    record = {key: value for key, value in asdict(files).items() if key != "folder"}
    write_json(stage_folder / RECORD_FILE, {"version": RECORD_VERSION} | record)


def read_record(stage_folder: Path) -> EncoderFiles:
    """Reads encoder.json without touching the encoder's files; ``folder`` is the stage's own.

    Raises:
        ValueError: it is missing (the stage has not finished), damaged, or of another version.
    """
    path = stage_folder / RECORD_FILE
    try:
        record = read_json(path)
        version = record.pop("version")
        if version != RECORD_VERSION:
            raise UserError(f"{path}: format version {version}, expected {RECORD_VERSION}")
        return EncoderFiles(**record, folder=stage_folder)
    except FileNotFoundError as error:
        raise not_finished(path, "stage text-encoder") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not an encoder record: {error!r}") from error


def open_stage(stage_folder: Path) -> EncoderFiles:
    """Finds the files that stage text-encoder recorded, in the hub's cache first, and verifies every hash.

    Raises:
        ValueError: a file is missing or differs from what was recorded; the message names it.
    """
    record = read_record(stage_folder)
    folder = stage_folder
    if record.kind == "folder":
        folder = Path(record.name)
    elif record.kind == "hub":
        folder = _fetch(record.name, record.revision, tuple(record.sha256s))
    for file, expected in record.sha256s.items():
        path = folder / file
        found = sha256_file(path) if path.is_file() else "no such file"
        if found != expected:
            raise UserError(f"{path}: sha256 {found}, but {stage_folder / RECORD_FILE} recorded {expected}")
    return EncoderFiles(record.name, record.revision, record.kind, record.text_dim, record.sha256s, folder)


def refuse_revision(name: str, revision: str | None) -> None:
    """Makes sure that only hub models are given a revision.

    Raises:
        ConfigError: ``revision`` is not None.
    """
    if revision is not None:
        raise ConfigError(f"text_encoder.revision {revision!r}: {name} is not a hub model, set it to null")


def _fetch(name: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    return fetch_snapshot(name, revision, patterns, key="text_encoder.name", advice=_ADVICE)


def _read_text_dim(folder: Path) -> int:
    path = folder / "config.json"
    try:
        config = read_json(path)
        if config["model_type"] != "t5":
            raise ConfigError(f"text_encoder: {path}: model_type is {config['model_type']!r}, expected 't5'")
        if type(config["d_model"]) is not int:
            raise TypeError(f"d_model is {config['d_model']!r}")
        return config["d_model"]
    except FileNotFoundError as error:
        raise ConfigError(f"text_encoder: {path}: no such file: not a folder of a T5 encoder") from error
    except (KeyError, TypeError) as error:
        raise ConfigError(f"text_encoder: {path}: not a model's config.json: {error!r}") from error
