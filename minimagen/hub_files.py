"""Files of models on the Hugging Face hub: fetched once into its cache, then found there without a network.

Knows no kind of model: callers say which files they want.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from minimagen.config import ConfigError

_HUB_ERRORS = (OSError, HTTPError, EntryNotFoundError, RevisionResolutionError)


def fetch_snapshot(name: str, revision: str | None, patterns: Sequence[str], *, key: str, advice: str) -> Path:
    """Returns the hub's snapshot folder, whose name is the commit; a known commit in the cache needs no network.

    Args:
        revision: commit, tag or branch; None is the main branch.
        patterns: names of the files wanted, with wildcards; what the model lacks is left out.
        key: the parameter that names the model, for messages.
        advice: what else to do where the hub cannot be reached, for messages.

    Raises:
        ConfigError: the hub has no such model, or cannot be reached.
    """
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ConfigError(f"{key} {name!r}: no such folder, and not a hub name (owner/model)")
    try:
        if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
            try:
                return Path(
                    snapshot_download(name, revision=revision, allow_patterns=[*patterns], local_files_only=True)
                )
            except LocalEntryNotFoundError:
                pass  # Not cached, or only in part.
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*patterns]))
    except HFValidationError as error:
        raise ConfigError(f"{key} {name!r}: no such folder, and not a hub name: {error}") from error
    except _HUB_ERRORS as error:
        raise ConfigError(f"{key} {name} (revision {revision or 'main'}): {_problem(error)}. {advice}") from error


def matching_files(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Returns the names of a folder's files that match any pattern, sorted."""
    return sorted(path.name for pattern in patterns for path in folder.glob(pattern))


def _problem(error: Exception) -> str:
    cause = error.__cause__ or error if isinstance(error, LocalEntryNotFoundError) else error
    reason = f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
    variables = ", ".join(
        f"{key}={os.environ.get(key, '(unset)')}" for key in ("HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT")
    )
    if isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError):
        problem = "the hub has no such model or revision, or it is private"
    else:
        problem = "not in the cache, and the hub cannot be reached"
    return f"{problem} ({reason}; {variables})"
