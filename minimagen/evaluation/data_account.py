"""What became of every row that a data stage was asked for, read from what the stage left behind.

Knows manifests and failure files; does not know which stages there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minimagen.errors import UserError
from minimagen.manifest import read_manifest
from minimagen.rows import Failure
from minimagen.shards import count_rows, read_table

REJECTED = "rejected/"
MAX_SHOWN = 200
"""Rejected rows that an account holds one by one; a list from the web may have a million."""


@dataclass(frozen=True, slots=True)
class DataAccount:
    """The outcomes of one stage of the data: asked for = stored + rejected + pending."""

    name: str
    num_stored: int
    num_pending: int
    rejected: Mapping[str, int]
    """Reason -> rows."""
    failures: Sequence[Failure]
    """The first rejected rows."""
    licenses: Mapping[str, str]
    """Source -> its licence, with the notice that its terms may ask for."""

    @property
    def num_rejected(self) -> int:
        """Rows rejected, for whatever reason."""
        return sum(self.rejected.values())


def read_account(name: str, folder: Path) -> DataAccount:
    """Reads the outcomes of a folder of shards: counts from its manifest, rejected rows from every failure file.

    A stage that leaves nothing pending need not count it.

    Raises:
        ValueError: the manifest is missing or damaged, or counts other rejections than the failure files hold.
    """
    manifest = read_manifest(folder)
    failures: list[Failure] = []
    num_failures = 0
    for path in sorted(folder.rglob("failures/*.parquet")):
        num_failures += count_rows(path)
        if len(failures) < MAX_SHOWN:
            records = read_table(path).slice(0, MAX_SHOWN - len(failures)).to_pylist()
            failures += [Failure(**record) for record in records]
    rejected = {key.removeprefix(REJECTED): count for key, count in manifest.counts.items() if key.startswith(REJECTED)}
    if sum(rejected.values()) != num_failures:
        raise UserError(
            f"{folder}: manifest.json counts {sum(rejected.values())} rejected rows, failures/ {num_failures}"
        )
    num_stored, num_pending = sum(shard.rows for shard in manifest.shards), manifest.counts.get("pending", 0)
    return DataAccount(name, num_stored, num_pending, rejected, failures, manifest.licenses)
