"""Stage embed: encodes every caption once and keeps the vectors beside the shard they belong to.

Jobs run one after another in this process, since one encoder fills the machine; a flow may map them elsewhere.
"""

import logging
import time
from pathlib import Path

from minimagen.config import Params
from minimagen.files import write_json
from minimagen.stages.device import device_from_environment
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.text.embed import finish, plan, remove_unplanned, run

logger = logging.getLogger(__name__)

CURATED = Path("data/curated")
TEXT_ENCODER = Path("data/text_encoder")
OUT = Path("data/embeddings")


def run_embed(params: Params, root: Path = Path()) -> None:
    """Writes ``data/embeddings/``; shards that are done are not encoded again. Warns of captions that teach little.

    Raises:
        ConfigError: MINIMAGEN_DEVICE asks for what this machine lacks.
        ValueError: a stage before this one has not finished, or its files have changed.
        BusyError: another process encodes.
    """
    with run_lock(stage_lock(root, "embed")):
        _embed(params, root)


def _embed(params: Params, root: Path) -> None:
    started, device, folder = time.monotonic(), device_from_environment(), root / OUT
    jobs = plan(
        root / CURATED,
        encoder=root / TEXT_ENCODER,
        config=params.embed,
        max_length=params.text_encoder.max_length,
    )
    (folder / "manifest.json").unlink(missing_ok=True)  # Written last: a folder without one is unfinished.
    for path in remove_unplanned(folder, jobs):
        print(f"embed: removed {path.name}, which is not in the plan")
    num_encoded = 0
    for number, job in enumerate(jobs, start=1):
        report = run(job, folder=folder, device=device)
        num_encoded += 0 if report.was_done else report.stored
        state = "done before" if report.was_done else "encoded"
        print(f"embed: {number}/{len(jobs)} {job.name}: {report.stored} captions, {state}", flush=True)
    summary = finish(folder, jobs)
    total_s = time.monotonic() - started
    timings = {
        "total_s": round(total_s, 3),
        "num_encoded": num_encoded,
        "captions_per_s": round(num_encoded / total_s, 1),
    }
    write_json(root / "runs/embed/timings.json", timings | {"device": device})
    print(
        f"embed: {summary.num_captions} captions, {summary.num_tokens} tokens, "
        f"{summary.captions.num_cut} cut at {params.text_encoder.max_length} tokens, {num_encoded} encoded now -> "
        f"{folder}"
    )
    for problem in summary.captions.problems():
        logger.warning("embed: %s", problem)
