"""Flat parameters name each setting once, and tell cascades apart."""

from minimagen.config import Params
from minimagen.tracking.flat import (
    cascade_hash,
    cascade_name,
    cascade_params,
    comparison_columns,
    experiment_name,
    stage_params,
)


def with_dim(params: Params, dim: int) -> Params:
    unet = params.unets["base"]
    network = unet.unet.model_copy(update={"dim": dim})
    return params.model_copy(update={"unets": {**params.unets, "base": unet.model_copy(update={"unet": network})}})


def num_leaves(value: object) -> int:
    return sum(num_leaves(inner) for inner in value.values()) if isinstance(value, dict) else 1


def test_parameters_of_a_unet_are_led_by_its_name_alone(params: Params) -> None:
    flat, base = cascade_params(params), params.unets["base"]

    assert flat["base.dim"] == str(base.unet.dim)
    assert flat["base.dim_mults"] == str(list(base.unet.dim_mults))
    assert flat["super.image_size"] == str(params.unets["super"].image_size)
    assert flat["base.num_epochs"] == "null"
    assert flat["base.num_steps"] == str(base.training.num_steps)
    assert flat["base.grid.num_steps"] == str(base.training.grid.num_steps)
    assert flat["sampling.super.num_steps"] == str(params.sampling["super"].num_steps)
    assert flat["ingest.snapshot"] == params.ingest.snapshot


def test_no_two_parameters_share_a_flat_name(params: Params) -> None:
    assert len(cascade_params(params)) == num_leaves(params.model_dump(mode="json"))


def test_equal_parameters_have_equal_hashes_and_others_do_not(params: Params) -> None:
    assert cascade_hash(params) == cascade_hash(params.model_copy(deep=True))
    assert cascade_hash(params) != cascade_hash(with_dim(params, 40))
    assert len(cascade_hash(params)) == 16


def test_the_name_of_a_cascade_tells_its_sizes(params: Params) -> None:
    sizes = [params.unets[name].image_size for name in ("base", "super")]

    assert cascade_name(params) == f"base{sizes[0]}-super{sizes[1]} {cascade_hash(params)[:6]}"
    assert experiment_name(params) == "scenes"


def test_a_training_shows_its_main_parameters(params: Params) -> None:
    base = params.unets["base"]

    assert stage_params(params, "train", "base") == {
        "image_size": str(base.image_size),
        "dim": str(base.unet.dim),
        "dim_mults": str(list(base.unet.dim_mults)),
        "num_steps": str(base.training.num_steps),
        "batch_size": str(base.training.batch_size),
        "learning_rate": str(base.training.learning_rate),
        "seed": str(base.training.seed),
    }


def test_other_stages_show_their_sections(params: Params) -> None:
    scenes = params.ingest.scenes
    assert scenes is not None

    assert stage_params(params, "ingest", "scenes")["snapshot"] == params.ingest.snapshot
    assert stage_params(params, "ingest", "scenes")["num_scenes"] == str(scenes.num_scenes)
    assert stage_params(params, "curate", None)["val_fraction"] == str(params.curate.val_fraction)
    assert stage_params(params, "text-encoder", None)["name"] == params.text_encoder.name
    assert stage_params(params, "embed", None)["precision"] == params.embed.precision
    assert stage_params(params, "evaluate", None)["sampling.base.sampler"] == params.sampling["base"].sampler


def test_the_compared_columns_are_parameters_the_cascade_has(params: Params) -> None:
    columns = [name.removeprefix("params.") for name in comparison_columns(params) if name.startswith("params.")]

    assert {"base.dim", "base.dim_mults", "base.num_steps"} <= set(columns)
    assert set(columns) - set(cascade_params(params)) == {"data_sha256"}
