"""However a save is cut short, by a kill at any call or by a power cut, no step that was saved before is lost."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minimagen.files import make_folder
from minimagen.journal import Journal, read_journal
from minimagen.training.checkpoint import Beside, load_newest, save_state
from minimagen.training.loop import TrainState, train
from tests.faulty_disk import Call, Handler, dying, intercepted, listed
from tests.power_loss import Disk, Folder
from tests.torture import TellTable, num_times
from tests.training.saved import assert_same, everything
from tests.training.small import CPU, cpu_accelerator, small_config, small_state, small_task

pytestmark = pytest.mark.timeout(3600)
NUM_STEPS, SAVE_EVERY = 8, 2
RUN = Path("runs/train/base")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_to_the_end(root: Path, saved: list[int]) -> None:
    """Trains from the newest state on, saves every second step, and lists each step whose save has returned."""
    config = small_config(num_steps=NUM_STEPS)
    state = small_state(config)
    make_folder(root / RUN)
    with Journal.open(root / RUN / "journal.jsonl", clock=lambda: 0.0) as journal:
        load_newest(root / RUN / "states", state, scaler=None, device=CPU)
        journal.rewind(state.step)
        steps = train(state, small_task(config), config=config, num_steps=NUM_STEPS, accelerator=cpu_accelerator())
        for report in steps:
            journal.append("metric", report.step, {"loss": report.loss})
            if report.step % SAVE_EVERY == 0:
                journal.sync()
                save_state(root / RUN / "states", state, scaler=None, beside=Beside(), device=CPU)
                saved.append(report.step)


def expected_states() -> dict[int, dict[str, torch.Tensor]]:
    config = small_config(num_steps=NUM_STEPS)
    state = small_state(config)
    steps = train(state, small_task(config), config=config, num_steps=NUM_STEPS, accelerator=cpu_accelerator())
    return {report.step: everything(state) for report in steps}


def check_nothing_is_lost(root: Path, num_saved: int, expected: dict[int, dict[str, torch.Tensor]]) -> int:
    """Loads what is left, compares it bit by bit, and returns its step."""
    state = small_state(small_config(num_steps=NUM_STEPS))
    resumed = load_newest(root / RUN / "states", state, scaler=None, device=CPU)
    step = 0 if resumed is None else resumed.step
    assert step >= num_saved
    assert not list(root.glob("**/states/*.tmp-*"))
    if step:
        assert_same(everything(state), expected[step])
        with Journal.open(root / RUN / "journal.jsonl") as journal:
            journal.rewind(step)
        found = [entry.step for entry in read_journal(root / RUN / "journal.jsonl") if entry.kind == "metric"]
        assert found == list(range(1, step + 1))
    return step


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the states after steps 4 and 6, to be copied."""
    root = tmp_path_factory.mktemp("before")
    for step in (2, 4, 6):
        config = small_config(num_steps=step, decay="constant")
        state = small_state(config)
        list(train(state, small_task(config), config=config, num_steps=step, accelerator=cpu_accelerator()))
        save(root, state)
    return root


def save(root: Path, state: TrainState) -> None:
    save_state(root / "states", state, scaler=None, beside=Beside(), device=CPU)


def load(root: Path) -> TrainState:
    state = small_state(small_config())
    assert load_newest(root / "states", state, scaler=None, device=CPU) is not None
    return state


def saved_in_a_fork(root: Path, handler: Handler) -> int:
    """Saves the newest state as that of step 8 in a process of its own, and returns how that ended."""
    child = os.fork()
    if child == 0:
        state = load(root)
        state.step = 8
        with intercepted(handler):
            save(root, state)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_save_killed_at_every_call_and_inside_every_write_loses_no_step(
    before: Path, tmp_path: Path, tell_table: TellTable
) -> None:
    calls: list[str] = []
    shutil.copytree(before, tmp_path / "counted")
    state = load(tmp_path / "counted")
    expected, state.step = everything(state), 8
    with intercepted(listed(calls)):
        save(tmp_path / "counted", state)
    kills = [(number, False) for number in range(len(calls))]
    kills += [(number, True) for number, name in enumerate(calls) if name == "write"]
    found: list[int] = []

    for number, is_torn in kills:
        root = Path(shutil.copytree(before, tmp_path / f"{number}-{is_torn}"))
        assert saved_in_a_fork(root, dying(number, is_torn=is_torn)) == -signal.SIGKILL
        state = load(root)
        found.append(state.step)
        assert_same(everything(state), expected)
        assert len(list((root / "states").iterdir())) - len(list((root / "states").glob("step-????????"))) == 0
        shutil.rmtree(root)

    assert set(found) == {6, 8}
    rows = [("kills", "older state taken", "newer state taken", "states lost")]
    tell_table(
        "A save, killed at each call that changes the disk", [*rows, (len(found), found.count(6), found.count(8), 0)]
    )


def test_a_power_cut_at_any_call_loses_no_step(tmp_path: Path, tell_table: TellTable) -> None:
    root, saved, chance = tmp_path / "disk", list[int](), random.Random(0)
    root.mkdir()
    disk, cuts = Disk(root), list[tuple[int, Folder]]()

    def follow(call: Call) -> object:
        answer = disk(call)
        cuts.append((max(saved, default=0), disk.snapshot()))
        return answer

    with intercepted(follow):
        run_to_the_end(root, saved)
    expected, found = expected_states(), list[int]()

    for number in range(num_times(150, 1000)):
        num_saved, left = cuts[number % len(cuts)] if number < len(cuts) else chance.choice(cuts)
        folder = tmp_path / str(number)
        folder.mkdir()
        left.write_after_power_loss(folder, chance)
        found.append(check_nothing_is_lost(folder, num_saved, expected) - num_saved)
        shutil.rmtree(folder)

    rows = [("cuts", "at calls", "went on from the last saved", "from a newer one", "steps lost")]
    counts = (len(found), len(cuts), found.count(0), sum(more > 0 for more in found), sum(more < 0 for more in found))
    tell_table("A run of four saves, power cut at any call", [*rows, counts])
    assert saved == [2, 4, 6, 8]
