"""Tuning on drawn scenes and on pictures of unknown content, with small networks of random weights."""

import shutil
from pathlib import Path

import pytest
from pydantic import JsonValue
from ruamel.yaml import YAML

from minimagen.config import Params, load_params
from minimagen.errors import UserError
from minimagen.journal import read_journal
from minimagen.stages.tune import default_grid, run_tune
from tests.stages.test_evaluate import small_params, write_data, write_models

COMMENT = "# what I know about these numbers\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, params = tmp_path_factory.mktemp("trained"), small_params(Path(__file__).parents[2])
    write_data(root, params)
    write_models(root, params)
    with (root / "params.yaml").open("w", encoding="utf-8") as stream:
        stream.write(COMMENT)
        YAML(typ="safe", pure=True).dump(params.model_dump(mode="json"), stream)
    return root


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))


def params_of(root: Path) -> Params:
    return load_params(root / "params.yaml")


def test_cheapest_of_those_that_are_as_good_is_written_and_the_rest_stays(project: Path) -> None:
    before = params_of(project)

    (tried,) = run_tune({"base.num_steps": [3, 1, 2]}, project)

    assert tried.metric == "joint" and [candidate.cost for candidate in tried.candidates] == [3, 1, 2]
    assert tried.chosen == 1, "networks of random weights draw nothing right, so all are as good"
    after = params_of(project)
    assert after.sampling["base"].num_steps == 1
    assert after.model_copy(update={"sampling": before.sampling}) == before
    assert (project / "params.yaml").read_text().startswith(COMMENT)


def test_super_resolution_is_judged_by_real_pictures(project: Path) -> None:
    (tried,) = run_tune({"super.aug_level": [0.0, 0.2]}, project, is_kept=False)

    assert tried.metric == "psnr"
    means = [candidate.mean for candidate in tried.candidates]
    assert means[0] != means[1] and all(0.0 < mean < 60.0 for mean in means)


def test_dry_run_leaves_the_parameters(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()

    run_tune({"base.num_steps": [1]}, project, is_kept=False)

    assert (project / "params.yaml").read_bytes() == before


def test_all_that_was_tried_is_in_the_journal_and_a_table(project: Path) -> None:
    run_tune({"base.num_steps": [2, 1], "super.num_steps": [1]}, project)

    (folder,) = (project / "runs/tune").iterdir()
    found = [entry for entry in read_journal(folder / "journal.jsonl") if entry.kind == "metric"]
    assert [(entry.step, *entry.values) for entry in found] == [
        (0, "base.num_steps/joint"), (1, "base.num_steps/joint"), (0, "super.num_steps/psnr"),
    ]  # fmt: skip
    table = (folder / "tune.md").read_text()
    assert "## base.num_steps" in table and "| **1** | 0 |" in table


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"middle.num_steps": [1]}, "middle.num_steps: expected a U-Net of base, super, a dot and one of num_steps"),
        ({"base.sampler": ["ddim"]}, "base.sampler: expected a U-Net"),
        ({"base.num_steps": [0]}, "params.yaml: sampling.base.num_steps"),
        ({"base.guidance_scale": [2.0]}, "sampling.base.guidance_scale: 2, expected 1"),
        ({"base.num_steps": []}, "base.num_steps: no values"),
    ],
)
def test_grid_that_breaks_a_rule_is_told_before_anything_is_drawn(
    project: Path, grid: dict[str, list[JsonValue]], message: str
) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        run_tune(grid, project)

    assert not (project / "runs/tune").exists()


def test_without_a_grid_what_the_cascade_was_trained_for_is_tried(checkout: Path) -> None:
    params = small_params(checkout)
    law = params.unets["base"].diffusion.model_copy(update={"cond_drop_prob": 0.1})
    guided = params.unets["base"].model_copy(update={"diffusion": law})

    plain = default_grid(params)
    found = default_grid(params.model_copy(update={"unets": {**params.unets, "base": guided}}))

    assert list(plain) == ["base.num_steps", "super.aug_level", "super.num_steps"]
    assert list(found) == ["base.guidance_scale", "base.guidance_interval", *plain]
    assert plain["super.aug_level"] == [0.0, 0.05, 0.1, 0.2] and plain["base.num_steps"] == [1, 2, 4]
