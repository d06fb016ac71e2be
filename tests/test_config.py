import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from minimagen.config import ConfigError, Params, load_params, read_yaml, validate_params

DEMO = Path("experiments/demo.yaml")
EPS_WITHOUT_SIGNAL = {
    "schedule": "linear",
    "log_snr_shift": 0.0,
    "target": "eps",
    "weighting": "uniform",
    "min_snr_gamma": 5.0,
    "cond_drop_prob": 0.1,
    "max_aug_level": 0.0,
    "zero_terminal_snr": True,
}


@pytest.fixture
def document(checkout: Path) -> dict[str, object]:
    """The demo, with sizes of its own: the demo's may change."""
    document = read_yaml(checkout / DEMO)
    assert isinstance(document, dict)
    put(document, "unets.base.image_size", 16)
    put(document, "unets.base.unet.dim_mults", [1, 2, 3])
    put(document, "unets.super.image_size", 32)
    put(document, "unets.super.low_res_size", 16)
    put(document, "unets.super.unet.dim_mults", [1, 2])
    for name, levels in (("base", 3), ("super", 2)):
        put(document, f"unets.{name}.unet.memory_efficient", name == "super")
        put(document, f"unets.{name}.unet.num_resnet_blocks", [1] * levels)
        put(document, f"unets.{name}.unet.layer_attns", [False] * levels)
        put(document, f"unets.{name}.unet.layer_cross_attns", [True] * levels)
        put(document, f"unets.{name}.training.num_steps", 2000)
    return document


def problems(document: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate_params(document, Path("params.yaml"))
    return str(caught.value).splitlines()


def put(document: dict[str, object], key: str, value: object) -> None:
    """Sets a dotted key."""
    *parents, last = key.split(".")
    section: dict[str, object] = document
    for parent in parents:
        child = section[parent]
        assert isinstance(child, dict)
        section = child
    section[last] = value


def test_demo_is_valid(checkout: Path) -> None:
    params = load_params(checkout / DEMO)
    assert params.cascade == ("base", "super")
    assert params.sources == {"scenes": Path("data/assets/sprites.parquet")}
    assert params.unets["super"].low_res_size == params.unets["base"].image_size


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("unets.super.unet.attn_head", 4, "unets.super.unet.attn_head: unknown key"),
        ("experiment", "x", "experiment: unknown key"),
        (
            "unets.base.unet.dim",
            "24",
            "unets.base.unet.dim: Input should be a valid integer, not '24'",
        ),
        (
            "unets.base.training.batch_size",
            0,
            "unets.base.training.batch_size: Input should be greater than or equal to 1, not 0",
        ),
        (
            "unets.base.training.adam_beta2",
            1.0,
            "unets.base.training.adam_beta2: Input should be less than 1, not 1.0",
        ),
        ("unets.base.unet.dim", 20, "unets.base.unet: dim 20 is not a multiple of 8 (group norm has 8 groups)"),
        (
            "unets.base.unet.layer_attns",
            [True],
            "unets.base.unet: layer_attns has 1 entries, dim_mults has 3: one per level",
        ),
        (
            "unets.base.image_size",
            18,
            "unets.base: image_size 18 is not divisible by 4 = 2**2 (3 levels in unet.dim_mults)",
        ),
        ("unets.super.low_res_size", 32, "unets.super: low_res_size 32 is not smaller than image_size 32"),
        (
            "unets.super.low_res_size",
            8,
            "unets.super.low_res_size: 8, expected 16 (the image_size of base before it)",
        ),
        (
            "unets.base.low_res_size",
            8,
            "unets.base.low_res_size: 8, expected None (it is the first of the cascade)",
        ),
        ("sampling.super.aug_level", None, "sampling.super.aug_level: None, expected a number"),
        ("sampling.base.guidance_scale", 2.0, "sampling.base.guidance_scale: 2, expected 1 (or above 0 in unets.base"),
        ("unets.base.training.grid.guidance_scale", 2.0, "unets.base: training.grid.guidance_scale 2, expected 1"),
        (
            "sampling.base.low_frequency_consistency",
            True,
            "sampling.base.low_frequency_consistency: true, expected false (it is the first of the cascade)",
        ),
        (
            "sampling.base.guidance_interval",
            [0.8, 0.2],
            "sampling.base: guidance_interval [0.8, 0.2], expected [low, high], 0 <= low < high <= 1",
        ),
        (
            "sampling.base.guidance_interval",
            [-0.1, 0.2],
            "sampling.base: guidance_interval [-0.1, 0.2], expected [low, high], 0 <= low < high <= 1",
        ),
        (
            "unets.base.diffusion",
            EPS_WITHOUT_SIGNAL,
            "unets.base.diffusion: target 'eps' with zero_terminal_snr: where no signal is left the noise tells "
            "nothing of the picture; expected 'x0' or 'v'",
        ),
        (
            "sampling.base.aug_level",
            0.1,
            "sampling.base.aug_level: 0.1, expected null (it is the first of the cascade)",
        ),
        (
            "sampling.base.sampler",
            "euler",
            "sampling.base.sampler: Input should be 'ddpm', 'ddim', 'dpmpp_2m' or 'heun', not 'euler'",
        ),
        (
            "unets.base.training.num_epochs",
            3,
            "unets.base.training: give num_steps or num_epochs and set the other to null "
            "(num_steps 2000, num_epochs 3)",
        ),
        (
            "unets.base.training.num_steps",
            None,
            "unets.base.training: give num_steps or num_epochs and set the other to null "
            "(num_steps None, num_epochs None)",
        ),
        ("cascade", ["base", "super", "base"], "cascade names a U-Net twice: base, super, base"),
        ("ingest.snapshot", "../x", "ingest.snapshot: String should match pattern"),
        ("unets.base.training.learning_rate", float("nan"), "unets.base.training.learning_rate: nan is not a finite"),
    ],
)
def test_bad_value_is_one_line_that_names_file_key_and_value(
    document: dict[str, object], key: str, value: object, line: str
) -> None:
    put(document, key, value)
    found = problems(document)
    assert len(found) == 1
    assert found[0].startswith(f"params.yaml: {line}")


