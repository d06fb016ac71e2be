"""What a hostile disk is tried on: a saved state, a shard and a file of embeddings, each in an old and a new version.

Each is written by the function that the stages use, and read by the one that finds damage. About 400 kB each, so that a
disk can be full at many places of it. Imports no pytest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minimagen.embeddings import EmbeddingShard, read_embeddings, write_embeddings
from minimagen.rows import Row
from minimagen.shards import ShardJob, find_report, write_shard
from minimagen.training.checkpoint import Beside, load_newest, save_state
from minimagen.training.loop import TrainState
from tests.training.small import CPU, small_config, small_state

NUM_BYTES = 400_000


@dataclass(frozen=True, slots=True)
class Artefact:
    """One kind of file or folder."""

    name: str
    write: Callable[[Path, int], None]
    """Writes version 1 or 2 below a folder."""
    version: Callable[[Path], int]
    """Returns the version that a reader finds whole there; raises if there is none."""


def _state(version: int) -> TrainState:
    side = 158  # weights, averages and two moments of side^2 numbers of 4 bytes
    network = nn.Linear(side, side, bias=False)
    state = small_state(small_config(), network)
    with torch.no_grad():
        network.weight.fill_(version)
    network.weight.grad = torch.zeros_like(network.weight)
    state.optimizer.step()
    state.step = version
    return state


def _write_state(folder: Path, version: int) -> None:
    save_state(folder / "states", _state(version), scaler=None, beside=Beside(), device=CPU)


def _state_version(folder: Path) -> int:
    resumed = load_newest(folder / "states", _state(0), scaler=None, device=CPU)
    assert resumed is not None
    return resumed.step


def _job(version: int) -> ShardJob:
    return ShardJob("folder", f"2026-{version:05d}", "{}")


def _write_shard(folder: Path, version: int) -> None:
    write_shard(folder, _job(version), [_row(number, version) for number in range(4)], [])


def _row(number: int, version: int) -> Row:
    content = np.random.default_rng([number, version]).bytes(NUM_BYTES // 4)
    return Row(
        key=f"folder:{number}",
        image_bytes=content,
        text=f"version {version}",
        text_raw=f"version {version}",
        captions=(f"version {version}",),
        width=8,
        height=8,
        orig_width=8,
        orig_height=8,
        format="png",
        sha256="00",
        phash=0,
        source="folder",
        source_url="",
        page_url="",
        license="CC0",
        adult=False,
        lang="en",
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        extra="{}",
    )


def _shard_version(folder: Path) -> int:
    return max(version for version in (1, 2) if find_report(folder, _job(version)) is not None)


def _write_embeddings(folder: Path, version: int) -> None:
    tokens = np.full((NUM_BYTES // 16, 8), version, np.float16)
    write_embeddings(folder / "one.safetensors", EmbeddingShard(tokens, np.array([0, len(tokens)]), {}))


def _embeddings_version(folder: Path) -> int:
    tokens = read_embeddings(folder / "one.safetensors").tokens
    (version,) = set(np.unique(tokens).tolist())
    return int(version)


STATE = Artefact("saved state", _write_state, _state_version)
SHARD = Artefact("shard", _write_shard, _shard_version)
EMBEDDINGS = Artefact("embeddings", _write_embeddings, _embeddings_version)
ARTEFACTS = (STATE, SHARD, EMBEDDINGS)


def temporaries(folder: Path) -> list[Path]:
    """Returns what a writer left beside its files."""
    return list(folder.rglob("*.tmp-*"))
