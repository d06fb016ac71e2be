"""Whatever is ingested, killed, damaged, purged, trained and registered in whatever order: a small model foretells it.

The model knows which snapshots were listed and purged, which outs are sound and which contents are registered. What it
says of the bytes: the same history of lists and purges gives the same bytes, whatever was killed or damaged between.
"""

import contextlib
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from minimagen.errors import UserError
from minimagen.saved_model import read_model
from minimagen.sources.candidates import find_plan
from minimagen.sources.tombstones import read_graves
from minimagen.tracking.registry import CHAMPION, PREVIOUS, Registry
from tests.durability import small_world as world
from tests.small_cascade import write_small_cascade
from tests.torture import TellTable, num_times

NUM_RUNS, NUM_STEPS = num_times(4, 200), 30
_BYTES: dict[tuple[str, ...], str] = {}
"""What each history has been seen to end in, over all runs."""
_REAPER = world.Reaper()
_DONE: Counter[str] = Counter()
"""How often what happened, over all runs."""


class Project(RuleBasedStateMachine):
    """A project, and the model of it."""

    cascade: Path
    database: Path

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="world-"))
        self.snapshot = 0
        self.history: tuple[str, ...] = ()
        self.stored: dict[str, set[str]] = {}
        self.purged: set[str] = set()
        self.unfinished_purge: int | None = None
        self.is_raw_done = self.is_curated_done = self.is_trained = False
        self.damaged: set[str] = set()
        self.versions: list[str] = []
        self.champions: list[int] = []

    @initialize()
    def start(self) -> None:
        """Begins with an empty project and an empty database."""
        world.start_world(self.root, self.cascade)
        shutil.copy(self.database, self.root / "mlflow.db")
        self.registry = Registry(self.root, "tmdb")

    # The operations of the model.

    def _listed(self) -> None:
        """The plan of the current snapshot has been written."""
        name = world.day_of(self.snapshot)
        known = {key for keys in self.stored.values() for key in keys}
        new = {key for key in world.keys_of(self.snapshot) if world.is_stored(key)} - known - self.purged
        self.stored[name] = new
        self.history = (*self.history, f"list {name}")

    def _emptied(self, before: int) -> None:
        """All older snapshots are purged; what they listed will not come back."""
        old = [name for name in self.stored if name < world.day_of(before)]
        have_rows = [name for name in old if f"{name} emptied" not in self.history]
        if have_rows:
            _DONE["purged"] += 1
            for name in old:
                number = next(n for n in range(1000) if world.day_of(n) == name)
                self.purged |= set(world.keys_of(number))
                self.stored[name] = set()
            self.history = (*self.history, *(f"{name} emptied" for name in have_rows))

    def _is_listed(self) -> bool:
        section = world.params_of(world.day_of(self.snapshot)).ingest.tmdb
        assert section is not None
        shape = section.model_dump(mode="json")
        return find_plan(self.root / world.RAW, world.day_of(self.snapshot), shape) is not None

    def _expected_keys(self) -> set[str]:
        return {key for keys in self.stored.values() for key in keys}

    # What is done to the project.

    @rule(is_new=st.booleans())
    def ingest(self, is_new: bool) -> None:
        """Takes a snapshot, a new one or the last one again."""
        if is_new and self._is_listed():
            self.snapshot += 1
        self._ingest()

    def _ingest(self) -> None:
        if self.unfinished_purge is not None:
            with pytest.raises(UserError, match="a purge was interrupted"):
                world.run_world_ingest(self.root, self.snapshot)
            return
        was_listed = self._is_listed()
        if not was_listed:
            self._listed()
        self.is_raw_done = False
        _DONE["ingested"] += 1
        if self._expected_keys():
            world.run_world_ingest(self.root, self.snapshot)
        else:
            with pytest.raises(UserError, match="could be stored"):
                world.run_world_ingest(self.root, self.snapshot)
        self.is_raw_done = True
        self.damaged -= {"raw", "records"}

    @rule(before=st.sampled_from([1, 2, 2, 3, 3, 4]))
    def purge(self, before: int) -> None:
        """Deletes the snapshots before one of the last ones, or finishes what a killed purge began."""
        if self.damaged & {"raw", "records"}:
            self._ingest()
        self._purge(max(0, self.snapshot + 2 - before))

    def _purge(self, day: int) -> None:
        world.run_world_purge(self.root, day)
        self._emptied(max(day, self.unfinished_purge or 0))
        if self.unfinished_purge is not None:
            self.is_raw_done = (self.root / world.RAW / "manifest.json").exists()
        self.unfinished_purge = None

    @rule()
    def curate(self) -> None:
        """Runs stage curate, which refuses what is not whole."""
        is_ready = self.is_raw_done and "raw" not in self.damaged and len(self._expected_keys()) > 1
        with contextlib.nullcontext() if is_ready else pytest.raises(ValueError):
            world.run_world_curate(self.root, self.snapshot)
        _DONE["curated" if is_ready else "curation refused"] += 1
        if is_ready:
            self.is_curated_done = True
            self.damaged -= {"curated"}

    @rule()
    def train(self) -> None:
        """Trains on the curated data as they are, or refuses."""
        is_ready = self.is_curated_done and "curated" not in self.damaged
        with contextlib.nullcontext() if is_ready else pytest.raises(ValueError):
            world.run_world_train(self.root, self.cascade)
        _DONE["trained" if is_ready else "training refused"] += 1
        if is_ready:
            self.is_trained = True
            self.damaged -= {"models"}

    @rule()
    def repro(self) -> None:
        """Does all stages; what they end in is told by the history alone."""
        if self.unfinished_purge is not None:
            self._purge(0)
        self._ingest()
        if len(self._expected_keys()) < 2:
            return
        self.curate()
        self.train()
        assert world.keys_in(self.root) == self._expected_keys()
        _DONE["bytes as foretold"] += self.history in _BYTES
        seen = _BYTES.setdefault(self.history, world.summary_of(self.root))
        assert world.summary_of(self.root) == seen, f"another end of {self.history}"

    @rule(stage=st.sampled_from(["ingest", "purge", "curate", "train"]), after=st.integers(0, 40))
    def kill(self, stage: str, after: int) -> None:
        """Lets a stage die at one of its changes of the disk; what was damaged before is not told from what it left."""
        own = {"ingest": {"raw", "records"}, "purge": {"raw", "records"}, "curate": {"curated"}, "train": {"models"}}
        if self.damaged & own[stage]:
            return
        day = self.snapshot
        with _REAPER.dying(self.root, after), contextlib.suppress(UserError, ValueError):
            if stage == "ingest":
                world.run_world_ingest(self.root, self.snapshot)
            elif stage == "purge":
                world.run_world_purge(self.root, day)
            elif stage == "curate":
                world.run_world_curate(self.root, self.snapshot)
            elif stage == "train":
                world.run_world_train(self.root, self.cascade)
        _DONE[f"{stage} killed"] += _REAPER.has_killed
        self._look_after_kill(stage, day)

    def _look_after_kill(self, stage: str, day: int) -> None:
        """Takes from the disk only how far the operation came; what that means is the model's."""
        if stage == "ingest":
            if self.unfinished_purge is None and self._is_listed() and world.day_of(self.snapshot) not in self.stored:
                self._listed()
            if self.unfinished_purge is None:
                self.is_raw_done = (self.root / world.RAW / "manifest.json").exists()
        elif stage == "purge":
            if read_graves(self.root / world.RAW).unfinished is not None:
                self.unfinished_purge = max(day, self.unfinished_purge or 0)
                self.is_raw_done = False
            elif not _REAPER.has_killed:
                self._emptied(max(day, self.unfinished_purge or 0))
                self.is_raw_done = self.is_raw_done or (
                    self.unfinished_purge is not None and (self.root / world.RAW / "manifest.json").exists()
                )
                self.unfinished_purge = None
        elif stage == "curate":
            self.is_curated_done = (self.root / world.CURATED / "manifest.json").exists()
        elif stage == "train":
            self.is_trained = all(
                (self.root / f"data/models/{name}/MANIFEST.json").exists() for name in ("base", "super")
            )

    @rule(what=st.sampled_from(sorted(world.PARTS)), seed=st.integers(0, 2**32))
    def corrupt(self, what: str, seed: int) -> None:
        """Flips a bit of a part or cuts it; lists and tombstones are nobody's to make again."""
        draws = random.Random(seed)
        paths = [path for pattern in world.PARTS[what] for path in sorted((self.root / "data").glob(pattern))]
        paths = [path for path in paths if ".tmp-" not in str(path)]
        if paths and what not in self.damaged and self.unfinished_purge is None:
            world.corrupt(draws.choice(paths), draws)
            _DONE[f"{what} damaged"] += 1
            self.damaged.add(what)

    @precondition(lambda self: self.is_trained)
    @rule()
    def register(self) -> None:
        """Registers the cascade and makes it the champion; what is not whole or does not fit is refused."""
        _DONE["registration refused" if "models" in self.damaged else "registered"] += 1
        if "models" in self.damaged:
            with pytest.raises(ValueError):
                self.registry.register(self.root / "data")
            return
        content = self._content()
        number = self.registry.register(self.root / "data").number
        if content not in self.versions:
            self.versions.append(content)
        assert number == self.versions.index(content) + 1
        self.registry.promote(number)
        if not self.champions or self.champions[-1] != number:
            self.champions.append(number)
        self._check_champion()

    def _content(self) -> str:
        """What tells cascades apart here: the data that each of their networks names."""
        return " ".join(read_model(self.root / "data/models" / name).record.data_sha256 for name in ("base", "super"))

    def _check_champion(self) -> None:
        champion, previous = self.registry.find(CHAMPION), self.registry.find(PREVIOUS)
        assert champion is not None and champion.number == self.champions[-1]
        assert (previous.number if previous else None) == (self.champions[-2] if len(self.champions) > 1 else None)

    def teardown(self) -> None:
        """Removes the project."""
        shutil.rmtree(self.root)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cascade to copy weights from and an empty database, once for all runs."""
    root = tmp_path_factory.mktemp("prepared")
    Project.cascade = write_small_cascade(root / "cascade")
    assert Registry(root, "tmdb").versions() == []
    Project.database = root / "mlflow.db"


@pytest.mark.timeout(600 + 20 * NUM_RUNS)
@pytest.mark.usefixtures("prepared")
def test_a_small_model_foretells_whatever_is_done_to_a_project(
    monkeypatch: pytest.MonkeyPatch, tell_table: TellTable
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # a kill, unlike a power cut, leaves what was written
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
    run_state_machine_as_test(
        Project,
        settings=settings(
            max_examples=NUM_RUNS,
            stateful_step_count=NUM_STEPS,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
    tell_table(f"{NUM_RUNS} runs of {NUM_STEPS} steps", [("what", "times"), *_DONE.items()])
