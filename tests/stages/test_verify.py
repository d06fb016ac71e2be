"""Whatever bit flips in a finished project is found, and what is named as its cure cures it."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimagen.dvc_record import files_of, open_cache, read_outs
from minimagen.stages.verify import Verdict, run_verify, verify
from tests.stages.finished_project import make_finished_project, shell
from tests.stages.tiny_project import CHECKOUT
from tests.torture import TORTURE, num_times

NUM_FLIPS = num_times(100, 1000)
FLIPS_AT_ONCE = 10
OBJECTS = ".dvc/cache/files/md5"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished project, to be left as it was found."""
    return make_finished_project(tmp_path_factory.mktemp("finished") / "project")


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of it; DVC remembers files by their times, so these are kept."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


def kept_files(root: Path) -> list[Path]:
    """Returns every file that holds results, and every object of DVC's cache."""
    places = ("data/[!a]*", OBJECTS, "runs/train/*/states", "runs/train/*/snapshots", "runs/*/*/journal.jsonl")
    tops = [top for place in places for top in root.glob(place)]
    return sorted(path for top in tops for path in [top, *top.rglob("*")] if path.is_file() and path.stat().st_size)


def flip(path: Path, rng: random.Random) -> None:
    """Flips one bit of a file; an object of DVC's cache stays read-only."""
    content, mode = bytearray(path.read_bytes()), path.stat().st_mode
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


@contextmanager
def kept(paths: Sequence[Path]) -> Iterator[None]:
    """Puts files back as they were, however the block ends."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def named(verdict: Verdict) -> set[str]:
    return {damage.file for damage in verdict.damaged}


def covered(path: Path, root: Path, files: set[str]) -> bool:
    """Whether a file, the folder of a stage that it belongs to, or the seal that would tell of it is named."""
    own = path.relative_to(root)
    return any(str(place) in files for place in (own, *own.parents, own.parent / "MANIFEST.json"))


def test_a_finished_project_is_whole_and_every_file_of_it_has_a_hash(finished: Path) -> None:
    verdict = verify(finished)
    assert (named(verdict), verdict.unrecorded) == (set(), ())
    assert verdict.num_files >= len(kept_files(finished)) > 80


def test_every_flipped_bit_is_found_and_nothing_else(finished: Path) -> None:
    rng, files = random.Random(0), kept_files(finished)
    for _ in range(NUM_FLIPS // FLIPS_AT_ONCE):
        flipped = rng.sample(files, FLIPS_AT_ONCE)
        with kept(flipped):
            for path in flipped:
                flip(path, rng)
            found = named(verify(finished))
        assert [path for path in flipped if not covered(path, finished, found)] == []
        assert [file for file in found if (finished / file).is_file() and finished / file not in flipped] == []
    assert named(verify(finished)) == set()


@dataclass(frozen=True, slots=True)
class Case:
    """Files that decay together, as patterns, and a word of the command that mends the first."""

    files: Sequence[str]
    word: str
    is_quick: bool = False

    def __str__(self) -> str:
        return f"{self.files[0]} {self.word}"


CASES = (
    Case(["data/models/base/model.safetensors"], "dvc checkout --force data/models/base", is_quick=True),
    Case(["data/checkpoints/super/curves.csv"], "dvc checkout --force data/checkpoints/super"),
    Case(["data/raw/scenes/manifest.json"], "dvc checkout --force data/raw/scenes"),
    Case(["data/eval/metrics.json"], "git checkout data/eval/metrics.json || dvc repro"),
    Case([f"{OBJECTS}/of/data/embeddings/null.safetensors"], "dvc commit --force embed", is_quick=True),
    Case([f"{OBJECTS}/of/data/curated"], "dvc commit --force curate"),
    Case(["data/text_encoder/spiece.model", f"{OBJECTS}/of/data/text_encoder/spiece.model"], "dvc repro"),
    Case(["data/raw/scenes/shards/*.parquet", f"{OBJECTS}/of/data/raw/scenes/shards/*.parquet"], "dvc repro"),
    Case(["data/models/super/config.json", f"{OBJECTS}/of/data/models/super/config.json"], "dvc repro"),
    Case(["runs/train/base-*/states/step-00000012/weights.safetensors"], "rm -r runs/train/base-"),
)


def paths_of(root: Path, pattern: str) -> Iterator[Path]:
    """Yields the files of a pattern; "<cache>/of/<path>" is the object of a file, or of an out's list of files."""
    place = pattern.removeprefix(f"{OBJECTS}/of/")
    for path in root.glob(place):
        yield path if place == pattern else object_of(root, path)


def object_of(root: Path, path: Path) -> Path:
    """Returns the object of a file or of a folder's list, as dvc.lock and the lists name it."""
    cache, outs = open_cache(root), read_outs(root)
    md5s = {root / file: md5 for out in outs for file, md5 in (files_of(out, cache) or {}).items()}
    return cache.path(({root / out.path: out.md5 for out in outs} | md5s)[path])


