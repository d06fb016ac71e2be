"""All of params.yaml, and how it is read: every problem is one line that names file, key and value.

``load_params`` is the only reader. Knows no paths of data (DVC's) and no facts of the machine (the environment's).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minimagen.config.data import CurateConfig, EmbedConfig, TextEncoderConfig
from minimagen.config.ingest import IngestConfig
from minimagen.config.section import ConfigError, Section
from minimagen.config.unets import UNetSection

MAX_YAML_BYTES, MAX_YAML_VALUES = 1_000_000, 20_000
"""Far more than a parameter file or a dvc.lock has; fewer than keep this machine busy."""
MAX_TOLD_CHARS = 500
SectionT = TypeVar("SectionT", bound=Section)
UNetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
"""Names a stage, a folder and a parameter section, hence no dots and no slashes."""


class SamplingConfig(Section):
    """How one stage of the cascade draws pictures."""

    sampler: Literal["ddpm", "ddim", "dpmpp_2m", "heun"]
    """Ancestral DDPM, deterministic DDIM, DPM-Solver++(2M), or Heun's method."""
    num_steps: int = Field(ge=1, le=1000)
    """Steps from noise to picture. Each estimates the picture once; with heun twice, but in the last step."""
    guidance_scale: float = Field(ge=1.0)
    """Classifier-free guidance (Ho & Salimans 2022); 1 is none and costs half."""
    threshold_percentile: float | None = Field(gt=0.0, le=1.0)
    """Dynamic thresholding (Imagen, section 2.3); null clamps to [-1, 1]."""
    threshold_cap: float = Field(ge=1.0)
    """Largest divisor of dynamic thresholding; 1 is a clamp."""
    aug_level: float | None = Field(ge=0.0, le=1.0)
    """Diffusion time to which the low-resolution picture is noised; null for a base U-Net."""
    guidance_interval: tuple[float, float] | None = None
    """First and last diffusion time with guidance, 0 (clean) to 1 (noise); elsewhere none is computed (Kynkaanniemi et
    al. 2024). Null is all of them."""
    low_frequency_consistency: bool = False
    """Hold the picture to the one it starts from: shrunk again they are equal. For a super-resolution U-Net alone."""

    @model_validator(mode="after")
    def _interval_is_one(self) -> Self:
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            if not 0.0 <= low < high <= 1.0:
                raise ValueError(f"guidance_interval [{low:g}, {high:g}], expected [low, high], 0 <= low < high <= 1")
        return self


class EvaluateConfig(Section):
    """What is measured on held-out data, and on how much of it."""

    seed: int
    """Seed of every sampled picture."""
    num_captions: int = Field(ge=1)
    """Held-out captions that are drawn and scored."""
    num_training_captions: int = Field(ge=1)
    """Training captions that are drawn, to see which give back a training picture of their own."""
    num_loss_images: int = Field(ge=1)
    """Held-out pictures for the denoising loss."""
    num_super_pairs: int = Field(ge=0)
    """Held-out pictures for super-resolution PSNR."""
    num_report_rows: int = Field(ge=1)
    """Captions shown in the report."""
    features: str | None = Field(min_length=1)
    """The network in whose features pictures are compared: a CLIP, DINOv2 or Inception-v3 by hub name
    (`facebook/dinov2-small`, with `@revision` or without) or folder; null is a fixed random one, whose numbers mean
    nothing outside of this project."""
    num_feature_images: int = Field(ge=2)
    """Held-out pictures that drawn ones are compared with in those features."""
    batch_size: int = Field(ge=1)
    """Pictures sampled at a time."""


