"""The parameters of a run as types: what params.yaml may say, checked before any work."""

from minimagen.config.data import (
    CaptionRules,
    CurateConfig,
    EmbedConfig,
    FolderConfig,
    ImageRules,
    ScenesConfig,
    TextEncoderConfig,
)
from minimagen.config.ingest import IngestConfig
from minimagen.config.params import (
    EvaluateConfig,
    Params,
    SamplingConfig,
    load_params,
    read_section,
    read_yaml,
    validate_params,
)
from minimagen.config.remote import (
    AnimeConfig,
    ConceptualCaptionsConfig,
    ManifestConfig,
    RemoteSource,
    TmdbConfig,
)
from minimagen.config.section import ConfigError, Section
from minimagen.config.unets import DiffusionConfig, ExecutionConfig, GridConfig, TrainingConfig, UNetConfig, UNetSection

__all__ = [
    "AnimeConfig",
    "CaptionRules",
    "ConceptualCaptionsConfig",
    "ConfigError",
    "CurateConfig",
    "DiffusionConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "ExecutionConfig",
    "FolderConfig",
    "GridConfig",
    "ImageRules",
    "IngestConfig",
    "ManifestConfig",
    "Params",
    "RemoteSource",
    "SamplingConfig",
    "ScenesConfig",
    "Section",
    "TextEncoderConfig",
    "TmdbConfig",
    "TrainingConfig",
    "UNetConfig",
    "UNetSection",
    "load_params",
    "read_section",
    "read_yaml",
    "validate_params",
]
