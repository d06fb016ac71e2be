"""The search for films cut into slices that its 500 pages reach: by date, then language, then votes.

Knows no network: how many pages a slice has is asked of the caller. A slice that nothing divides any more (one day, one
language, one number of votes) is yielded as it is; read from both ends it still gives 1,000 pages.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

MAX_PAGES = 500
_EARLIEST = date(1870, 1, 1)
"""Where halving starts if a slice has no first date; films before it are not left out."""
_MANY_VOTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Slice:
    """Films of a range of release dates, one language or all, a range of votes; both ends belong to a range."""

    first: date | None
    """None is the beginning."""
    last: date
    language: str | None = None
    min_votes: int = 0
    max_votes: int | None = None

    def query(self) -> dict[str, str | int]:
        """Returns the search's parameters."""
        query: dict[str, str | int] = {"primary_release_date.lte": self.last.isoformat()}
        if self.first is not None:
            query["primary_release_date.gte"] = self.first.isoformat()
        if self.language is not None:
            query["with_original_language"] = self.language
        if self.min_votes:
            query["vote_count.gte"] = self.min_votes
        if self.max_votes is not None:
            query["vote_count.lte"] = self.max_votes
        return query


def narrow(
    whole: Slice, num_pages: Callable[[Slice], int], languages: Callable[[], Sequence[str]]
) -> Iterator[tuple[Slice, int]]:
    """Yields the slices that ``whole`` consists of, oldest first, and the number of pages of each.

    More than MAX_PAGES are told only of a slice that cannot be divided.

    Args:
        num_pages: asked once for each slice that is looked at.
        languages: asked for only if a single day has too many films.
    """
    pages = num_pages(whole)
    parts = [] if pages <= MAX_PAGES else divide(whole, languages)
    if not parts:
        yield whole, pages
    for part in parts:
        yield from narrow(part, num_pages, languages)


def divide(whole: Slice, languages: Callable[[], Sequence[str]]) -> list[Slice]:
    """Returns the parts of a slice, none if it cannot be divided."""
    first = whole.first or min(_EARLIEST, whole.last)
    if first < whole.last:
        middle = first + (whole.last - first) // 2
        return [replace(whole, last=middle), replace(whole, first=middle + timedelta(days=1))]
    if whole.language is None:
        return [replace(whole, language=language) for language in languages()]
    if whole.max_votes is None:
        return _below_and_above(whole, 2 * whole.min_votes) if whole.min_votes < _MANY_VOTES else []
    if whole.min_votes < whole.max_votes:
        return _below_and_above(whole, (whole.min_votes + whole.max_votes) // 2)
    return []


def _below_and_above(whole: Slice, votes: int) -> list[Slice]:
    return [replace(whole, max_votes=votes), replace(whole, min_votes=votes + 1)]
