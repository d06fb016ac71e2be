"""params.yaml as MLflow wants it: flat names and short texts, and the hash that tells cascades apart.

Knows the types of minimagen.config and nothing of MLflow.
"""

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from minimagen.config import Params
from minimagen.files import canonical_json, sha256_bytes

StageName = Literal["ingest", "curate", "text-encoder", "embed", "train", "evaluate", "tune"]

_HEADLINE = ("image_size", "dim", "dim_mults", "num_steps", "num_epochs", "batch_size", "learning_rate", "seed")
_NULL = "null"
_NESTED_IN_UNET = ("unet", "diffusion", "training")


def experiment_name(params: Params) -> str:
    """Returns the name of the dataset: its sources, joined."""
    return "+".join(sorted(params.sources))


def cascade_hash(params: Params) -> str:
    """Returns 16 hexadecimal digits that are equal for equal parameters of the whole cascade."""
    return sha256_bytes(canonical_json(params.model_dump(mode="json")).encode())[:16]


def cascade_name(params: Params) -> str:
    """Returns a name that tells at a glance what the cascade is, as in "base16-super32 3f2a91"."""
    stages = "-".join(f"{name}{params.unets[name].image_size}" for name in params.cascade)
    return f"{stages} {cascade_hash(params)[:6]}"


def cascade_params(params: Params) -> dict[str, str]:
    """Returns every parameter under a flat name; those of a U-Net are led by its name alone (``base.dim``)."""
    document = params.model_dump(mode="json")
    unets = document.pop("unets")
    flat = _flatten(document)
    for name, section in unets.items():
        flat |= {f"{name}.{key}": value for key, value in _flatten_unet(section).items()}
    return flat


def comparison_columns(params: Params) -> list[str]:
    """Returns what a table that compares cascades shows, the number that ranks them first."""
    columns = ["metrics.alignment.joint", "metrics.reproduction.top1"]
    columns += [f"metrics.unets.{name}.loss" for name in params.cascade]
    columns += [f"metrics.unets.{name}.psnr" for name in params.cascade[1:]]
    for name in params.cascade:
        length = "num_epochs" if params.unets[name].training.num_steps is None else "num_steps"
        columns += [f"params.{name}.{key}" for key in ("dim", "dim_mults", length)]
    return [*columns, "params.data_sha256"]


def stage_params(params: Params, stage: StageName, name: str | None) -> dict[str, str]:
    """Returns the parameters that tell one run of a stage from another, under flat names (``dim``, ``snapshot``).

    A training has some forty; MLflow prints those of a run above its pictures, so it shows the main ones. Its cascade
    shows all.

    Args:
        name: the source of an ingest stage or the U-Net of a train stage, else None.
    """
    document = params.model_dump(mode="json")
    if stage == "train":
        flat = _flatten_unet(document["unets"][name])
        return {key: flat[key] for key in _HEADLINE if flat[key] != _NULL}
    if stage == "ingest":
        return {"snapshot": params.ingest.snapshot, **_flatten(document["ingest"][name])}
    if stage in ("evaluate", "tune"):
        return _flatten(document["evaluate"]) | _flatten({"sampling": document["sampling"]})
    return _flatten(document[stage.replace("-", "_")])


def _flatten_unet(section: Mapping[str, JsonValue]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in section.items():
        if key in _NESTED_IN_UNET and isinstance(value, dict):
            flat |= _flatten(value)
        else:
            flat |= _flatten({key: value})
    return flat


def _flatten(section: Mapping[str, JsonValue]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": text for inner, text in _flatten(value).items()}
        else:
            flat[key] = value if isinstance(value, str) else json.dumps(value)
    return flat
