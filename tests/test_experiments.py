import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from minimagen.config import ConfigError, load_params, read_yaml, validate_params
from minimagen.experiments import (
    DEMO,
    active_experiment,
    apply_experiment,
    experiment_names,
    load_experiment,
    overlay,
)

NAMES = experiment_names(Path(__file__).parents[1])


@pytest.fixture
def project(tmp_path: Path, checkout: Path) -> Path:
    """A project with the demo, and an overlay that leaves the super-resolution out."""
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    (experiments / "demo.yaml").write_text((checkout / "experiments" / "demo.yaml").read_text())
    (experiments / "base-only.yaml").write_text("# The base alone.\ncascade: [base]\n")
    apply_experiment(tmp_path, DEMO, is_forced=False)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_of_the_checkout_is_valid_and_says_what_it_is(name: str, checkout: Path) -> None:
    experiment = load_experiment(checkout, name)
    written = YAML(typ="safe", pure=True).load(experiment.text)
    assert validate_params(written, Path(name)) == experiment.params
    assert experiment.description


def test_params_file_of_the_checkout_is_the_demo(checkout: Path) -> None:
    assert active_experiment(checkout) == DEMO


def test_what_makes_256_px_or_more_is_trained_on_random_crops(checkout: Path) -> None:
    sections = {
        (name, unet): section
        for name in NAMES
        for unet, section in load_experiment(checkout, name).params.unets.items()
    }

    large = {names: section for names, section in sections.items() if section.image_size >= 256}

    assert ("scenes-three-stages", "top") in large
    for names, section in large.items():
        crop_size = section.training.crop_size
        assert crop_size is not None and crop_size < section.image_size, names


def test_overlay_merges_mappings_and_replaces_everything_else() -> None:
    demo: dict[str, object] = {"a": {"b": 1, "c": [1, 2], "d": {"e": 1}}, "f": 1}
    changes: dict[str, object] = {"a": {"c": [3], "d": {"e": None}}}
    assert overlay(demo, changes) == {"a": {"b": 1, "c": [3], "d": {"e": None}}, "f": 1}


def test_overlay_that_lists_names_drops_the_sections_of_the_others() -> None:
    demo: dict[str, object] = {
        "sources": {"scenes": "sheet"},
        "cascade": ["base", "super"],
        "ingest": {"snapshot": "1", "scenes": {}},
        "unets": {"base": {"dim": 8}, "super": {}},
        "sampling": {"base": {}, "super": {}},
    }
    changes: dict[str, object] = {
        "sources": {"folder": "mine"},
        "cascade": ["base"],
        "ingest": {"folder": {"lang": "en"}},
        "unets": {"base": {"dim": 16}},
    }
    assert overlay(demo, changes) == {
        "sources": {"folder": "mine"},
        "cascade": ["base"],
        "ingest": {"snapshot": "1", "folder": {"lang": "en"}},
        "unets": {"base": {"dim": 16}},
        "sampling": {"base": {}},
    }


def test_unlisted_section_of_the_overlay_itself_is_an_error(project: Path) -> None:
    (project / "experiments" / "wrong.yaml").write_text("cascade: [base]\nunets: {hyper: {image_size: 64}}\n")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: unets\.hyper\.low_res_size: missing"):
        load_experiment(project, "wrong")


def test_overlay_may_lie_on_another_one(project: Path) -> None:
    folder = project / "experiments"
    (folder / "quick.yaml").write_text("extends: base-only\nunets: {base: {training: {num_steps: 7, seed: 1}}}\n")
    (folder / "quicker.yaml").write_text("# In a moment.\nextends: quick\nunets: {base: {training: {num_steps: 1}}}\n")

    experiment = load_experiment(project, "quicker")

    training = experiment.params.unets["base"].training
    assert experiment.params.cascade == ("base",) and (training.num_steps, training.seed) == (1, 1)
    assert "extends" not in experiment.text and experiment.text.startswith("# In a moment.\n")
    apply_experiment(project, "quicker", is_forced=False)
    assert active_experiment(project) == "quicker"


@pytest.mark.parametrize(
    ("lower", "message"),
    [
        ("nosuch", r"one\.yaml: extends: 'nosuch' is unknown; known: demo, base-only, one, two"),
        ("one", r"one\.yaml: extends: one -> one goes round in a circle"),
        ("two", r"two\.yaml: extends: one -> two -> one goes round in a circle"),
        ("[demo]", r"one\.yaml: extends: \['demo'\] is unknown"),
    ],
)
def test_overlay_on_nothing_or_on_itself_is_an_error(project: Path, lower: str, message: str) -> None:
    (project / "experiments" / "one.yaml").write_text(f"extends: {lower}\ncascade: [base]\n")
    (project / "experiments" / "two.yaml").write_text("extends: one\ncascade: [base]\n")
    with pytest.raises(ConfigError, match=message):
        load_experiment(project, "one")


