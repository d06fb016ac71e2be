"""Reads the cases of the corpora as the sources do. Makes none, so that what reading costs can be measured."""

from pathlib import Path

from minimagen.config import ConfigError
from minimagen.sources.address_lists import AddressList, ListFile
from minimagen.sources.captions import accept_caption
from minimagen.sources.url_tables import UrlRow, UrlTable, read_url_table
from tests.sources.caption_corpus import RULES


def read(path: Path) -> list[UrlRow]:
    """Returns every row of a table, or of a list without a head (".list")."""
    if path.suffix == ".list":
        with AddressList(ListFile(path, "tsv")) as rows:
            return [rows.row(number) for number in range(len(rows))]
    return list(read_url_table(UrlTable(path, "url", "caption", None)))


def outcome_of(row: UrlRow) -> str:
    """Returns "ok", or the reason why a row is rejected at the latest when its caption is cleaned."""
    if row.rejection is not None:
        return row.rejection.reason
    accepted = [accept_caption(caption, RULES) for caption in row.captions]
    return next(("ok" if isinstance(one, str) else one.reason for one in accepted), "no_caption")


def num_outcomes(folder: Path) -> int:
    """Reads every file of a folder and returns how many rows had an outcome; a file that is refused has one."""
    total = 0
    for path in sorted(folder.iterdir()):
        try:
            total += len([outcome_of(row) for row in read(path)])
        except ConfigError:
            total += 1
    return total