def test_every_problem_has_its_line(document: dict[str, object]) -> None:
    put(document, "unets.base.unet.dim", "24")
    put(document, "curate.val_fraction", 1.5)
    put(document, "evaluate", {})
    found = problems(document)
    assert len(found) == 2 + 9
    assert all(line.startswith("params.yaml: ") for line in found)
    assert "params.yaml: evaluate.seed: missing" in found


def test_cascade_and_sections_have_to_name_the_same(document: dict[str, object]) -> None:
    put(document, "cascade", ["base", "hyper"])
    assert problems(document) == [
        "params.yaml: cascade: hyper is listed, but there is no section unets.hyper",
        "params.yaml: unets.super: not listed in cascade (base, hyper)",
        "params.yaml: cascade: hyper is listed, but there is no section sampling.hyper",
        "params.yaml: sampling.super: not listed in cascade (base, hyper)",
    ]


def test_sources_and_sections_have_to_name_the_same(document: dict[str, object]) -> None:
    put(document, "sources", {"folder": "my_pictures"})
    assert problems(document) == [
        "params.yaml: sources: folder is listed, but there is no section ingest.folder",
        "params.yaml: ingest.scenes: not listed in sources (folder)",
    ]


@pytest.mark.parametrize("path", ["~/pics", "~"])
def test_a_source_at_home_has_to_be_written_whole(document: dict[str, object], path: str) -> None:
    put(document, "sources.scenes", path)
    assert problems(document) == [
        f"params.yaml: sources.scenes: {path} begins with ~, which is not expanded "
        "(DVC reads the path as it stands): write it whole"
    ]


@pytest.mark.parametrize("path", ["~pics", "pics/~", "/home/me/pics"])
def test_a_tilde_elsewhere_in_a_path_is_a_name(document: dict[str, object], path: str) -> None:
    put(document, "sources.scenes", path)
    assert str(validate_params(document, Path("params.yaml")).sources["scenes"]) == path


def test_unet_name_has_to_be_a_folder_name(document: dict[str, object]) -> None:
    put(document, "cascade", ["ba.se", "super"])
    assert problems(document)[0].startswith("params.yaml: cascade.0: String should match pattern")


def test_file_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path}: no such file (the working directory is the project)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", "not valid YAML: while parsing a flow sequence"),
        (b"a: 1\na: 2\n", "not valid YAML: while constructing a mapping"),
        (b"a: \xff\n", "not valid YAML: 'utf-8' codec can't decode byte 0xff"),
        (b"", "Input should be an object, not None"),
        (b"- 1\n", "Input should be an object, not [1]"),
        (b"1: 2\n", "key 1 is not a text; put it in quotes"),
    ],
)
def test_file_that_is_no_yaml_document_of_sections_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_date_without_quotes_is_told_to_be_quoted(tmp_path: Path, checkout: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"snapshot: \S+", "snapshot: 2026-01-31", (checkout / DEMO).read_text()))
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path}: ingest.snapshot: 2026-01-31 is a date; put it in quotes"


def test_scientific_notation_without_a_point_is_a_number(tmp_path: Path, checkout: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"learning_rate: \S+", "learning_rate: 1e-4", (checkout / DEMO).read_text()))
    assert load_params(path).unets["base"].training.learning_rate == 1e-4


def test_params_file_of_the_checkout_is_valid(checkout: Path) -> None:
    load_params(checkout / "params.yaml")


def test_params_survive_their_own_json(document: dict[str, object], tmp_path: Path) -> None:
    params = validate_params(document, DEMO)
    assert Params.model_validate_json(params.model_dump_json()) == params
    with (tmp_path / "params.yaml").open("w") as stream:
        YAML(typ="safe", pure=True).dump(params.model_dump(mode="json"), stream)
    assert load_params(tmp_path / "params.yaml") == params