def test_unknown_experiment_names_the_known_ones(project: Path) -> None:
    with pytest.raises(ConfigError, match="experiment 'nosuch' is unknown; known: demo, base-only"):
        apply_experiment(project, "nosuch", is_forced=False)


def test_demo_is_written_as_it_stands(project: Path) -> None:
    assert (project / "params.yaml").read_bytes() == (project / "experiments" / "demo.yaml").read_bytes()


def test_overlay_is_written_whole(project: Path) -> None:
    apply_experiment(project, "base-only", is_forced=False)
    text = (project / "params.yaml").read_text()
    assert text.startswith("# The base alone.\n")
    assert "low_res_size: null\n" in text
    assert "dim_mults: [" in text
    assert load_params(project / "params.yaml").cascade == ("base",)
    assert active_experiment(project) == "base-only"


def test_edits_are_kept_unless_forced(project: Path) -> None:
    edited = re.sub(r"batch_tokens: \d+", "batch_tokens: 77", (project / "params.yaml").read_text())
    (project / "params.yaml").write_text(edited)
    with pytest.raises(ConfigError, match="has edits of its own"):
        apply_experiment(project, "base-only", is_forced=False)
    assert (project / "params.yaml").read_text() == edited

    apply_experiment(project, "base-only", is_forced=True)
    assert active_experiment(project) == "base-only"


def test_comments_are_no_edits(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(f"# mine\n{path.read_text()}")
    assert active_experiment(project) == DEMO


def test_units_no_longer_listed_are_parked_and_come_back(project: Path) -> None:
    for name in ("models/base", "models/super", "checkpoints/super", "raw/scenes", "raw/folder"):
        (project / "data" / name).mkdir(parents=True)
        (project / "data" / name / "file").write_text(name)

    applied = apply_experiment(project, "base-only", is_forced=False)
    assert set(applied.parked) == {Path("data/models/super"), Path("data/checkpoints/super"), Path("data/raw/folder")}
    assert {path.name for path in (project / "data").glob("*/*")} == {"base", "scenes"}

    applied = apply_experiment(project, DEMO, is_forced=False)
    assert set(applied.restored) == {Path("data/models/super"), Path("data/checkpoints/super")}
    assert (project / "data/models/super/file").read_text() == "models/super"


def test_parking_keeps_what_was_parked_before(project: Path) -> None:
    for content in ("old", "new"):
        (project / "data/raw/folder").mkdir(parents=True)
        (project / "data/raw/folder/file").write_text(content)
        apply_experiment(project, DEMO, is_forced=False)
    parked = project / "runs/parked/raw"
    assert (parked / "folder/file").read_text() == "new"
    assert (parked / "folder.1/file").read_text() == "old"


def test_invalid_experiment_leaves_params_as_they_are(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    (project / "experiments" / "wrong.yaml").write_text("curate: {val_fraction: 2.0}\n")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: curate\.val_fraction: .* not 2\.0"):
        apply_experiment(project, "wrong", is_forced=False)
    assert (project / "params.yaml").read_bytes() == before


def test_empty_overlay_is_an_error(project: Path) -> None:
    (project / "experiments" / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(ConfigError, match=r"empty\.yaml: has no parameters"):
        load_experiment(project, "empty")
    assert read_yaml(project / "experiments" / "empty.yaml") is None


PIPELINE = """
stages:
  train:
    foreach: ${cascade}
    do:
      cmd: mkdir -p data/models/${item} && echo ${item} > data/models/${item}/weights
      params: ["unets.${item}"]
      outs: ["data/models/${item}"]
  evaluate:
    cmd: ls data/models > data/found
    deps: [data/models]
    params: [cascade]
    outs: [data/found]
"""


@pytest.mark.long
def test_cascade_made_smaller_and_whole_again_has_the_first_hashes(project: Path) -> None:
    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout

    def outs() -> dict[str, str]:
        stages = YAML(typ="safe", pure=True).load((project / "dvc.lock").read_text())["stages"]
        return {name: stages[name]["outs"][0]["md5"] for name in ("train@base", "train@super", "evaluate")}

    (project / "dvc.yaml").write_text(PIPELINE)
    dvc("init", "--no-scm")
    dvc("repro")
    first = outs()

    apply_experiment(project, "base-only", is_forced=False)
    dvc("repro")
    assert (project / "data/found").read_text() == "base\n"

    apply_experiment(project, DEMO, is_forced=False)
    assert "Running stage" not in dvc("repro")
    assert outs() == first
    assert (project / "data/found").read_text() == "base\nsuper\n"
