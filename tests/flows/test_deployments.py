"""What prefect.yaml says, without a server; tests of `make orchestrate` deploy it on a real one."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "prefect.yaml").read_text()
DOCUMENT = YAML(typ="safe", pure=True).load(TEXT)
DEPLOYMENTS = {each["name"]: each for each in DOCUMENT["deployments"]}


def flow_name(entrypoint: str) -> str:
    """Returns the name of the flow at `file:function`, from the call of its decorator."""
    path, _, function = entrypoint.partition(":")
    tree = ast.parse((CHECKOUT / path).read_text())
    constants = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    (call,) = [node for node in found.decorator_list if isinstance(node, ast.Call)]
    (value,) = [keyword.value for keyword in call.keywords if keyword.arg == "name"]
    return constants[value.id] if isinstance(value, ast.Name) else ast.literal_eval(value)


def test_no_variable_has_to_be_set() -> None:
    assert "$" not in TEXT


def test_runs_work_in_the_folder_of_the_deployment() -> None:
    (build,), (pull,) = DOCUMENT["build"], DOCUMENT["pull"]
    assert build["prefect.deployments.steps.run_shell_script"]["script"] == "pwd"
    assert pull["prefect.deployments.steps.set_working_directory"]["directory"] == "{{ here.stdout }}"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_is_called_as_its_flow_is_and_asks_nothing(name: str) -> None:
    deployment: Mapping[str, object] = DEPLOYMENTS[name]
    assert flow_name(str(deployment["entrypoint"])) == name
    assert isinstance(deployment["schedules"], list)
    assert deployment["work_pool"] == {"name": "local", "job_variables": {"stream_output": False}}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_runs_of_a_deployment_do_not_overlap(name: str) -> None:
    assert DEPLOYMENTS[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_schedules_are_there_and_start_nothing_by_themselves() -> None:
    schedules = {name: each["schedules"] for name, each in DEPLOYMENTS.items() if each["schedules"]}
    assert sorted(schedules) == ["retrain", "scrape-anime", "scrape-tmdb"]
    assert not any(schedule["active"] for each in schedules.values() for schedule in each)
