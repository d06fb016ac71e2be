"""Whether curated data are the same pictures with the same captions, whenever and in which shards they were fetched.

A new snapshot writes new shards with another instant in them; training on the same rows again would be for nothing.
"""

from pathlib import Path

from minimagen.files import canonical_json, sha256_bytes
from minimagen.manifest import read_manifest
from minimagen.shards import read_table

COLUMNS = ("key", "sha256", "text", "captions", "split")


def rows_sha256(curated: Path) -> str:
    """Returns one hash of all rows of a curated folder, whatever their order.

    Raises:
        UserError: stage curate has not finished.
    """
    rows: list[str] = []
    for shard in read_manifest(curated).shards:
        columns = read_table(curated / shard.file, list(COLUMNS)).to_pydict()
        rows += [canonical_json(row) for row in zip(*(columns[name] for name in COLUMNS), strict=True)]
    return sha256_bytes("\n".join(sorted(rows)).encode())
