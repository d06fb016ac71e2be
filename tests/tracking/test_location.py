"""Tracking goes to an absolute place, the environment's before the project's."""

from pathlib import Path

import pytest

from minimagen.tracking.location import artifact_location, is_tracking_on, place_name, project_root, tracking_uri


def test_the_default_is_a_database_in_the_project(project: Path) -> None:
    assert tracking_uri(project) == f"sqlite:///{project}/mlflow.db"
    assert artifact_location(project) == (project / "mlruns").as_uri()


def test_a_relative_project_gets_an_absolute_address(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    assert tracking_uri(Path()) == f"sqlite:///{project}/mlflow.db"
    assert project_root() == project


def test_the_environment_wins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")

    assert tracking_uri(project) == "http://127.0.0.1:5000"
    assert artifact_location(project) is None


def test_files_lie_beside_any_sqlite_database(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/elsewhere/runs.db")

    assert artifact_location(project) == (project / "elsewhere" / "mlruns").as_uri()


def test_dvcs_repository_is_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(project))

    assert project_root(Path("/somewhere/else")) == project


def test_the_name_of_a_place_reveals_no_password(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = place_name()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:5000")

    assert default == "project"
    assert place_name() != default
    assert "secret" not in place_name()


@pytest.mark.parametrize(("value", "expected"), [("off", False), ("OFF", False), ("on", True), ("", True)])
def test_tracking_is_on_unless_it_says_off(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_TRACKING", value)

    assert is_tracking_on() is expected