class Params(Section):
    """All of params.yaml; each field is a DVC parameter section."""

    sources: dict[str, Path] = Field(min_length=1)
    """Source names, each with the file or folder it reads: relative to the project, or whole; ~ is not expanded."""
    cascade: tuple[UNetName, ...] = Field(min_length=1)
    """U-Net names, from the base up."""
    ingest: IngestConfig
    curate: CurateConfig
    text_encoder: TextEncoderConfig
    embed: EmbedConfig
    unets: dict[UNetName, UNetSection] = Field(min_length=1)
    sampling: dict[str, SamplingConfig] = Field(min_length=1)
    evaluate: EvaluateConfig

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        problems = [
            *_mismatches("cascade", self.cascade, "unets", self.unets),
            *_mismatches("cascade", self.cascade, "sampling", self.sampling),
            *_mismatches("sources", self.sources, "ingest", self.ingest.source_names()),
            *_homes(self.sources),
        ]
        if len(set(self.cascade)) != len(self.cascade):
            problems.append(f"cascade names a U-Net twice: {', '.join(self.cascade)}")
        _raise_if_any(problems)
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        problems: list[str] = []
        previous: str | None = None
        for name in self.cascade:
            section, sampling = self.unets[name], self.sampling[name]
            wanted = None if previous is None else self.unets[previous].image_size
            if section.low_res_size != wanted:
                why = (
                    "it is the first of the cascade" if previous is None else f"the image_size of {previous} before it"
                )
                problems.append(f"unets.{name}.low_res_size: {section.low_res_size}, expected {wanted} ({why})")
            if (sampling.aug_level is None) != (wanted is None):
                expected = "null (it is the first of the cascade)" if wanted is None else "a number"
                problems.append(f"sampling.{name}.aug_level: {sampling.aug_level}, expected {expected}")
            if sampling.guidance_scale > 1.0 and not section.diffusion.cond_drop_prob:
                problems.append(
                    f"sampling.{name}.guidance_scale: {sampling.guidance_scale:g}, expected 1 (or above 0 in "
                    f"unets.{name}.diffusion.cond_drop_prob: guidance compares with pictures drawn without a caption)"
                )
            if sampling.low_frequency_consistency and wanted is None:
                problems.append(
                    f"sampling.{name}.low_frequency_consistency: true, expected false (it is the first of the cascade)"
                )
            previous = name
        _raise_if_any(problems)
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Reads and checks params.yaml (YAML 1.2, as DVC reads it).

    Raises:
        ConfigError: the file is missing, is not YAML, or breaks a rule; one line per problem, each naming file and key.
    """
    return validate_params(read_yaml(path), path)


def read_yaml(path: Path) -> object:
    """Reads one YAML 1.2 file.

    Raises:
        ConfigError: the file is missing, unreadable, not YAML, or far larger than any of ours, aliases written out.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file (the working directory is the project)") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(content) > MAX_YAML_BYTES:
        raise ConfigError(f"{path}: {len(content)} bytes, at most {MAX_YAML_BYTES} are read")
    try:
        document = YAML(typ="safe", pure=True).load(content.decode())
    except (YAMLError, ValueError, TypeError, KeyError, AssertionError, RecursionError) as error:
        # ruamel lets through what int(), date() and its own tables say of a wrong value.
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())[:MAX_TOLD_CHARS]}") from error
    _refuse_overgrown(document, path)
    return document


def _refuse_overgrown(document: object, path: Path) -> None:
    """A few lines of aliases stand for more values than memory holds, or for one that holds itself."""
    rest, num_values = [document], 0
    while rest:
        value = rest.pop()
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        num_values += 1
        if num_values + len(rest) + len(parts) > MAX_YAML_VALUES:
            raise ConfigError(f"{path}: more than {MAX_YAML_VALUES} values once its aliases are written out")
        rest += parts


def validate_params(document: object, path: Path) -> Params:
    """Checks a document as params.yaml is checked; ``path`` is what errors name.

    Raises:
        ConfigError: one line per problem.
    """
    return validate_section(document, path, Params)


def read_section(path: Path, kind: type[SectionT]) -> SectionT:
    """Reads a YAML file that is one section, as strictly as params.yaml.

    Raises:
        ConfigError: the file is missing, unreadable or not YAML, or a value is wrong; one line per problem.
    """
    return validate_section(read_yaml(path), path, kind)


def validate_section(document: object, path: Path, kind: type[SectionT]) -> SectionT:
    """Checks a document as a section; ``path`` is what errors name.

    Raises:
        ConfigError: one line per problem.
    """
    problems = list(_unplain_values(document, ()))
    if not problems:
        try:
            return kind.model_validate_json(json.dumps(document, allow_nan=False))
        except ValidationError as error:
            problems = list(_problem_lines(error))
    raise ConfigError("\n".join(f"{path}: {line}" for line in problems))


def _unplain_values(value: object, keys: Sequence[str]) -> Iterator[str]:
    """Yields a line for each value that JSON cannot say: YAML's dates, infinities and keys that are no text."""
    key = ".".join(keys)
    if isinstance(value, dict):
        for name, part in value.items():
            if isinstance(name, str):
                yield from _unplain_values(part, (*keys, name))
            else:
                yield f"{key}: key {name!r} is not a text; put it in quotes".removeprefix(": ")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _unplain_values(part, (*keys, str(index)))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key}: {value} is not a finite number"
    elif not isinstance(value, str | int | float | None):
        yield f"{key}: {value} is a {type(value).__name__}; put it in quotes"


def _problem_lines(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "value_error":
            yield from (f"{key}: {line}".removeprefix(": ") for line in message.split("\n"))
        elif problem["type"] == "extra_forbidden":
            yield f"{key}: unknown key"
        elif problem["type"] == "missing":
            yield f"{key}: missing"
        else:
            yield f"{key}: {message}, not {problem['input']!r}".removeprefix(": ")


def _mismatches(list_key: str, listed: Iterable[str], section_key: str, sections: Iterable[str]) -> list[str]:
    names, present = list(listed), list(sections)
    missing = [
        f"{list_key}: {name} is listed, but there is no section {section_key}.{name}"
        for name in names
        if name not in present
    ]
    extra = [
        f"{section_key}.{name}: not listed in {list_key} ({', '.join(names)})" for name in present if name not in names
    ]
    return missing + extra


def _homes(sources: Mapping[str, Path]) -> list[str]:
    """DVC watches these paths as they stand, so reading another place than they say would go unnoticed."""
    return [
        f"sources.{name}: {path} begins with ~, which is not expanded (DVC reads the path as it stands): write it whole"
        for name, path in sources.items()
        if path.parts[:1] == ("~",)
    ]


def _raise_if_any(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError("\n".join(problems))
