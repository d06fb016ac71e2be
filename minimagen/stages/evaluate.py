"""Stage evaluate: measures the cascade on held-out data and writes numbers, scores, a report and cascade.json.

Reads only the U-Nets that ``cascade`` lists. An interrupted evaluation goes on with the pictures it has drawn.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from minimagen.config import Params
from minimagen.contact_sheet import contact_sheet
from minimagen.evaluation.report import verdict
from minimagen.evaluation.results import leaves, to_metrics
from minimagen.features.load import load_features
from minimagen.files import canonical_json, sha256_bytes, sha256_file, write_json
from minimagen.heap import keep_freed_blocks
from minimagen.manifest import read_manifest
from minimagen.progress import Progress
from minimagen.stages.device import device_from_environment
from minimagen.stages.evaluation_inputs import (
    CURATED,
    EMBEDDINGS,
    MODELS,
    Inputs,
    check_data,
    check_listed,
    load_cascade,
    open_split,
    read_sections,
)
from minimagen.stages.evaluation_outs import METRICS_FILE, RAW, REPORT_FILE, write_outs
from minimagen.stages.measure import Measurements, measure
from minimagen.stages.measure_epochs import NUM_EPOCH_PAIRS, kept_epochs
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.stages.training_inputs import set_threads
from minimagen.tracking.location import project_root
from minimagen.tracking.stage import TrackedStage, tracked_stage
from minimagen.training.interrupt import Interrupt
from minimagen.training.run_identity import NUM_NAME_DIGITS, source_sha256

RUNS = Path("runs/evaluate")
NUM_SHEET_CAPTIONS, NUM_SHEET_COLUMNS = 24, 4


def run_evaluate(params: Params, root: Path = Path()) -> None:
    """Writes ``data/eval/`` (metrics.json, scores.json, report.html) and ``data/cascade.json``.

    Raises:
        ConfigError: a U-Net that ``cascade`` does not list stands in data/models or data/checkpoints.
        ValueError: a stage before this one has not finished, a file is damaged, or a model was trained on other data or
            with other parameters.
        AlreadyRunningError: another process evaluates.
        SystemExit: 143 or 130 after a signal.
    """
    started = time.monotonic()
    set_threads()
    keep_freed_blocks()
    check_listed(root, params.cascade)
    device = torch.device(device_from_environment())
    runs = project_root(root) / RUNS
    with run_lock(stage_lock(project_root(root), "evaluate")), Interrupt() as interrupt:
        found = _evaluate(params, root, device, runs, interrupt)
    _write_timings(runs, found, device, time.monotonic() - started)
    print(f"evaluate: {verdict(found.results)}\nevaluate: {root / REPORT_FILE}")


def _evaluate(params: Params, root: Path, device: torch.device, runs: Path, interrupt: Interrupt) -> Measurements:
    fingerprint = _fingerprint(params, root, device)
    run_folder = runs / fingerprint[:NUM_NAME_DIGITS]
    kept = run_folder / "drawn"
    if os.environ.get("MINIMAGEN_FRESH") == "1":
        shutil.rmtree(kept, ignore_errors=True)
    with tracked_stage(
        root, params, stage="evaluate", name=None, run_folder=run_folder, fingerprint=fingerprint, is_live=True
    ) as tracked:
        with _inputs(params, root, device, kept, interrupt) as inputs:
            tracked.params({"data_sha256": inputs.held_out.data_sha256})
            found = measure(inputs)
        write_outs(inputs, found)
        _tell(tracked, inputs, found)
        shutil.rmtree(kept)
    return found


def _fingerprint(params: Params, root: Path, device: torch.device) -> str:
    """Hashes all that the drawn pictures depend on."""
    manifests = [MODELS / name / "MANIFEST.json" for name in params.cascade]
    manifests += [CURATED / "manifest.json", EMBEDDINGS / "manifest.json"]
    record = {
        "params": read_sections(params),
        "inputs": {path.as_posix(): sha256_file(root / path) for path in manifests if (root / path).is_file()},
        "source_sha256": source_sha256(Path(__file__)),
        "torch_version": torch.__version__,
        "device_kind": device.type,
    }
    return sha256_bytes(canonical_json(record).encode())


@contextmanager
def _inputs(params: Params, root: Path, device: torch.device, folder: Path, interrupt: Interrupt) -> Iterator[Inputs]:
    features = load_features(params.evaluate.features, device)
    cascade = load_cascade(params, root, device)
    last = params.unets[params.cascade[-1]]
    held_out = open_split(root, "validation", last.image_size, last.training.crop)
    check_data(cascade.records, held_out.data_sha256)
    training = open_split(root, "train", last.image_size, last.training.crop)
    num_batches = _count_batches(params, root, len(held_out), len(training))
    with Progress("evaluate: drawing", num_batches, unit="pictures") as progress:

        def report(num_pictures: int) -> None:
            progress.advance(num_pictures)
            if interrupt.exit_code is not None:
                print("evaluate: stopped; run it again to go on with the pictures that are drawn")
                raise SystemExit(interrupt.exit_code)

        yield Inputs(params, root, device, cascade, held_out, training, features, folder, report)


def _count_batches(params: Params, root: Path, num_held_out: int, num_training: int) -> int:
    config = params.evaluate
    sizes = [min(config.num_captions, num_held_out), min(config.num_training_captions, num_training)]
    sizes += [min(config.num_super_pairs, num_held_out)] * (len(params.cascade) - 1)
    sizes += [min(NUM_EPOCH_PAIRS, config.num_training_captions, num_training)] * len(kept_epochs(params, root))
    return sum(-(-size // config.batch_size) for size in sizes)


def _tell(tracked: TrackedStage, inputs: Inputs, found: Measurements) -> None:
    """Shows numbers, report and a sheet of pictures to whoever follows the journal."""
    num_shown = min(NUM_SHEET_CAPTIONS, len(found.drawn.positions))
    captions = [inputs.held_out.captions[position] for position in found.drawn.positions[:num_shown]]
    sheet = contact_sheet(
        [pixels[:num_shown] for pixels in found.drawn.pixels.values()], captions, num_columns=NUM_SHEET_COLUMNS
    )
    path = tracked.run_folder / "held-out.png"
    sheet.save(path)
    tracked.image(0, "held_out", path, "\n".join(captions))
    metrics = {key: float(str(value)) for key, value in leaves(to_metrics(found.results))}
    tracked.finish(metrics | _row_counts(inputs), [inputs.root / METRICS_FILE, inputs.root / REPORT_FILE])


def _row_counts(inputs: Inputs) -> dict[str, float]:
    """Returns how many rows of each source were asked for, stored, rejected why, and are pending."""
    counts = {source: read_manifest(inputs.root / RAW / source).counts for source in inputs.params.sources}
    return {f"data.{source}.{key}": float(number) for source, one in counts.items() for key, number in one.items()}


def _write_timings(runs: Path, found: Measurements, device: torch.device, total_s: float) -> None:
    num_pictures = len(found.drawn.positions) + len(found.reproduced.positions)
    num_pictures += sum(len(enlarged.keys) for enlarged in found.enlarged.values())
    timings = {
        "total_s": round(total_s, 3),
        "num_pictures": num_pictures,
        "device": device.type,
    }
    write_json(runs / "timings.json", timings)