@pytest.mark.parametrize("case", [case for case in CASES if case.is_quick or TORTURE], ids=str)
def test_the_command_that_is_named_mends_it(project: Path, case: Case) -> None:
    decayed = [path for pattern in case.files for path in paths_of(project, pattern)]
    before = {path: path.read_bytes() for path in decayed}
    for path in decayed:
        flip(path, random.Random(1))
    mends = {damage.file: damage.mend for damage in verify(project).damaged}
    assert mends.keys() == {str(path.relative_to(project)) for path in decayed}
    assert case.word in mends[str(decayed[0].relative_to(project))]

    shell(project, mends[str(decayed[0].relative_to(project))])

    verdict = verify(project)
    assert verdict.damaged == ()
    for path, content in before.items():
        assert "states" in path.parts or path.read_bytes() == content


@pytest.mark.skipif(not TORTURE, reason="takes DVC some seconds; make torture-ci runs it")
def test_what_a_remote_holds_is_fetched(project: Path) -> None:
    shell(project, "dvc push")
    model = project / "data/models/base/model.safetensors"
    before = model.read_bytes()
    for path in (object_of(project, model), model):
        flip(path, random.Random(2))

    said = shell(project, verify(project).damaged[-1].mend).stdout

    assert "Running stage" not in said
    assert model.read_bytes() == before
    assert verify(project).damaged == ()


def test_what_is_damaged_is_never_committed(project: Path) -> None:
    """An out of one stage has lost its object, another out of it is damaged: `dvc commit` would take both."""
    flip(object_of(project, project / "data/models/base/config.json"), random.Random(6))
    flip(project / "data/checkpoints/base/curves.csv", random.Random(7))
    mends = [damage.mend for damage in verify(project).damaged]
    assert len(mends) == 2
    assert not any("dvc commit" in mend for mend in mends)


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("data/raw/scenes/shards/s1-00000.parquet", "minimagen ingest scenes"),
        ("data/models/base/config.json", "minimagen train base"),
        ("data/embeddings/null.safetensors", "minimagen embed"),
    ],
)
def test_without_dvc_the_stage_is_named(project: Path, file: str, command: str) -> None:
    shutil.rmtree(project / ".dvc")
    (project / "dvc.lock").unlink()
    (path,) = project.glob(file.replace("s1", "*"))
    flip(path, random.Random(3))

    (damage,) = verify(project).damaged

    assert damage.file == str(path.relative_to(project))
    assert damage.mend == f"rm -f {damage.file} && {command}"


def test_without_dvc_what_nothing_keeps_a_hash_of_is_told(project: Path) -> None:
    (project / "dvc.lock").unlink()
    assert "data/checkpoints/base/curves.csv" in verify(project).unrecorded


def test_a_folder_whose_list_is_lost_is_told_by_what_is_there(project: Path) -> None:
    for path in (project / OBJECTS).glob("*/*.dir"):
        path.unlink()
    assert (named(verify(project)), verify(project).unrecorded) == (set(), ())
    flip(project / "data/checkpoints/base/curves.csv", random.Random(8))
    assert named(verify(project)) == {"data/checkpoints/base"}


def test_a_damaged_record_accuses_no_other_file_though_the_list_of_their_folder_is_lost_as_well(project: Path) -> None:
    (out,) = (out for out in read_outs(project) if out.path == Path("data/text_encoder"))
    flip(open_cache(project).path(out.md5), random.Random(9))
    record = project / "data/text_encoder/encoder.json"
    sha256 = json.loads(record.read_text())["sha256s"]["config.json"]
    record.write_text(record.read_text().replace(sha256, f"{sha256[:-1]}$"))

    of_the_folder = {file for file in named(verify(project)) if file.startswith("data/")}

    assert of_the_folder == {"data/text_encoder"}


def test_a_file_that_is_gone_or_too_many_is_told(project: Path) -> None:
    (project / "data/eval/scores.json").unlink()
    (project / "data/models/base/pickle.bin").touch()
    assert {damage.file: damage.found for damage in verify(project).damaged} == {
        "data/eval/scores.json": "missing",
        "data/models/base/pickle.bin": "there",
    }


def test_a_damaged_lock_is_told_and_the_rest_is_looked_at(project: Path) -> None:
    (project / "dvc.lock").write_text("stages: [")
    flip(project / "data/models/base/config.json", random.Random(4))
    assert named(verify(project)) == {"dvc.lock", "data/models/base/config.json"}


def test_for_programs_it_is_json_and_the_exit_code_tells(
    finished: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verify(finished, as_json=True).damaged == ()
    assert json.loads(capsys.readouterr().out)["damaged"] == []
    flip(project / "data/models/base/config.json", random.Random(5))
    result = subprocess.run(
        [sys.executable, "-m", "minimagen.cli", "verify"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "damaged: data/models/base/config.json" in result.stdout
    assert "mend      rm -f data/models/base/config.json && dvc checkout --force data/models/base" in result.stdout
