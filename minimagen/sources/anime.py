"""Anime as a source: Kitsu's posters, each with the first paragraph of its synopsis and quotes of Animechan.

Adult titles are dropped, and what the service does not say counts as adult. The first snapshot takes the most watched
titles; a later one what was changed since, as far as it is new, and what quotes became known for. Knows no picture:
``remote.run`` fetches them.
"""

import logging
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from minimagen.config import AnimeConfig
from minimagen.files import canonical_json, sha256_bytes
from minimagen.shards import ShardJob
from minimagen.sources.animechan import KEY_NAME, QuoteBook, budget_of, gather_quotes, quotes_client
from minimagen.sources.candidates import Candidate, KnownKeys, Plan, find_plan, jobs_of, newest_plan, write_plan
from minimagen.sources.captions import MAX_RAW_CHARS, clean_caption
from minimagen.sources.clock import SYSTEM_CLOCK, Clock
from minimagen.sources.http import ApiClient
from minimagen.sources.kitsu import POSTER_SIZES, Catalogue, Title, moment
from minimagen.sources.later_quotes import later_rows, listed_titles
from minimagen.sources.secrets import secret_from_environment
from minimagen.sources.services import AnimeServices, read_services
from minimagen.sources.titles import normalise_title
from minimagen.sources.tombstones import Tombstones, honour_tombstones, read_tombstones

SOURCE = "anime"
LICENSE = "poster under copyright (seen on kitsu.app; quotes by animechan.io): store privately, publish ids only"
_PARAGRAPH_END = re.compile(r"(?:\r\n?|\n|<br\s*/?>)\s*(?:\r\n?|\n|<br\s*/?>)", re.IGNORECASE)

logger = logging.getLogger(__name__)


def plan(
    config: AnimeConfig, *, reads: Path, snapshot: str, folder: Path, state: Path, clock: Clock = SYSTEM_CLOCK
) -> list[ShardJob]:
    """Returns the jobs of a snapshot; its list is asked for once, and a killed listing goes on where it stopped.

    A plan stays as it is once it is written: quotes that are known later make rows of later snapshots.

    Args:
        reads: the service file.
        folder: ``data/raw/anime``, which gets the plan.
        state: ``runs/ingest/anime``: what was answered so far, and every quote that was ever asked for.

    Raises:
        ConfigError: the service file is missing or wrong.
        UserError: a service refuses, or answers what it does not document; a purge has to be finished first; an
            earlier plan is of a version that did not list what a title is called.
    """
    tombstones = read_tombstones(folder)
    found = find_plan(folder, snapshot, config.model_dump(mode="json"))
    if found is None:
        found = _make_plan(config, tombstones, reads, snapshot, folder, state, clock)
    return jobs_of(folder, found, SOURCE, reads)


def _make_plan(
    config: AnimeConfig, tombstones: Tombstones, reads: Path, snapshot: str, folder: Path, state: Path, clock: Clock
) -> Plan:
    services = read_services(reads, AnimeServices)
    shape = config.model_dump(mode="json")
    after = newest_plan(folder, shape)
    listed = [title for title in listed_titles(folder, after) if title.key not in tombstones] if config.quotes else []
    identity = {"config": shape, "snapshot": snapshot, "after": None if after is None else after.watermark}
    listing = state / "listing" / sha256_bytes(canonical_json(identity).encode())[:16]
    with ApiClient(services.kitsu, state=state, clock=clock) as client:
        catalogue = Catalogue(client, listing, config.subtypes)
        newest = catalogue.newest_update()
        titles, is_all = _list_titles(catalogue, config, after, KnownKeys(folder, after))
    quotes: Mapping[str, tuple[str, ...]] = {}
    if config.quotes:
        wanted = [[*title.names[:1], title.english] for title in titles if not _obstacle(title)]
        wanted += [title.names_to_ask_for for title in listed]
        quotes = _gather(config, services, wanted, listing, state, clock)
    rows = chain((_candidate_of(title, config, quotes) for title in titles), later_rows(listed, quotes, snapshot))
    made = write_plan(
        folder,
        snapshot,
        shape,
        honour_tombstones(rows, tombstones),
        shard_rows=config.shard_rows,
        after=after,
        watermark={"updated_at": newest} if after is None or is_all else after.watermark,
    )
    shutil.rmtree(state / "listing")
    return made


