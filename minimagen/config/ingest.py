"""The parameters of all sources together. Knows no source's own."""

from pydantic import Field

from minimagen.config.data import FolderConfig, ScenesConfig
from minimagen.config.remote import AnimeConfig, ConceptualCaptionsConfig, ManifestConfig, TmdbConfig
from minimagen.config.section import Section


class IngestConfig(Section):
    """What is read, and as of when. A section for each name in ``sources``."""

    snapshot: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")
    """Label or ISO date of the data's state; a new one reads again and adds what is new."""
    scenes: ScenesConfig | None = None
    folder: FolderConfig | None = None
    tmdb: TmdbConfig | None = None
    anime: AnimeConfig | None = None
    conceptual_captions: ConceptualCaptionsConfig | None = None
    manifest: ManifestConfig | None = None

    def source_names(self) -> tuple[str, ...]:
        """Returns the names of the sources that have a section."""
        return tuple(name for name in type(self).model_fields if name != "snapshot" and getattr(self, name) is not None)
