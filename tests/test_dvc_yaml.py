import ast
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import networkx
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from minimagen.cli import app
from minimagen.config import Params
from minimagen.experiments import experiment_names, load_experiment
from minimagen.source_closure import source_closure
from scripts.dvc_deps import complaints, listed, module_of, stage_bodies

CHECKOUT = Path(__file__).parents[1]
DOCUMENT = YAML(typ="safe", pure=True).load((CHECKOUT / "dvc.yaml").read_text())
BODIES = dict(stage_bodies(DOCUMENT))


def entries(body: MutableMapping[str, object], key: str) -> list[str]:
    """Returns names from a list of DVC's, whose entries may carry settings."""
    listing = body.get(key, [])
    assert isinstance(listing, list)
    return [next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in listing]


def outs(body: MutableMapping[str, object]) -> list[str]:
    return entries(body, "outs") + entries(body, "metrics")


def stage_files(body: MutableMapping[str, object]) -> Iterator[ast.Module]:
    """Yields the stage's own file and the files of stages/ that it imports, as trees."""
    for path in source_closure(module_of(body)):
        if path.parent.name == "stages":
            yield ast.parse((CHECKOUT / path).read_text())


def keys_read(tree: ast.Module) -> set[str]:
    """Returns what the file reads of the parameters: dotted names, up to the first subscript or call."""
    within = {id(child): parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"(\w+\.)?params", ast.unparse(node.value)):
            keys = [node.attr]
            above = within[id(node)]
            while isinstance(above, ast.Attribute):
                keys.append(above.attr)
                above = within[id(above)]
            if keys[0] in Params.model_fields:
                found.add(".".join(keys))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS":
            found |= set(ast.literal_eval(node.value))
    return found


def is_part_of(key: str, whole: str) -> bool:
    return key == whole or key.startswith(f"{whole}.")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project with this dvc.yaml and nothing in it."""
    folder = tmp_path_factory.mktemp("pipeline")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=folder, check=True)
    (folder / "dvc.yaml").write_text((CHECKOUT / "dvc.yaml").read_text())
    return folder


def graph_of(project: Path, name: str) -> "networkx.DiGraph[str]":
    """Returns the graph that DVC makes of an experiment, with an edge from each stage to those it reads from."""
    (project / "params.yaml").write_text(load_experiment(CHECKOUT, name).text)
    with contextlib.chdir(project), Repo() as repo:
        graph = repo.index.graph
        return networkx.relabel_nodes(graph, {stage: stage.addressing for stage in graph})


def test_stages_list_exactly_the_files_they_rest_on() -> None:
    assert complaints(DOCUMENT) == [], "run `make format`"


@pytest.mark.parametrize("stage", BODIES)
def test_command_of_a_stage_is_of_its_name(stage: str) -> None:
    commands = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert str(BODIES[stage]["cmd"]).split()[:2] == ["minimagen", stage]
    assert stage in commands


@pytest.mark.parametrize("stage", BODIES)
def test_params_of_a_stage_are_the_keys_it_reads(stage: str) -> None:
    declared = {key.partition(".${")[0] for key in entries(BODIES[stage], "params")}
    interpolated = {key.strip("${}") for key in [str(DOCUMENT["stages"][stage].get("foreach", ""))] if key}
    read = set().union(*(keys_read(tree) for tree in stage_files(BODIES[stage])))

    undeclared = {key for key in read if not any(is_part_of(key, whole) for whole in declared | interpolated)}
    unread = {whole for whole in declared if not any(is_part_of(key, whole) for key in read)}
    assert undeclared == set()
    assert unread == set()


@pytest.mark.parametrize("stage", BODIES)
def test_data_that_a_stage_names_are_its_inputs_or_outs(stage: str) -> None:
    known = [path.partition("/${")[0] for path in listed(BODIES[stage]) + outs(BODIES[stage])]
    for tree in stage_files(BODIES[stage]):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and re.fullmatch(r"data/[\w/.-]+", str(node.value)):
                named = str(node.value)
                assert any(is_below(named, path) or is_below(path, named) for path in known), named


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


@pytest.mark.parametrize("name", experiment_names(CHECKOUT))
def test_every_experiment_makes_a_graph(project: Path, name: str) -> None:
    graph = graph_of(project, name)
    params = load_experiment(CHECKOUT, name).params
    assert set(graph) == {
        *(f"ingest@{source}" for source in params.sources),
        "curate",
        "text-encoder",
        "embed",
        *(f"train@{unet}" for unet in params.cascade),
        "evaluate",
    }


def test_graph_is_the_pipeline(project: Path) -> None:
    graph = graph_of(project, "demo")
    reads = {stage: set(graph.successors(stage)) for stage in graph}
    assert reads == {
        "ingest@scenes": set(),
        "curate": {"ingest@scenes"},
        "text-encoder": set(),
        "embed": {"curate", "text-encoder"},
        "train@base": {"curate", "embed"},
        "train@super": {"curate", "embed"},
        "evaluate": {"ingest@scenes", "curate", "embed", "train@base", "train@super"},
    }


def test_unets_train_in_the_order_of_the_cascade(project: Path) -> None:
    graph = graph_of(project, "demo")
    order = [stage for stage in networkx.dfs_postorder_nodes(graph) if stage.startswith("train@")]
    assert order == ["train@base", "train@super"]


def test_git_ignores_what_dvc_keeps_and_no_more(checkout: Path) -> None:
    kept_by_dvc = [
        path.replace("${key}", "x").replace("${item}", "x") for body in BODIES.values() for path in outs(body)
    ]
    kept_by_git = ["data/README.md", "data/assets/sprites.parquet", "dvc.lock", "params.yaml"]
    result = subprocess.run(
        ["git", "check-ignore", "--no-index", *kept_by_dvc, *kept_by_git],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines() == [path for path in kept_by_dvc if path != "data/eval/metrics.json"]
