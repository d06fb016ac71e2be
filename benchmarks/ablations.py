"""Ablations on the demo's scenes: every arm with the same steps, several seeds each, scored on held-out captions.

    python -m benchmarks.ablations --seeds 0 1 2 --steps 1000
    python -m benchmarks.ablations --arms target weighting
    python -m benchmarks.ablations --table

Results are lines of a file and trained weights lie beside it, so the command can be stopped and goes on where it was.
Differences are to the reference with the same seed: same first weights, same order of pictures, same noise.
"""

import argparse
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from benchmarks.arms import ARMS, BASE, SUPER, SUPER_PX, Arm, reference_of
from benchmarks.course import WORK, demo_params
from benchmarks.intervals import mean_interval
from benchmarks.laboratory import (
    Scores,
    Trained,
    alignment,
    draw,
    gain_over_bicubic,
    held_out_positions,
    open_cascade,
    train_or_read,
)
from benchmarks.result_lines import append_line, read_lines
from benchmarks.scenes_data import SceneSplits, open_scenes
from benchmarks.tables import Cell, Report, show
from minimagen.config import Params
from minimagen.files import canonical_json, sha256_bytes

JOINT, GAIN = "joint", "gain_db"


@dataclass(frozen=True, slots=True)
class Result:
    """One arm with one seed."""

    arm: str
    unet: str
    seed: int
    num_steps: int
    num_captions: int
    scores: Scores
    train_cpu_s: float
    """0 where weights were there already."""
    draw_cpu_s: float

    @property
    def key(self) -> tuple[str, str, int]:
        """What a result is the result of."""
        return (self.unet, self.arm, self.seed)


class Bench:
    """Data and trained weights of a set of ablations; each is made when it is first asked for.

    Args:
        num_scenes: None is the whole demo.
    """

    def __init__(
        self,
        folder: Path,
        *,
        num_steps: int,
        num_captions: int,
        num_scenes: int | None = None,
        params: Params | None = None,
    ) -> None:
        self.params = params or demo_params()
        self.folder = folder
        self.num_steps, self.num_captions, self._num_scenes = num_steps, num_captions, num_scenes

    @cached_property
    def base_splits(self) -> SceneSplits:
        """The scenes at the base U-Net's size."""
        return open_scenes(self.params, self.params.unets[BASE].image_size, num_scenes=self._num_scenes)

    @cached_property
    def super_splits(self) -> SceneSplits:
        """The same scenes at the super-resolution U-Net's size."""
        return open_scenes(self.params, SUPER_PX, num_scenes=self._num_scenes)

    def trained(self, arm: Arm, seed: int) -> Trained:
        """Returns an arm's weights."""
        section = arm.section(self.params, seed)
        folder = self.model_folder(arm, seed)
        splits = self.base_splits if arm.unet == BASE else self.super_splits
        return train_or_read(folder, section, splits.training, name=arm.unet, num_steps=self.num_steps)

    def model_folder(self, arm: Arm, seed: int) -> Path:
        """Returns where an arm's weights lie; arms that train alike share them."""
        section = arm.section(self.params, seed)
        identity = canonical_json([section.model_dump(mode="json"), self.num_steps, self._num_scenes])
        return self.folder / "models" / f"{arm.unet}-{sha256_bytes(identity.encode())[:16]}"

    def run(self, arm: Arm, seed: int) -> Result:
        """Trains, draws and scores one arm."""
        trained = self.trained(arm, seed)
        started_s = time.process_time()
        scores = self._scores(arm, trained, seed)
        return Result(
            arm=arm.label,
            unet=arm.unet,
            seed=seed,
            num_steps=self.num_steps,
            num_captions=self.num_captions,
            scores=scores,
            train_cpu_s=round(trained.train_cpu_s, 1),
            draw_cpu_s=round(time.process_time() - started_s, 1),
        )

    def _scores(self, arm: Arm, trained: Trained, seed: int) -> Scores:
        models = {BASE: trained.model}
        if arm.unet == SUPER:
            models = {BASE: self.trained(reference_of(BASE), seed).model, SUPER: trained.model}
        cascade = open_cascade(models, arm.settings(self.params))
        splits = self.base_splits if arm.unet == BASE else self.super_splits
        positions = held_out_positions(splits, self.num_captions)
        scenes = [splits.held_out_scenes[position] for position in positions]
        scores = alignment(draw(cascade, splits.held_out, positions), scenes, splits.drawn)
        if arm.unet == SUPER:
            scores[GAIN] = gain_over_bicubic(cascade, splits.held_out, positions)
        return scores


