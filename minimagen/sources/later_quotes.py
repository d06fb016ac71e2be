"""Titles that earlier snapshots listed: quotes that became known since make another row of the same poster.

A plan stays as it is once it is written, and quotes come at a few an hour, so most are known after their title was
listed. The further row has the quotes that no earlier one has; curation puts both into one group. Knows no service.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from minimagen.errors import UserError
from minimagen.files import canonical_json
from minimagen.sources.candidates import Candidate, Plan, candidates_path, chain_of, iter_candidates
from minimagen.sources.titles import normalise_title

_NAMED_BY = ("names", "english")


@dataclass(frozen=True, slots=True)
class ListedTitle:
    """A title whose poster may be stored."""

    first: Candidate
    """Its oldest row."""
    captions: set[str] = field(default_factory=set)
    """Of all its rows."""

    @property
    def key(self) -> str:
        """The title's own, whichever of its rows is the oldest."""
        return self.first.key.partition("#")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called."""
        return tuple(json.loads(self.first.extra)["names"])

    @property
    def names_to_ask_for(self) -> list[str]:
        """The canonical name and the English one; an empty one is none."""
        return [*self.names[:1], json.loads(self.first.extra)["english"]]


def listed_titles(folder: Path, after: Plan | None) -> list[ListedTitle]:
    """Returns the titles that a plan and its parents list and that quotes are wanted for, oldest first.

    Raises:
        UserError: a plan is of an older version, which did not list what a title is called.
    """
    found: dict[str, ListedTitle] = {}
    for plan in [] if after is None else chain_of(folder, after):
        for file in plan.files:
            path = candidates_path(folder, file.name)
            for candidate in iter_candidates(path):
                if candidate.reason in ("", "no_caption"):
                    _require_names(candidate, path, folder)
                    title = ListedTitle(candidate)
                    found.setdefault(title.key, title).captions.update(candidate.captions)
    return list(found.values())


def later_rows(
    titles: Iterable[ListedTitle], quotes: Mapping[str, tuple[str, ...]], snapshot: str
) -> Iterator[Candidate]:
    """Yields a row for each title that has quotes which none of its rows has.

    Args:
        quotes: by normalised title.
    """
    for title in titles:
        own = dict.fromkeys(quote for name in title.names for quote in quotes.get(normalise_title(name), ()))
        new = tuple(quote for quote in own if quote not in title.captions)
        if new:
            extra = canonical_json(json.loads(title.first.extra) | {"num_quotes": len(new)})
            key = f"{title.key}#{snapshot}"
            yield replace(title.first, key=key, captions=new, extra=extra, reason="", detail="")


def _require_names(candidate: Candidate, path: Path, folder: Path) -> None:
    missing = [key for key in _NAMED_BY if key not in json.loads(candidate.extra)]
    if missing:
        raise UserError(
            f"{path}: {candidate.key}: the column extra lacks the key {missing[0]!r}: an older version made this plan. "
            f"Delete {folder}, and the next ingest lists all titles and fetches their posters anew"
        )
