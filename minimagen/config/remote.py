"""Parameters of the sources that are read over the network. Knows no address: a service file beside them says it.

How fast a host is asked is a fact of the host and stands in the service file too; a change of it changes no shard.
"""

from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator

from minimagen.config.data import CaptionRules, ImageRules
from minimagen.config.section import Section


class RemoteSource(Section):
    """What every source of the network has."""

    shard_rows: int = Field(ge=1)
    """Candidates per shard."""
    max_bytes: int = Field(ge=1)
    """Bytes of a picture's file, at most; the download stops there."""
    min_success: float = Field(ge=0.0, le=1.0)
    """Share of the fetched rows that must be stored, or the ingest fails after all is recorded; what is not even
    fetched (adult, without a poster) does not count."""
    images: ImageRules
    captions: CaptionRules


class TmdbConfig(RemoteSource):
    """Posters of The Movie Database with what its pages say of them."""

    i_have_written_permission: bool
    """TMDB's API terms (section 1.C) forbid machine learning without its written permission; true says you have it."""
    listing: Literal["discover", "export"]
    """Ask the search for films by date, or go through the daily export of ids, which costs a request for each film."""
    max_films: int | None = Field(ge=1)
    """Films listed per snapshot, at most: those with most votes (of the export: the most popular); null is all."""
    released_from: date | None
    """First release date; null is the beginning."""
    released_to: date | None
    """Last release date; null is the snapshot's date, or for an export any."""
    min_votes: int = Field(ge=0)
    """Votes of a film, at least: most films without votes have no picture worth learning from."""
    language: str = Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")
    """Language of titles and overviews ("en-US")."""
    caption: Literal["overview", "tagline", "title_and_overview"]
    """What is the caption; a film without it is rejected(no_caption)."""
    textless_posters: bool
    """Prefer a poster without writing where the film has one: one request more for each film."""
    poster_size: Literal["w92", "w154", "w185", "w342", "w500", "w780", "original"]
    """Width of the downloaded poster."""

    @model_validator(mode="after")
    def _dates_follow(self) -> Self:
        if self.released_from is not None and self.released_to is not None and self.released_from > self.released_to:
            raise ValueError(f"released_from {self.released_from} is after released_to {self.released_to}")
        return self


class AnimeConfig(RemoteSource):
    """Posters and synopses of Kitsu, and quotes of Animechan."""

    max_titles: int | None = Field(ge=1)
    """Titles listed per snapshot, at most, most watched first; null is all, in the order of their entry."""
    subtypes: tuple[Literal["TV", "movie", "OVA", "ONA", "special", "music"], ...]
    """Kinds of titles; empty means all."""
    poster_size: Literal["tiny", "small", "medium", "large", "original"]
    """Which of Kitsu's posters is downloaded."""
    synopsis: bool
    """The first paragraph of the synopsis is a caption."""
    quotes: bool
    """Quotes of the title are captions too, as far as the request budget goes."""
    max_quote_requests: int = Field(ge=0)
    """Requests to Animechan per snapshot, at most; without a key an hour allows five, and no plan waits for more."""

    @model_validator(mode="after")
    def _has_captions(self) -> Self:
        if not self.synopsis and not self.quotes:
            raise ValueError("synopsis and quotes are both false: no poster would have a caption")
        return self


class ConceptualCaptionsConfig(RemoteSource):
    """Alt texts of the web and the pictures that they stand beside."""

    dataset: Literal["cc3m", "cc12m"]
    split: Literal["train", "validation"]
    """Which list; CC12M has a training list only."""
    listing: Literal["hub", "tsv", "file"]
    """The hub's Parquet files, the TSV at its original address, or a TSV or Parquet file that the user has.

    For a file the source's path is the file itself, or a folder with it and ``hosts.yaml``."""
    max_rows: int | None = Field(ge=1)
    """Rows drawn from the list per snapshot, at most; a new snapshot draws the next ones; null is all."""
    seed: int
    """Of the order in which rows are drawn: slow hosts are spread over the shards."""

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.dataset == "cc12m" and self.listing == "hub":
            raise ValueError(
                "listing is hub, where only CC3M is (google-research-datasets/conceptual_captions): "
                "for cc12m set it to tsv, or to file with a list that you have"
            )
        if self.dataset == "cc12m" and self.split == "validation":
            raise ValueError("split is validation, and cc12m has a training list only")
        return self


class ManifestConfig(RemoteSource):
    """A table of addresses and captions that the user has."""

    url_column: str
    """Column (or JSON key) of the picture's address."""
    caption_column: str
    """Column (or JSON key) of the caption, or of a list of captions."""
    split: str | None
    """Which part of a file of several parts ({"train": {...}, "validation": {...}}); null is all of them."""
    license: str
    """Licence of the pictures, as it shall stand in every row."""
    lang: str
    """Language of the captions (BCP 47)."""
