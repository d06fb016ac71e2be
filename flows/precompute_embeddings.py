"""Flow precompute-embeddings: every caption encoded, shard by shard, by a crew of workers.

Lock, plan and manifest are those of the stage embed, so `dvc repro` afterwards encodes nothing and only records it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.concurrency.sync import concurrency

from flows.crew import Crew, crew_of
from flows.limits import LEASE_S, Limits
from flows.plan import ACCELERATOR
from flows.shards import run_shards
from flows.told import tells_errors
from flows.workplace import Choice, workplace
from minimagen.config import load_params
from minimagen.experiments import PARAMS_FILE
from minimagen.text.embed import EmbedSummary

NAME = "precompute-embeddings"


@flow(name=NAME, log_prints=True)
@tells_errors
def precompute_embeddings(
    experiment: str | None = None, runner: str | None = None, workers: int | None = None
) -> EmbedSummary:
    """Encodes the captions of the curated data that are not encoded yet.

    Args:
        experiment: a name in experiments/; it runs in a git worktree of its own, and params.yaml stays as it is.
        runner: threads, dask, or the address of a Dask scheduler; None is MINIMAGEN_TASK_RUNNER, or threads.
        workers: shards at once, each with an encoder of its own but for threads; None is MINIMAGEN_PROCESSES, or one
            for each CPU.

    Returns:
        What the folder of embeddings holds.
    """
    crew = crew_of(runner, workers)
    root = workplace(Path().resolve(), Choice(experiment))
    with _accelerator(crew):
        return _embed(root, crew)


def _embed(root: Path, crew: Crew) -> EmbedSummary:
    from minimagen.stages.embed import begin, embed_lock, finish, told  # loads torch: seconds that a typo need not wait

    with embed_lock(root):
        embedding = begin(load_params(root / PARAMS_FILE), root)
        reports = run_shards("embeddings", embedding, crew, Limits(None, None), told)
        summary = finish(embedding, reports)
    show_summary(summary, sum(report.stored for report in reports if not report.was_done))
    return summary


@contextmanager
def _accelerator(crew: Crew) -> Iterator[None]:
    """Holds the accelerator of this machine, where its limit says that there is one, unless others do the work."""
    with concurrency([] if crew.is_elsewhere else [ACCELERATOR], lease_duration=LEASE_S):
        yield


def show_summary(summary: EmbedSummary, num_encoded: int) -> None:
    """Shows what was encoded in a table artifact."""
    table = [
        {"what": "captions", "number": summary.num_captions},
        {"what": "tokens", "number": summary.num_tokens},
        {"what": "captions cut at the greatest length", "number": summary.captions.num_cut},
        {"what": "captions encoded by this run", "number": num_encoded},
    ]
    create_table_artifact(table, key="embeddings", description="What is encoded")


if __name__ == "__main__":
    precompute_embeddings()
