"""Learning by the clock: this project and both peers on the demo's scenes, each with its own recipe, at about equal
parameters.

    python -m benchmarks.learning --marks 2 5 10 30
    python -m benchmarks.learning --systems minimagen --marks 60
    python -m benchmarks.learning --threads 1 --marks 4 10 20 60 --systems ours
    python -m benchmarks.learning --table

Every system gets the same pictures of 16 px and the same token vectors, and draws the same held-out captions at each
mark. Marks are minutes of training by the process's own clock (CPU seconds a thread: drawing is not on it, nor other
work of the machine, so systems may run beside each other). One scorer reads all pictures. Results are lines of a file
and peers keep what they learned at each mark, so the command can be stopped and goes on where it was.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.course import WORK, demo_params
from benchmarks.laboratory import alignment, held_out_positions
from benchmarks.peer_side.learning import DATA_FILE, LearningTask
from benchmarks.peers import PEER_SIDE
from benchmarks.result_lines import append_line, read_lines
from benchmarks.rounds import worker_environment
from benchmarks.scenes_data import SceneSplits, open_scenes
from benchmarks.setup_peers import peer_python
from benchmarks.tables import Cell, Report, describe_machine, show
from minimagen.config import ConfigError
from minimagen.datasets.captioned import CaptionedImages
from minimagen.sources.scene_grammar import Scene

SIZE_PX = 16
OURS = "ours"
SYSTEMS = {
    OURS: "benchmarks.learn_ours",
    "minimagen": "learn_minimagen.py",
    "imagen-pytorch": "learn_imagen_pytorch.py",
}


def write_data(splits: SceneSplits, folder: Path, num_captions: int) -> list[Scene]:
    """Writes what every system learns from and is asked, and returns what the asked captions say."""
    positions = held_out_positions(splits, num_captions)
    tokens, mask = _padded(splits.training, range(len(splits.training)))
    asked_tokens, asked_mask = _padded(splits.held_out, positions)
    pictures = splits.training.pictures
    pixels = np.stack([pictures.picture(position) for position in range(len(pictures))])
    np.savez(
        folder / DATA_FILE, pixels=pixels, tokens=tokens, mask=mask, asked_tokens=asked_tokens, asked_mask=asked_mask
    )
    return [splits.held_out_scenes[position] for position in positions]


def _padded(data: CaptionedImages, positions: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    tokens, mask = data.embeds.padded(positions)
    return tokens.numpy().astype(np.float16), mask.numpy()


def run_system(name: str, task: LearningTask) -> Iterator[Mapping[str, Any]]:
    """Starts one system and yields what it says: itself first, then a line for each mark.

    Raises:
        ConfigError: it died.
    """
    script = SYSTEMS[name]
    program = (
        [str(peer_python()), str(PEER_SIDE / script)] if script.endswith(".py") else [sys.executable, "-m", script]
    )
    with subprocess.Popen(
        [*program, json.dumps(asdict(task))],
        env=worker_environment(task.num_threads),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        raise ConfigError(f"{name} ended with exit status {process.returncode}; its messages stand above")


def measure(
    splits: SceneSplits, name: str, folder: Path, *, marks_s: Sequence[float], num_captions: int, num_threads: int
) -> Iterator[dict[str, Cell]]:
    """Lets a system learn, and yields a row for each of its marks as it comes.

    Args:
        folder: where it keeps what it has learned.
    """
    with tempfile.TemporaryDirectory() as scratch:
        scenes = write_data(splits, Path(scratch), num_captions)
        said = run_system(name, LearningTask(scratch, tuple(marks_s), num_threads, str(folder)))
        facts = next(said)
        for mark in said:
            pixels = np.load(Path(scratch) / mark["file"], allow_pickle=False)
            yield _row(name, facts, mark, alignment(pixels, scenes, splits.drawn), len(scenes))


def _row(
    name: str, facts: Mapping[str, Any], mark: Mapping[str, Any], scores: Mapping[str, float], num_captions: int
) -> dict[str, Cell]:
    attributes = {key: f"{value:.2f}" for key, value in scores.items() if key not in ("joint", "shuffled")}
    return {
        "minutes": mark["mark_s"] / 60,
        "system": name,
        "parameters": facts["num_parameters"],
        "steps": f"{mark['num_steps']} of {facts['batch_size']}",
        "right": f"{round(scores['joint'] * num_captions)} of {num_captions}",
        **attributes,
        "draw, s/picture": mark["draw_s"],
        "trained, s": mark["train_s"],
    }


def read_rows(path: Path) -> list[dict[str, Cell]]:
    """Reads the rows so far, by system and mark; one that an interruption cut short is left out."""
    rows = {(row["minutes"], row["system"]): row for row in read_lines(path)}
    return [rows[key] for key in sorted(rows)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marks", nargs="+", type=float, default=(2, 5, 10, 30), help="minutes of training")
    parser.add_argument("--systems", nargs="+", choices=tuple(SYSTEMS), default=tuple(SYSTEMS))
    parser.add_argument("--captions", type=int, default=24, help="held-out captions drawn at each mark")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, default=WORK / "learning", help="results, and what peers learned")
    parser.add_argument("--table", action="store_true", help="run nothing, show what there is")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    folder = options.folder / f"{options.threads}-threads"
    path = folder / f"results-{options.captions}.jsonl"
    for name in () if options.table else options.systems:
        done = {row["minutes"] for row in read_rows(path) if row["system"] == name}
        marks_s = [60 * mark for mark in sorted(options.marks) if mark not in done]
        if not marks_s:
            continue
        splits = open_scenes(demo_params(), SIZE_PX)
        counts = {"num_captions": options.captions, "num_threads": options.threads}
        for row in measure(splits, name, folder, marks_s=marks_s, **counts):
            append_line(path, row)
            print(row, file=sys.stderr, flush=True)
    title = f"Learning {SIZE_PX} px scenes with {options.threads} threads"
    show(Report(title, read_rows(path), (), machine), options.json)


if __name__ == "__main__":
    main()
