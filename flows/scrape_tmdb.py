"""Flow scrape-tmdb: the source `tmdb`, shard by shard, made by a crew of workers. Does no work of its own."""

from collections.abc import Mapping

from prefect import flow

from flows.crew import crew_of
from flows.scrape import scrape
from flows.told import tells_errors
from flows.workplace import Choice


@flow(name="scrape-tmdb", log_prints=True)
@tells_errors
def scrape_tmdb(
    experiment: str | None = None,
    snapshot: str | None = None,
    runner: str | None = None,
    workers: int | None = None,
) -> Mapping[str, int]:
    """Reads posters and plots of TMDB, as params.yaml says; asks for what is not there yet.

    Args:
        experiment: a name in experiments/; it runs in a git worktree of its own, and params.yaml stays as it is.
        snapshot: the label of a new snapshot of the source, in a worktree too.
        runner: threads, dask, or the address of a Dask scheduler; None is MINIMAGEN_TASK_RUNNER, or threads.
        workers: shards at once; None is MINIMAGEN_PROCESSES, or one for each CPU.

    Returns:
        Rows by outcome, rejected ones by reason.
    """
    return scrape("tmdb", Choice(experiment, (), snapshot), crew_of(runner, workers))


if __name__ == "__main__":
    scrape_tmdb()
