import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.errors import CrashLoopError, MissingFileError, UserError
from minimagen.exit_codes import tell_errors
from minimagen.experiments import DEMO, apply_experiment
from minimagen.stages.run_lock import run_lock
from minimagen.tracking.lock import LockedError
from minimagen.training.faults import TrainingDiverged
from tests.faulty_disk import refuse

HEAVY = ("torch", "transformers", "mlflow", "pandas", "pyarrow", "pydantic")
PROGRAM = """
import sys
from minimagen.cli import main
try:
    main()
finally:
    print("LOADED", *({heavy!r} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.fixture
def project(tmp_path: Path, checkout: Path) -> Path:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "demo.yaml").write_text((checkout / "experiments" / "demo.yaml").read_text())
    (tmp_path / "experiments" / "base-only.yaml").write_text("# The base alone.\ncascade: [base]\n")
    apply_experiment(tmp_path, DEMO, is_forced=False)
    return tmp_path


def run(project: Path, checkout: Path, *arguments: str) -> tuple[int, str, list[str], set[str]]:
    """Returns the exit code, standard output, the lines of standard error, and which heavy packages were loaded."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=set(HEAVY)), *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(checkout), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    *lines, loaded = result.stderr.splitlines()
    return result.returncode, result.stdout, lines, set(loaded.split()[1:])


def test_help_loads_nothing_heavy(tmp_path: Path, checkout: Path) -> None:
    code, output, _, loaded = run(tmp_path, checkout, "--help")
    assert code == 0
    assert "text-encoder" in output
    assert loaded == set()


@pytest.mark.parametrize(
    "command", [["ingest", "scenes"], ["curate"], ["text-encoder"], ["embed"], ["train", "base"], ["evaluate"]]
)
def test_bad_parameters_are_told_before_torch_is_loaded(project: Path, checkout: Path, command: list[str]) -> None:
    path = project / "params.yaml"
    text = re.sub(r"val_fraction: \S+", "val_fraction: 2", path.read_text())
    path.write_text(re.sub(r" dim: \d+", " dim: 20", text, count=1))

    code, _, lines, loaded = run(project, checkout, *command)

    assert code == 2
    assert sorted(lines) == [
        "params.yaml: curate.val_fraction: Input should be less than 1, not 2",
        "params.yaml: unets.base.unet: dim 20 is not a multiple of 8 (group norm has 8 groups)",
    ]
    assert loaded == {"pydantic"}


def test_missing_parameters_are_one_line(tmp_path: Path, checkout: Path) -> None:
    code, _, lines, _ = run(tmp_path, checkout, "curate")
    assert (code, lines) == (2, ["params.yaml: no such file (the working directory is the project)"])


def test_unknown_unet_names_the_known_ones(project: Path, checkout: Path) -> None:
    code, _, lines, loaded = run(project, checkout, "train", "nosuch")
    assert (code, lines) == (2, ["params.yaml: cascade: 'nosuch' is not listed; known: base, super"])
    assert "torch" not in loaded


def test_unknown_source_names_the_known_ones(project: Path, checkout: Path) -> None:
    code, _, lines, _ = run(project, checkout, "ingest", "nosuch")
    assert (code, lines) == (2, ["params.yaml: sources: 'nosuch' is not listed; known: scenes"])


def test_experiments_are_listed_with_a_star_at_the_active_one(project: Path, checkout: Path) -> None:
    code, output, _, _ = run(project, checkout, "experiment", "list")
    assert code == 0
    assert output.splitlines()[0].startswith("* demo ")
    assert output.splitlines()[1] == "  base-only               The base alone."


def test_experiment_is_applied_and_edits_are_refused(project: Path, checkout: Path) -> None:
    (project / "data/models/super").mkdir(parents=True)
    code, output, _, _ = run(project, checkout, "experiment", "apply", "base-only")
    assert (code, output.splitlines()) == (
        0,
        ["params.yaml is experiment base-only", "set aside  data/models/super -> runs/parked/"],
    )

    path = project / "params.yaml"
    path.write_text(re.sub(r"batch_tokens: \d+", "batch_tokens: 77", path.read_text()))
    code, _, lines, _ = run(project, checkout, "experiment", "apply", "demo")
    assert code == 2
    assert lines[0].startswith("params.yaml: has edits of its own")
    assert run(project, checkout, "experiment", "apply", "demo", "--force")[0] == 0


def test_inspect_counts_an_experiment_for_programs(project: Path, checkout: Path) -> None:
    code, output, _, _ = run(project, checkout, "inspect", "base-only", "--json")
    assert code == 0
    costs = json.loads(output)
    assert set(costs["unets"]) == {"base"}
    assert costs["total_parameters"] == costs["unets"]["base"]["num_parameters"] > 0


def test_sample_without_a_cascade_says_what_makes_one(tmp_path: Path, checkout: Path) -> None:
    code, _, lines, _ = run(tmp_path, checkout, "sample", "a red apple")
    assert code == 2
    assert lines == ["data/cascade.json: no such file; `dvc repro` makes one, and it comes with an exported cascade"]


def test_defect_keeps_its_traceback(project: Path, checkout: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "ruamel" / "yaml"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("int('a defect')\n")
    result = subprocess.run(
        [sys.executable, "-c", "from minimagen.cli import main; main()", "curate"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), str(checkout)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith("ValueError: invalid literal for int() with base 10: 'a defect'\n")


def test_what_another_process_is_at_work_on_is_a_line_and_exit_code_75(project: Path, checkout: Path) -> None:
    with run_lock(project / "runs/train/base.lock"):
        code, _, lines, _ = run(project, checkout, "train", "base")

    assert (code, lines) == (75, [f"{project}/runs/train/base.lock: held by process {os.getpid()}"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("a.yaml: key: 3, expected 4\na.yaml: other: missing"), 2),
        (MissingFileError("data/cascade.json: no such file"), 2),
        (TrainingDiverged(7, "the loss is not finite", ["folder:3", "folder:5"]), 2),
        (LockedError("runs/a.lock: held by another process"), 75),
        (CrashLoopError("step 5 has failed 3 times in a row"), 70),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 74),
        (OSError(errno.EROFS, "Read-only file system", "runs/a"), 74),
    ],
)
def test_errors_for_users_are_their_lines_and_a_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        tell_errors(fail)

    assert ended.value.code == code
    assert capsys.readouterr().err == f"{error}\n"


def test_a_training_that_diverged_names_step_samples_and_what_to_do() -> None:
    error = TrainingDiverged(7, "the loss is not finite", [f"folder:{number}" for number in range(20)])

    assert str(error).startswith("step 7: the loss is not finite; samples folder:0, folder:1, ")
    assert "and 12 more: lower training.learning_rate or lengthen warmup_steps" in str(error)


def test_errors_that_no_user_can_mend_are_not_hidden() -> None:
    with pytest.raises(ValueError, match="a defect"):
        tell_errors(lambda: int("a defect"))
    with pytest.raises(ConnectionRefusedError):
        tell_errors(lambda: refuse(errno.ECONNREFUSED))


@pytest.mark.parametrize(("own", "expected"), [(None, "2000"), ("7", "7")])
def test_threads_do_not_spin_for_long_unless_somebody_wants_it(
    own: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if own is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", own)
    script = "import os, sys, minimagen.cli; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert said.split() == [expected, "False"]
