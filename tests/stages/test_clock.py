"""The clock on the wall may say anything, and jump: no out depends on it, and no duration is measured by it."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimagen.journal import Journal
from minimagen.stages.curate import run_curate
from minimagen.stages.ingest import run_ingest
from minimagen.stages.train import run_train
from tests.contents import files_below
from tests.stages.folder_project import params_of, write_folder
from tests.stages.tiny_project import outs_of, run_folder, tiny_params, write_tiny_data

AN_HOUR_S = 3600.0


def backwards() -> Iterator[float]:
    return itertools.count(2e9, -AN_HOUR_S)


CLOCKS = {
    "1970": lambda: itertools.repeat(0.0),
    "after 2038": lambda: itertools.count(2.0**31, 1.0),
    "an hour back at every look": backwards,
}


@pytest.fixture(params=CLOCKS)
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Sets the clock on the wall."""
    looks = CLOCKS[request.param]()
    monkeypatch.setattr(time, "time", lambda: next(looks))
    defaults = Journal.open.__func__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "clock", time.time)
    return time.time


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the data stages write by an honest clock."""
    root = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
        return written_by_data_stages(root)


def written_by_data_stages(root: Path) -> dict[str, str]:
    write_folder(root)
    run_ingest(params_of(), "folder", root)
    run_curate(params_of(), root)
    return files_below(root / "data")


@pytest.mark.usefixtures("clock")
def test_data_are_the_same_by_any_clock(data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
    assert written_by_data_stages(tmp_path) == data


@pytest.mark.usefixtures("clock")
def test_a_training_is_the_same_by_any_clock(trained: Path, tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    run_train(tiny_params(), "base", tmp_path)
    assert outs_of(tmp_path) == outs_of(trained)
    assert '"train_s": 0.0' not in (run_folder(tmp_path) / "timings.json").read_text()
