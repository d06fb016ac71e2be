"""The parameters of a run as types: what params.yaml may say, checked before any work."""

from minimagen.config.data import (
    CaptionRules,
    CurateConfig,
    EmbedConfig,
    FolderConfig,
    ImageRules,
    IngestConfig,
    ScenesConfig,
    TextEncoderConfig,
)
from minimagen.config.params import (
    EvaluateConfig,
    Params,
    SamplingConfig,
    load_params,
    read_yaml,
    validate_params,
)
from minimagen.config.section import ConfigError, Section
from minimagen.config.unets import DiffusionConfig, ExecutionConfig, GridConfig, TrainingConfig, UNetConfig, UNetSection

__all__ = [
    "CaptionRules",
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
    "Params",
    "SamplingConfig",
    "ScenesConfig",
    "Section",
    "TextEncoderConfig",
    "TrainingConfig",
    "UNetConfig",
    "UNetSection",
    "load_params",
    "read_yaml",
    "validate_params",
]
