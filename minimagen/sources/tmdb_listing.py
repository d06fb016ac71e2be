"""The list of films of one TMDB snapshot: asked for, filtered, written down as a plan.

A later snapshot asks for what is new:
- "discover" searches again from 90 days before the last release date covered. It misses films of earlier dates that
  were entered, or reached ``min_votes``, later than that; films without a date are in no search.
- "export" asks for the details of every id that is not known yet, and misses none that the daily list has. A film is
  judged once: one with too few votes in its first snapshot stays out.
In both, a film that was left out for a reason of its own (no poster, no caption) stays out; so does what an earlier
snapshot had no room for (``max_films``), unless it is among what is searched again.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pydantic import SecretStr

from minimagen.config import TmdbConfig
from minimagen.files import canonical_json, sha256_bytes
from minimagen.sources.candidates import Candidate, KnownKeys, Plan, write_plan
from minimagen.sources.clock import Clock
from minimagen.sources.http import ApiClient
from minimagen.sources.services import TmdbServices
from minimagen.sources.tmdb_answers import Question, details_question
from minimagen.sources.tmdb_api import TOKEN_VARIABLE, TmdbApi
from minimagen.sources.tmdb_discover import MAX_LISTED, list_all, list_most_voted
from minimagen.sources.tmdb_export import list_export
from minimagen.sources.tmdb_films import (
    LICENSE,
    SOURCE,
    Film,
    candidate_of,
    filter_reason,
    key_of,
    rejected_candidate,
    unwanted_reason,
)
from minimagen.sources.tmdb_slices import Slice
from minimagen.sources.tmdb_state import ListingState
from minimagen.sources.tombstones import Tombstones, buried

OVERLAP = timedelta(days=90)
"""How far before the last release date covered a later snapshot searches again."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One list in the making."""

    config: TmdbConfig
    snapshot: str
    day: date
    """The snapshot's date."""
    after: Plan | None
    """The plan that it goes on from."""
    folder: Path
    state: Path

    def make_plan(self, services: TmdbServices, token: SecretStr, tombstones: Tombstones, clock: Clock) -> Plan:
        """Asks for the list and writes it down; what was answered is forgotten once that is done.

        Raises:
            UserError: the service refuses, or answers what it does not document.
        """
        answers = self.state / "listing" / self._identity(services)
        known = KnownKeys(self.folder, self.after)
        with (
            closing(ListingState(answers / "answers.sqlite", known)) as state,
            ApiClient(services.api, state=self.state, token=token, key_name=TOKEN_VARIABLE, clock=clock) as client,
            TmdbApi(client, state, services.api.in_flight) as api,
        ):
            image_base = api.image_base(self.config.poster_size)
            watermark = self._list(api, services, answers, clock)
            made = write_plan(
                self.folder,
                self.snapshot,
                self.config.model_dump(mode="json"),
                self._candidates(api, image_base, tombstones, known),
                shard_rows=self.config.shard_rows,
                after=self.after,
                watermark=watermark,
            )
        shutil.rmtree(answers.parent)
        return made

    def _identity(self, services: TmdbServices) -> str:
        """Returns what answers are kept under: those of another listing, or another service, are none of this one."""
        after = None if self.after is None else self.after.snapshot
        parts = [self.config.model_dump(mode="json"), after, services.api.url, services.exports.url]
        return f"{self.snapshot}-{sha256_bytes(canonical_json(parts).encode())[:16]}"

    def _list(self, api: TmdbApi, services: TmdbServices, answers: Path, clock: Clock) -> dict[str, object]:
        """Has the films kept, and returns the watermark."""
        if self.config.listing == "export":
            with ApiClient(services.exports, state=self.state, clock=clock) as exports:
                return {"export": list_export(exports, api.state, self.day, answers)}
        first, last = self.config.released_from, self._last()
        if self.after is not None:
            again = date.fromisoformat(str(self.after.watermark["released_to"])) - OVERLAP
            first = again if first is None else max(first, again)
        if first is None or first <= last:
            whole = Slice(first, last, min_votes=self.config.min_votes)
            if self.config.max_films is not None and self.config.max_films <= MAX_LISTED:
                list_most_voted(api, whole, self.config.language, self.config.max_films)
            else:
                list_all(api, whole, self.config.language)
        return {"released_to": last.isoformat()}

    def _last(self) -> date:
        """Returns the last release date that is covered."""
        return min(self.config.released_to or self.day, self.day)

    def _candidates(
        self, api: TmdbApi, image_base: str, tombstones: Tombstones, known: KnownKeys
    ) -> Iterator[Candidate]:
        films = ((film, self._question(film, tombstones)) for film in api.state.films(self.config.max_films))
        with closing(api.ask_ahead(films)) as answered:
            for film, details in answered:
                if key_of(film) in tombstones:
                    yield buried(rejected_candidate(film, self.config, ""))
                else:
                    yield self._candidate_of(film, details, image_base)
        for text, detail in api.state.odd_entries():
            key = f"{SOURCE}:malformed:{sha256_bytes(text.encode())[:16]}"
            if key not in known:
                yield Candidate(key, "", (), "", LICENSE, False, self.config.language, "{}", "malformed", detail)

    def _question(self, film: Film, tombstones: Tombstones) -> Question | None:
        """Returns what is to be asked about one film, nothing if the list says enough."""
        is_search = self.config.listing == "discover"
        is_enough = is_search and not self.config.textless_posters and self.config.caption != "tagline"
        is_lost = key_of(film) in tombstones or unwanted_reason(film) or (is_search and film.poster_path is None)
        if is_enough or is_lost:
            return None
        params = {"language": self.config.language}
        if self.config.textless_posters:
            own = self.config.language.partition("-")[0]
            params |= {"append_to_response": "images", "include_image_language": f"{own},null"}
        return details_question(film.id, params)

    def _candidate_of(self, film: Film, details: Mapping[str, object] | None, image_base: str) -> Candidate:
        if details is not None:
            if "missing" in details:
                return rejected_candidate(film, self.config, "not_found", str(details["missing"]))
            if "odd" in details:
                return rejected_candidate(film, self.config, "malformed", str(details["odd"]))
            film = Film(**details)  # pyright: ignore[reportArgumentType]
        reason = unwanted_reason(film)
        if not reason and self.config.listing == "export":
            reason = filter_reason(film, self.config)
        if reason:
            return rejected_candidate(film, self.config, reason)
        return candidate_of(film, self.config, image_base)
