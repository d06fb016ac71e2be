"""Real inputs of the text tests: a tiny encoder of few words, and curated shards that hold only captions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from minimagen.manifest import Manifest, write_manifest
from minimagen.rows import CURATED_SCHEMA
from minimagen.shards import ShardFile, write_table
from minimagen.text.locate import hash_folder, write_record
from minimagen.text.tiny import build_tiny

CORPUS = (
    "a large red apple in the top left on a blue background",
    "a banana to the left of a frog on a pink background",
    "small jeans at the bottom on an orange background",
)


def make_encoder(folder: Path, corpus: Sequence[str] = CORPUS) -> Path:
    """Writes a tiny encoder as stage text-encoder does."""
    build_tiny(folder, corpus)
    write_record(folder, hash_folder(folder, "tiny", None, "stored"))
    return folder


def make_curated(folder: Path, captions: Mapping[str, Sequence[str]], *, cleaner_version: str = "1") -> Path:
    """Writes a curated folder of one source; ``captions`` has the texts of each shard."""
    shards = []
    for name, texts in captions.items():
        rows = [{"key": f"scenes:{name}-{index}", "text": text, "captions": [text]} for index, text in enumerate(texts)]
        written = write_table(
            folder / "scenes" / "shards" / f"{name}.parquet", pa.Table.from_pylist(rows, CURATED_SCHEMA)
        )
        shards.append(ShardFile(f"scenes/{written.file}", written.rows, written.bytes, written.sha256))
    write_manifest(folder, Manifest("curated", {}, {}, {"scenes": "CC0-1.0"}, cleaner_version, tuple(shards)))
    return folder