def _list_titles(
    catalogue: Catalogue, config: AnimeConfig, after: Plan | None, known: KnownKeys
) -> tuple[list[Title], bool]:
    """Returns the new titles in the order of the answers, and whether none was left out for ``max_titles``.

    All titles of the catalogue are asked for in the order of their creation, which stands still: an order that moves
    between two pages would lose some.
    """
    first_sort = "createdAt" if config.max_titles is None else "-userCount"
    since = None if after is None else moment(str(after.watermark.get("updated_at")))
    titles: dict[str, Title] = {}
    num_total = 0
    for page in catalogue.pages(first_sort if after is None else "-updatedAt"):
        num_total = page.num_total
        for title in page.titles:
            if since is not None and title.updated_at is not None and title.updated_at < since:
                return list(titles.values()), True
            if _key_of(title) in known or title.id in titles:
                continue
            if len(titles) == config.max_titles:
                return list(titles.values()), False
            titles[title.id] = title
    if after is None and len(titles) < num_total:
        logger.warning("kitsu: %d titles listed of %d: some moved from page to page", len(titles), num_total)
    return list(titles.values()), True


def _gather(
    config: AnimeConfig,
    services: AnimeServices,
    titles: Iterable[Sequence[str]],
    listing: Path,
    state: Path,
    clock: Clock,
) -> Mapping[str, tuple[str, ...]]:
    key = secret_from_environment(KEY_NAME)
    book = QuoteBook(state / "quotes")
    with quotes_client(services.animechan, key, state, clock) as client:
        gather_quotes(
            client,
            titles,
            book=book,
            budget=budget_of(key, state, clock),
            max_requests=config.max_quote_requests,
            asked=listing / "asked.json",
        )
    return book.by_title()


def _candidate_of(title: Title, config: AnimeConfig, quotes: Mapping[str, tuple[str, ...]]) -> Candidate:
    synopsis = first_paragraph(title.synopsis) if config.synopsis else ""
    own_quotes = dict.fromkeys(quote for name in title.names for quote in quotes.get(normalise_title(name), ()))
    captions = (*filter(None, [synopsis]), *own_quotes)
    reason = _obstacle(title) or ("" if captions else "no_caption")
    facts = {
        "title": title.names[0] if title.names else "",
        "names": title.names,
        "english": title.english,
        "subtype": title.subtype,
        "age_rating": title.age_rating,
        "start_date": title.start_date,
        "num_quotes": len(own_quotes),
    }
    return Candidate(
        key=_key_of(title),
        url=poster_of(title, config.poster_size),
        captions=() if reason else captions,
        page_url=f"https://kitsu.app/anime/{title.id}",
        license=LICENSE,
        adult=title.is_adult is not False,
        lang="en",
        extra=canonical_json(facts),
        reason=reason,
        detail=title.problem,
    )


def _obstacle(title: Title) -> str:
    """Returns why a title's poster is not even asked for; empty if nothing speaks against it."""
    if title.problem:
        return "malformed"
    if title.is_adult is None:
        return "age_unknown"
    if title.is_adult:
        return "adult"
    return "" if title.posters else "no_poster"


def poster_of(title: Title, size: str) -> str:
    """Returns the address of the poster of a size, of the next larger one that exists, else of the largest smaller.

    Empty for a title without a poster.
    """
    at_least = POSTER_SIZES[POSTER_SIZES.index(size) :]
    posters = dict(title.posters)
    order = [*at_least, *reversed(POSTER_SIZES[: -len(at_least)])]
    return next((posters[one] for one in order if one in posters), "")


def first_paragraph(synopsis: str) -> str:
    """Returns the first paragraph that says something (a credit alone does not), as it stands; empty if none does."""
    for paragraph in _PARAGRAPH_END.split(synopsis):
        if len(paragraph) > MAX_RAW_CHARS or clean_caption(paragraph):
            return paragraph
    return ""


def _key_of(title: Title) -> str:
    return f"kitsu:{title.id}"