def read_results(path: Path) -> dict[tuple[str, str, int], Result]:
    """Reads the results so far; a line that an interruption cut short is left out."""
    results = (Result(**line) for line in read_lines(path))
    return {result.key: result for result in results}


def run_missing(bench: Bench, arms: Sequence[Arm], seeds: Sequence[int], path: Path) -> Iterator[Result]:
    """Runs what has no result yet, seed by seed, and appends each result to the file as it comes."""
    for arm, seed in _missing(arms, seeds, path):
        yield _kept(bench.run(arm, seed), path)


def run_missing_together(
    bench: Bench, arms: Sequence[Arm], seeds: Sequence[int], path: Path, *, num_jobs: int
) -> Iterator[Result]:
    """As ``run_missing``, in several processes: first every network that is trained, then every result."""
    missing = _missing(arms, seeds, path)
    needed = [*missing, *((reference_of(BASE), seed) for _, seed in missing)]
    trainings = {bench.model_folder(arm, seed): (arm, seed) for arm, seed in needed}
    with ProcessPoolExecutor(num_jobs, multiprocessing.get_context("spawn"), _open_here, (bench,)) as pool:
        deque(pool.map(_train_here, trainings.values()), maxlen=0)
        for found in as_completed([pool.submit(_run_here, arm, seed) for arm, seed in missing]):
            yield _kept(found.result(), path)


def _missing(arms: Sequence[Arm], seeds: Sequence[int], path: Path) -> list[tuple[Arm, int]]:
    done = read_results(path)
    return [(arm, seed) for seed in seeds for arm in arms if (arm.unet, arm.label, seed) not in done]


def _kept(result: Result, path: Path) -> Result:
    append_line(path, asdict(result))
    return result


_benches: list[Bench] = []
"""Of this process: its data are made once."""


def _open_here(bench: Bench) -> None:
    torch.set_num_threads(1)
    _benches.append(bench)


def _train_here(task: tuple[Arm, int]) -> None:
    _benches[0].trained(*task)


def _run_here(arm: Arm, seed: int) -> Result:
    return _benches[0].run(arm, seed)


def table_rows(
    results: Mapping[tuple[str, str, int], Result], arms: Sequence[Arm], seeds: Sequence[int]
) -> list[dict[str, Cell]]:
    """Returns a row for each arm that has results."""
    rows: list[dict[str, Cell]] = []
    for arm in arms:
        own = {seed: results[key] for seed in seeds if (key := (arm.unet, arm.label, seed)) in results}
        if not own:
            continue
        first = reference_of(arm.unet)
        metric = JOINT if arm.unet == BASE else GAIN
        row: dict[str, Cell] = {"U-Net": arm.unet, "arm": arm.label, "seeds": len(own)}
        for name in (JOINT, GAIN):
            values = [result.scores[name] for result in own.values() if name in result.scores]
            row[f"{name}, 95 %"] = str(mean_interval(values)) if values else None
        pairs = [
            (result.scores[metric], results[key].scores[metric])
            for seed, result in own.items()
            if (key := (first.unet, first.label, seed)) in results
        ]
        differences = [mine - other for mine, other in pairs]
        row[f"{JOINT} (super: {GAIN}) less the reference's"] = str(mean_interval(differences)) if pairs else None
        row["draw, cpu-s"] = round(sum(result.draw_cpu_s for result in own.values()) / len(own), 1)
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs and tells what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--arms", nargs="+", default=(), help="arms whose label holds one of these words, and references"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps of every arm")
    parser.add_argument("--captions", type=int, default=144, help="held-out captions that are drawn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each where there are several")
    parser.add_argument("--folder", type=Path, default=WORK / "ablations", help="results and weights")
    parser.add_argument("--table", action="store_true", help="run nothing, show what there is")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    arms = [arm for arm in ARMS if not options.arms or _is_asked_for(arm, options.arms)]
    bench = Bench(options.folder, num_steps=options.steps, num_captions=options.captions)
    path = options.folder / f"results-{options.steps}-{options.captions}.jsonl"
    if not options.table:
        run = run_missing if options.jobs == 1 else partial(run_missing_together, num_jobs=options.jobs)
        for result in run(bench, arms, options.seeds, path):
            told = ", ".join(f"{name} {value:.3f}" for name, value in result.scores.items())
            print(f"{result.unet}, seed {result.seed}, {result.arm}: {told}", file=sys.stderr, flush=True)
    title = f"Ablations: {options.steps} steps, {options.captions} held-out captions"
    show(Report(title, table_rows(read_results(path), arms, options.seeds)), options.json)


def _is_asked_for(arm: Arm, words: Sequence[str]) -> bool:
    return arm == reference_of(arm.unet) or any(word in arm.label for word in words)


if __name__ == "__main__":
    main()
