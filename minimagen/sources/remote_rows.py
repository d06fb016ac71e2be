"""What becomes of each candidate of a shard, once it is known what came of its address: stored, rejected or pending.

Knows no network and no file. Depends on the candidates, the rules and what came, not on when it came.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minimagen.config import CaptionRules
from minimagen.files import canonical_json
from minimagen.rows import Failure, Rejection, Row, snapshot_instant
from minimagen.sources.candidates import Candidate
from minimagen.sources.captions import accept_caption
from minimagen.sources.images import NormalisedImage
from minimagen.sources.urls import canonical_url


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions of one candidate that are accepted."""

    accepted: tuple[str, ...]
    """Cleaned, each once, in the source's order; at least one."""
    raw: str
    """The raw form of the first."""
    dropped: Mapping[str, int]
    """How many others were not accepted, by reason."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A candidate as it is asked for, or why it is not."""

    candidate: Candidate
    url: str
    """In its canonical spelling: equal ones are asked for once."""
    captions: Captions | Rejection


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcomes of a shard, in the order of its candidates; together they are all of them."""

    stored: tuple[Wish, ...]
    failures: tuple[Failure, ...]
    num_pending: int


def wish_for(candidate: Candidate, rules: CaptionRules) -> Wish:
    """Decides whether a candidate's picture is worth asking for."""
    url = canonical_url(candidate.url)
    if candidate.reason:
        return Wish(candidate, url, Rejection(candidate.reason, candidate.detail))
    return Wish(candidate, url, _accept(candidate.captions, rules))


def wanted_urls(wishes: Sequence[Wish]) -> list[str]:
    """Returns the addresses to ask for, each once, in order."""
    return list(dict.fromkeys(wish.url for wish in wishes if isinstance(wish.captions, Captions)))


def settle(wishes: Sequence[Wish], verdicts: Mapping[str, str | Rejection]) -> Settlement:
    """Gives every candidate its outcome.

    Of rows with the same file the first is stored; the others are rejected(duplicate), however they came by it.

    Args:
        verdicts: for each address SHA-256 of the file that came, or why there is none; an address that is missing is
            pending.
    """
    stored: list[Wish] = []
    failures: list[Failure] = []
    first_key: dict[str, str] = {}
    for wish in wishes:
        verdict = verdicts.get(wish.url) if isinstance(wish.captions, Captions) else wish.captions
        if isinstance(verdict, str) and verdict in first_key:
            verdict = Rejection("duplicate", f"the same file as {first_key[verdict]}")
        if isinstance(verdict, Rejection):
            key, url = wish.candidate.key, wish.candidate.url
            failures.append(Failure(key, url, verdict.reason, verdict.detail))
        elif verdict is not None:
            first_key[verdict] = wish.candidate.key
            stored.append(wish)
    return Settlement(tuple(stored), tuple(failures), len(wishes) - len(stored) - len(failures))


def row_of(wish: Wish, image: NormalisedImage, *, source: str, snapshot: str) -> Row:
    """Returns the row of a candidate that is stored."""
    candidate, captions = wish.candidate, wish.captions
    assert isinstance(captions, Captions), f"{candidate.key} is stored without a caption"
    extra = candidate.extra
    if captions.dropped:
        extra = canonical_json(json.loads(extra) | {"captions_dropped": dict(captions.dropped)})
    return Row(
        key=candidate.key,
        image_bytes=image.content,
        text=captions.accepted[0],
        text_raw=captions.raw,
        captions=captions.accepted,
        width=image.width,
        height=image.height,
        orig_width=image.orig_width,
        orig_height=image.orig_height,
        format=image.format,
        sha256=image.sha256,
        phash=image.phash,
        source=source,
        source_url=candidate.url,
        page_url=candidate.page_url,
        license=candidate.license,
        adult=candidate.adult,
        lang=candidate.lang,
        fetched_at=snapshot_instant(snapshot),
        extra=extra,
    )


def _accept(raw_captions: Sequence[str], rules: CaptionRules) -> Captions | Rejection:
    accepted: dict[str, str] = {}
    rejections: list[Rejection] = []
    for raw in raw_captions:
        text = accept_caption(raw, rules)
        if isinstance(text, Rejection):
            rejections.append(text)
        else:
            accepted.setdefault(text, raw)
    if accepted:
        dropped = dict(sorted(Counter(rejection.reason for rejection in rejections).items()))
        return Captions(tuple(accepted), next(iter(accepted.values())), dropped)
    return rejections[0] if rejections else Rejection("no_caption", "the source has none")
