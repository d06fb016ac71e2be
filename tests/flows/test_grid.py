from pathlib import Path

import pytest
from pydantic import JsonValue

from flows.grid import arms_of, name_of
from minimagen.errors import UserError

PATH = Path("params.yaml")


@pytest.fixture
def text(checkout: Path) -> str:
    return (checkout / "experiments/demo.yaml").read_text()


def test_arms_are_every_combination_the_last_key_fastest(text: str) -> None:
    arms = arms_of(text, PATH, {"dim": [16, 32], "num_steps": [10, 20]})

    assert [dict(arm.values) for arm in arms] == [
        {"dim": 16, "num_steps": 10},
        {"dim": 16, "num_steps": 20},
        {"dim": 32, "num_steps": 10},
        {"dim": 32, "num_steps": 20},
    ]
    assert [arm.params.unets[name].unet.dim for arm in arms for name in ("base", "super")] == [16] * 4 + [32] * 4
    assert arms[1].params.unets["super"].training.num_steps == 20


def test_key_is_of_all_networks_of_one_or_of_any_section(text: str) -> None:
    (arm,) = arms_of(text, PATH, {"dim": [8], "super.dim": [24], "evaluate.seed": [5], "unets.base.training.seed": [7]})

    assert [arm.params.unets[name].unet.dim for name in ("base", "super")] == [8, 24]
    assert (arm.params.evaluate.seed, arm.params.unets["base"].training.seed) == (5, 7)


def test_lists_by_level_are_as_long_as_the_multipliers(text: str) -> None:
    short, long = arms_of(text, PATH, {"base.dim_mults": [[1, 2], [1, 2, 3, 4]]})

    assert short.params.unets["base"].unet.layer_attns == (False, True)
    assert long.params.unets["base"].unet.layer_attns == (False, True, True, True)
    assert long.params.unets["base"].unet.num_resnet_blocks == (1, 1, 1, 1)
    assert short.params.unets["super"].unet.dim_mults == (1, 2, 4)


def test_epochs_take_the_place_of_steps(text: str) -> None:
    (arm,) = arms_of(text, PATH, {"num_epochs": [3]})
    training = arm.params.unets["base"].training
    assert (training.num_epochs, training.num_steps) == (3, None)


def test_comments_stay(text: str) -> None:
    (arm,) = arms_of(text, PATH, {"dim": [8]})
    assert arm.text.splitlines()[0] == text.splitlines()[0]


def test_every_combination_that_breaks_a_rule_is_told_before_anything_runs(text: str) -> None:
    with pytest.raises(UserError) as refused:
        arms_of(text, PATH, {"base.dim": [9, 16], "super.dim": [8, 10]})
    assert sorted({line.split(":")[0] for line in str(refused.value).splitlines()}) == [
        "dim-16--dim-10",
        "dim-9--dim-10",
        "dim-9--dim-8",
    ]


@pytest.mark.parametrize("key", ["nosuch", "unets.top.unet.dim", "top.dim", "sources", "cascade", "ingest.snapshot"])
def test_keys_that_cannot_be_compared_are_named(text: str, key: str) -> None:
    with pytest.raises(UserError, match=f"params.yaml: {key}: there is no such key to compare"):
        arms_of(text, PATH, {key: ["a"]})


def test_a_grid_without_values_or_with_the_same_twice_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="dim: no values"):
        arms_of(text, PATH, {"dim": []})
    with pytest.raises(UserError, match="the same parameters"):
        arms_of(text, PATH, {"dim": [8, 8]})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"learning_rate": 0.001}, "learning_rate-0.001"),
        ({"base.dim_mults": [1, 2], "num_epochs": 5}, "dim_mults-1-2--num_epochs-5"),
    ],
)
def test_names_are_ones_that_git_allows(values: dict[str, JsonValue], name: str) -> None:
    assert name_of(values) == name
