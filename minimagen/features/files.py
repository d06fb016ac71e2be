"""Where a pretrained feature network's files are: a hub model or a local folder, safetensors alone.

Knows which files make a network, not how one is run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimagen.config import ConfigError
from minimagen.files import canonical_json, sha256_bytes, sha256_file
from minimagen.hub_files import fetch_snapshot, matching_files

KEY = "evaluate.features"
CONFIG_FILE, PREPROCESSOR_FILE = "config.json", "preprocessor_config.json"
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
_ADVICE = f"Fetch it where there is a network and set {KEY} to that folder, or use the built-in one: {KEY}: null"


@dataclass(frozen=True, slots=True)
class FeatureFiles:
    """One feature network on the disk."""

    name: str
    """As in params.yaml, without the revision."""
    revision: str | None
    """Commit of a hub model; None for a folder."""
    folder: Path
    config: dict[str, Any]
    """Its config.json; empty where there is none."""
    sha256: str
    """One hash of every file that is used."""

    @property
    def kind(self) -> str | None:
        """Which architecture it is, in the words of its config.json."""
        return self.config.get("model_type") or self.config.get("architecture")


def locate_features(name: str) -> FeatureFiles:
    """Finds a network's files, fetching what the hub's cache lacks, and hashes them.

    Args:
        name: a folder, or a hub name with or without ``@revision`` (commit, tag or branch).

    Raises:
        ConfigError: nothing of that name, the hub cannot be reached, or there are no safetensors weights.
    """
    if Path(name).is_dir():
        return _read(Path(name), name, None)
    model, _, revision = name.partition("@")
    patterns = (CONFIG_FILE, PREPROCESSOR_FILE, *WEIGHTS, *TOKENIZER)
    folder = fetch_snapshot(model, revision or None, patterns, key=KEY, advice=_ADVICE)
    return _read(folder, model, folder.name)


def _read(folder: Path, name: str, revision: str | None) -> FeatureFiles:
    if not matching_files(folder, WEIGHTS):
        raise ConfigError(f"{KEY} {name}: {folder} holds no model.safetensors; other formats are not opened")
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    used = matching_files(folder, (CONFIG_FILE, PREPROCESSOR_FILE, *WEIGHTS, *TOKENIZER))
    sha256s = {file: sha256_file(folder / file) for file in used}
    return FeatureFiles(name, revision, folder, config, sha256_bytes(canonical_json(sha256s).encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a model's folder.

    Raises:
        ConfigError: it is missing or is not a table.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{KEY}: {path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{KEY}: {path}: not a table")
    return document
