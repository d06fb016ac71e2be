"""A cascade is registered once and whole; there is one champion, whoever asks and however often."""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minimagen.errors import UserError
from minimagen.pipeline import Cascade
from minimagen.sealed import SealError
from minimagen.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry
from tests.small_cascade import write_small_cascade
from tests.torture import num_times

NUM_AT_ONCE = num_times(9, 100)


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cascade with its evaluation, to be read only."""
    folder = write_small_cascade(tmp_path_factory.mktemp("cascade") / "data")
    (folder / "eval").mkdir()
    (folder / "eval/scores.json").write_text('{"of": 1}')
    (folder / "eval/metrics.json").write_text("{}")
    (folder / "raw").mkdir()
    (folder / "raw/big.parquet").write_text("no part of a cascade")
    return folder


@pytest.fixture
def registry(tracked_project: Path) -> Registry:
    return Registry(tracked_project, "scenes")


def variant(cascade: Path, folder: Path, num_steps: int) -> Path:
    """Returns a copy of a cascade that draws in another number of steps, so that its content is another one."""
    shutil.copytree(cascade, folder)
    document = json.loads((folder / "cascade.json").read_text())
    document["sampling"]["base"]["num_steps"] = num_steps
    (folder / "cascade.json").write_text(json.dumps(document))
    return folder


def aliases(registry: Registry) -> Mapping[str, int]:
    found = {alias: registry.find(alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)}
    return {alias: version.number for alias, version in found.items() if version is not None}


@pytest.fixture
def three(registry: Registry, cascade: Path, tmp_path: Path) -> Registry:
    """A registry of three cascades."""
    for number in (1, 2, 3):
        registry.register(variant(cascade, tmp_path / str(number), 10 + number))
    return registry


def test_the_same_cascade_is_registered_once(registry: Registry, cascade: Path, tmp_path: Path) -> None:
    first = registry.register(cascade, {"snapshot": "a"})
    again = registry.register(cascade, {"more": "b"})
    other = registry.register(variant(cascade, tmp_path / "other", 9))

    assert (first.number, again.number, other.number) == (1, 1, 2)
    assert again.tags.items() >= {"snapshot": "a", "more": "b"}.items()
    assert [version.number for version in registry.versions()] == [1, 2]


def test_a_registration_that_was_cut_off_is_completed(
    registry: Registry, cascade: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr("mlflow.tracking.MlflowClient.create_model_version", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registry.register(cascade)
    assert registry.versions() == []

    version = registry.register(cascade)

    assert version.number == 1
    registry.load("1", tmp_path / "loaded")


def test_what_was_registered_loads_as_a_cascade_that_draws_the_same(
    registry: Registry, cascade: Path, tmp_path: Path
) -> None:
    registry.promote(registry.register(cascade).number)

    registry.load(CHAMPION, tmp_path / "loaded")

    left, right = (Cascade.load(folder).sample(["a frog"]).pixels["super"] for folder in (cascade, tmp_path / "loaded"))
    assert (left == right).all()
    assert (tmp_path / "loaded/eval/scores.json").read_text() == '{"of": 1}'
    assert not (tmp_path / "loaded/raw").exists()


@pytest.mark.parametrize("file", ["models/base/model.safetensors", "text_encoder/model.safetensors"])
def test_a_damaged_cascade_is_not_registered(registry: Registry, cascade: Path, tmp_path: Path, file: str) -> None:
    folder = variant(cascade, tmp_path / "damaged", 9)
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(content)

    with pytest.raises(UserError, match=file):
        registry.register(folder)
    assert registry.versions() == []


def test_files_that_were_changed_in_the_registry_are_not_loaded(
    registry: Registry, cascade: Path, tmp_path: Path, tracked_project: Path
) -> None:
    registry.register(cascade)
    (weights,) = (tracked_project / "mlruns").rglob("models/super/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(SealError, match="sha256"):
        registry.load("1", tmp_path / "loaded")

    (settings,) = (tracked_project / "mlruns").rglob("cascade.json")
    weights.write_bytes((cascade / "models/super/model.safetensors").read_bytes())
    settings.write_text(settings.read_text() + " ")
    with pytest.raises(UserError, match=r"version 1: its files have content .*, registered was"):
        registry.load("1", tmp_path / "loaded")
    assert not (tmp_path / "loaded").exists()


def test_promoting_moves_champion_and_previous_and_again_changes_nothing(three: Registry) -> None:
    three.promote(1)
    assert aliases(three) == {CHAMPION: 1}
    for _ in range(2):
        three.promote(2)
        assert aliases(three) == {CHAMPION: 2, PREVIOUS: 1}


def test_a_challenger_that_is_promoted_is_one_no_longer(three: Registry) -> None:
    three.promote(1)
    three.challenge(2)
    assert aliases(three) == {CHAMPION: 1, CHALLENGER: 2}
    three.promote(2)
    assert aliases(three) == {CHAMPION: 2, PREVIOUS: 1}


def test_rolling_back_goes_from_champion_to_champion_and_withdraws(three: Registry) -> None:
    for number in (1, 2, 3):
        three.promote(number)

    assert three.rollback().number == 2
    assert aliases(three) == {CHAMPION: 2, PREVIOUS: 1}
    assert [version.was_withdrawn for version in three.versions()] == [False, False, True]
    assert three.rollback().number == 1
    with pytest.raises(UserError, match="version 1 is the first champion"):
        three.rollback()

    assert three.promote(3).was_withdrawn is False
    assert aliases(three) == {CHAMPION: 3, PREVIOUS: 1}


def test_a_promotion_that_was_cut_off_leaves_a_champion_and_is_healed(
    three: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    three.promote(1)
    with monkeypatch.context() as cut:
        cut.setattr(Registry, "_settle", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            three.promote(2)
    assert aliases(three) == {CHAMPION: 2}

    three.promote(2)

    assert aliases(three) == {CHAMPION: 2, PREVIOUS: 1}


@pytest.mark.long
def test_of_100_promotions_at_once_one_is_champion(three: Registry, tracked_project: Path) -> None:
    def promote(number: int) -> int:
        return Registry(tracked_project, "scenes").promote(number % 3 + 1).number

    with ThreadPoolExecutor(100) as pool:
        assert sorted(pool.map(promote, range(100))) == [1] * 34 + [2] * 33 + [3] * 33

    found = aliases(three)
    champion = three.find(CHAMPION)
    assert champion is not None and champion.tags["replaces"] == str(found[PREVIOUS])
    assert found[CHAMPION] != found[PREVIOUS]


def test_of_many_registrations_and_promotions_at_once_one_is_champion(
    registry: Registry, cascade: Path, tmp_path: Path, tracked_project: Path
) -> None:
    folders = [variant(cascade, tmp_path / str(number), 10 + number) for number in range(3)]

    def register_and_promote(number: int) -> int:
        own = Registry(tracked_project, "scenes")
        return own.promote(own.register(folders[number % 3]).number).number

    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        promoted = list(pool.map(register_and_promote, range(NUM_AT_ONCE)))

    assert [version.number for version in registry.versions()] == [1, 2, 3]
    assert len({version.cascade_sha256 for version in registry.versions()}) == 3
    assert set(promoted) == {1, 2, 3}
    found = aliases(registry)
    assert set(found) == {CHAMPION, PREVIOUS} and found[CHAMPION] != found[PREVIOUS]


def test_what_there_is_not_is_named(three: Registry, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="minimagen-scenes: there is no 7; versions: 1, 2, 3"):
        three.promote(7)
    with pytest.raises(UserError, match="there is no champion; versions: 1, 2, 3"):
        three.load(CHAMPION, tmp_path / "loaded")
