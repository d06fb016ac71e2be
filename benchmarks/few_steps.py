"""25 + 15 steps beside 1000 + 1000: a trained cascade of two stages, evaluated with each, every metric.

    python -m benchmarks.few_steps --project .

The first draws by the project's own sampler, the second by DDPM, both from the same weights and for the same captions
and pictures. Evaluates copies of the project's data, so the project stays as it is; what is drawn already is kept.
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.course import WORK
from benchmarks.tables import Cell, Report, show
from minimagen.config import Params, SamplingConfig, load_params
from minimagen.evaluation.metrics import Estimate, share_of
from minimagen.stages.evaluate import run_evaluate

FEW, MANY = "25 + 15", "1000 + 1000"
MANY_STEPS = 1000
FEW_STEPS = (25, 15)


def with_steps(params: Params, name: str) -> Params:
    """Returns the parameters with a cascade that draws in few steps or in many."""
    changes: list[dict[str, object]] = [{"num_steps": number} for number in FEW_STEPS]
    if name == MANY:
        changes = [{"sampler": "ddpm", "num_steps": MANY_STEPS}] * len(FEW_STEPS)
    sampling = {
        stage: SamplingConfig.model_validate(params.sampling[stage].model_dump() | change)
        for stage, change in zip(params.cascade, changes, strict=True)
    }
    return params.model_copy(update={"sampling": dict(params.sampling) | sampling})


def evaluate_copy(project: Path, folder: Path, params: Params) -> Mapping[str, Any]:
    """Evaluates a copy of a project's data and returns its metrics; goes on with a copy that was begun."""
    if not (folder / "data").exists():
        shutil.copytree(project / "data", folder / "copying", dirs_exist_ok=True)
        (folder / "copying").rename(folder / "data")
    run_evaluate(params, folder)
    return json.loads((folder / "data/eval/metrics.json").read_bytes())


def estimates(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Estimate]]:
    """Yields every metric that has an interval, or is a share of so many that it gets one."""
    for part in ("alignment", "base_alignment"):
        if (found := metrics.get(part)) is not None:
            for name in ("joint", *found["chance_by_attribute"]):
                yield f"{part}: {name}", _of_share(found[name], found["num_captions"])
    reproduction = metrics["reproduction"]
    yield "training captions reproduced", _of_share(reproduction["top1"], reproduction["num_pairs"])
    if (retrieval := metrics.get("retrieval")) is not None:
        yield "right caption found", Estimate(retrieval["top1"], retrieval["top1_low"], retrieval["top1_high"])
    features = metrics.get("features", {})
    for name in ("kid", "fid", "clip_score"):
        if name in features:
            yield name, Estimate(features[name], features[f"{name}_low"], features[f"{name}_high"])
    for name, unet in metrics["unets"].items():
        if (gain := unet.get("psnr_gain")) is not None:
            yield f"{name}: dB over bicubic", Estimate(gain["mean"], gain["low"], gain["high"])


def _of_share(value: float, num_total: int) -> Estimate:
    found = share_of(round(value * num_total), num_total)
    return Estimate(found.value, found.low, found.high)


def _text(estimate: Estimate) -> str:
    return f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"


def table_rows(few: Mapping[str, Any], many: Mapping[str, Any]) -> list[dict[str, Cell]]:
    """Returns a row for each metric, and how many evaluations of a network a picture takes."""
    found = dict(estimates(few))
    rows: list[dict[str, Cell]] = [
        {
            "metric": name,
            FEW: _text(found[name]),
            f"{MANY} of DDPM": _text(wanted),
            "within its interval": "yes" if wanted.low <= found[name].value <= wanted.high else "no",
        }
        for name, wanted in estimates(many)
    ]
    counts = [metrics["sampling"]["num_evaluations"] for metrics in (few, many)]
    last = ("evaluations a picture", *map(str, counts), f"1 : {counts[1] / counts[0]:.0f}")
    rows.append(dict(zip(rows[0], last, strict=True)))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, required=True, help="a finished project, as `make demo` leaves one")
    parser.add_argument("--folder", type=Path, default=WORK / "few-steps", help="copies and pictures")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    os.environ["MINIMAGEN_TRACKING"] = "off"
    params = load_params(options.project / "params.yaml")
    few, many = (
        evaluate_copy(options.project, options.folder / name.replace(" ", ""), with_steps(params, name))
        for name in (FEW, MANY)
    )
    show(Report(f"The same weights, drawn in {FEW} steps and in {MANY}", table_rows(few, many)), options.json)


if __name__ == "__main__":
    main()
