"""Tune: tries ways to draw with a trained cascade on held-out data and keeps the best as the sampling defaults.

One setting after another, each with those before it at their best. No stage of the graph: it writes params.yaml, and
`dvc repro` then evaluates anew. Trains nothing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue
from ruamel.yaml import YAML

from minimagen.config import Params, validate_params
from minimagen.errors import UserError
from minimagen.evaluation.choice import Candidate, Choice, choose
from minimagen.experiments import PARAMS_FILE
from minimagen.files import canonical_json, sha256_bytes, write_atomic
from minimagen.params_text import with_values
from minimagen.seeding import generator
from minimagen.stages.device import device_from_environment
from minimagen.stages.tune_scores import Trials
from minimagen.tracking.location import project_root
from minimagen.tracking.stage import TrackedStage, tracked_stage

RUNS = Path("runs/tune")
TABLE_FILE = "tune.md"
TUNED = ("num_steps", "guidance_scale", "guidance_interval", "aug_level", "low_frequency_consistency")
GUIDANCE_SCALES: tuple[JsonValue, ...] = (1.0, 1.5, 2.0, 3.0)
GUIDANCE_INTERVALS: tuple[JsonValue, ...] = (None, [0.0, 0.5], [0.25, 0.75], [0.5, 1.0])
AUG_LEVELS = (0.0, 0.05, 0.1, 0.2)

Grid = Mapping[str, Sequence[JsonValue]]
"""Setting -> values, as in {"base.num_steps": [10, 20]}; tried in this order."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One setting with the values that were tried."""

    key: str
    values: Sequence[JsonValue]
    candidates: Sequence[Candidate]
    choice: Choice
    metric: str

    @property
    def chosen(self) -> JsonValue:
        """The value that is kept."""
        return self.values[self.choice.position]


def run_tune(grid: Grid, root: Path = Path(), *, is_kept: bool = True) -> list[Tried]:
    """Tries every value of a grid, tells each, and writes the best ones into params.yaml.

    Args:
        grid: empty for steps, guidance and augmentation around what params.yaml says.
        is_kept: write params.yaml.

    Raises:
        UserError: a setting or value is none, a U-Net is not trained, or was trained on other data.
    """
    text = (root / PARAMS_FILE).read_text(encoding="utf-8")
    params = _read(text)
    grid = grid or default_grid(params)
    _check(text, params, grid)
    identity = sha256_bytes(canonical_json([text, {key: list(values) for key, values in grid.items()}]).encode())
    run_folder = project_root(root) / RUNS / identity[:12]
    device = torch.device(device_from_environment())
    with tracked_stage(
        root, params, stage="tune", name=None, run_folder=run_folder, fingerprint=identity, is_live=True
    ) as tracked:
        trials, tried = Trials(params, root, device), list[Tried]()
        for key, values in grid.items():
            if key.endswith(".guidance_interval") and _read(text).sampling[key.split(".")[0]].guidance_scale == 1.0:
                print(f"tune: {key}: nothing to try, there is no guidance")
                continue
            found = _try(trials, text, key, values, tracked)
            text = with_values(text, {_path(key): found.chosen})
            tried.append(found)
        write_atomic(run_folder / TABLE_FILE, table(tried).encode())
        tracked.finish(artifacts=[run_folder / TABLE_FILE])
    if is_kept and tried:
        write_atomic(root / PARAMS_FILE, text.encode())
        print(f"tune: written to {root / PARAMS_FILE}; `dvc repro` evaluates with it")
    return tried


def default_grid(params: Params) -> dict[str, list[JsonValue]]:
    """Returns what is worth trying with a cascade: guidance where it was trained for, noise on inputs, and steps."""
    grid: dict[str, list[JsonValue]] = {}
    for place, name in enumerate(params.cascade):
        law, sampling = params.unets[name].diffusion, params.sampling[name]
        if place == 0 and law.cond_drop_prob:
            grid[f"{name}.guidance_scale"] = list(GUIDANCE_SCALES)
            grid[f"{name}.guidance_interval"] = list(GUIDANCE_INTERVALS)
        if sampling.aug_level is not None:
            grid[f"{name}.aug_level"] = [level for level in AUG_LEVELS if level <= law.max_aug_level]
        steps = sampling.num_steps
        grid[f"{name}.num_steps"] = [*sorted({max(1, steps // 4), max(1, steps // 2), steps, min(1000, 2 * steps)})]
    return grid


def table(tried: Sequence[Tried]) -> str:
    """Returns all that was tried, as Markdown; what is kept is bold."""
    lines: list[str] = []
    for found in tried:
        lines += [f"## {found.key}", "", f"| value | {found.metric} | behind the best, 95 % | evaluations |"]
        lines += ["|---|---|---|---|"]
        for place, (candidate, gap) in enumerate(zip(found.candidates, found.choice.behind, strict=True)):
            label = f"**{candidate.label}**" if place == found.choice.position else candidate.label
            interval = f"{gap.mean:.4g} ({gap.low:.4g} to {gap.high:.4g})"
            lines.append(f"| {label} | {candidate.mean:.4g} | {interval} | {candidate.cost} |")
        lines.append("")
    return "\n".join(lines)


def _try(trials: Trials, text: str, key: str, values: Sequence[JsonValue], tracked: TrackedStage) -> Tried:
    unet, candidates = key.split(".")[0], list[Candidate]()
    metric = trials.metric_of(unet)
    for place, value in enumerate(values):
        scored = trials.score(_read(with_values(text, {_path(key): value})), unet)
        candidates.append(Candidate(json.dumps(value), scored.scores, scored.cost))
        mean = candidates[-1].mean
        tracked.metrics(place, {f"{key}/{metric}": mean})
        print(f"tune: {key} {json.dumps(value)}: {metric} {mean:.4g}, {scored.cost} evaluations", flush=True)
    choice = choose(candidates, generator(trials.params.evaluate.seed, "tune", key))
    print(f"tune: {key}: {candidates[choice.position].label} is kept")
    return Tried(key, values, candidates, choice, metric)


def _check(text: str, params: Params, grid: Grid) -> None:
    """Refuses a grid before anything is drawn; a line for each problem."""
    problems = [*_problems(text, params, grid)]
    if problems:
        raise UserError("\n".join(problems))


def _problems(text: str, params: Params, grid: Grid) -> Iterator[str]:
    for key, values in grid.items():
        unet, _, field = key.partition(".")
        if unet not in params.cascade or field not in TUNED:
            yield f"{key}: expected a U-Net of {', '.join(params.cascade)}, a dot and one of {', '.join(TUNED)}"
            continue
        if not values:
            yield f"{key}: no values to try"
        for value in values:
            try:
                _read(with_values(text, {_path(key): value}))
            except UserError as error:
                yield str(error)


def _path(key: str) -> tuple[str, ...]:
    return ("sampling", *key.split("."))


def _read(text: str) -> Params:
    return validate_params(YAML(typ="safe", pure=True).load(text), PARAMS_FILE)
