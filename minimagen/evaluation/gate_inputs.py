"""What the gate compares, read from what stage evaluate wrote: scores.json and metrics.json.

Decides nothing.
"""

import json
from pathlib import Path
from typing import Any

from minimagen.errors import UserError, not_finished
from minimagen.evaluation.gate import Evaluation, SampleScore
from minimagen.evaluation.results import leaves

SCORES_FILE, METRICS_FILE = "scores.json", "metrics.json"


def read_evaluation(folder: Path) -> Evaluation:
    """Reads an evaluation from its folder (data/eval).

    Raises:
        UserError: a file is missing, damaged, or from before samples were scored under noise.
    """
    scores, metrics = _read(folder / SCORES_FILE), _read(folder / METRICS_FILE)
    try:
        denoising = scores["denoising"]
        samples = {
            record["key"]: SampleScore(record["caption"], record["picture"], dict(record["psnr"]))
            for record in denoising["samples"]
        }
        method = f"PSNR under noise at t = {', '.join(f'{time:g}' for time in denoising['times'])}"
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / SCORES_FILE}: no scores for the gate ({error!r}): evaluate again") from error
    numbers = {name: float(value) for name, value in leaves(metrics) if isinstance(value, int | float)}
    return Evaluation(samples, method, numbers)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise not_finished(path, "stage evaluate") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: damaged: not a table")
    return document
