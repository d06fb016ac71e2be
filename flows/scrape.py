"""What all flows that read a source have in common: the stage ingest, its shards made as tasks by a crew.

Lock, plan, manifest and verdict are the stage's own, so `dvc repro` afterwards finds all done and only records it.
"""

from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.crew import Crew
from flows.limits import find_limits
from flows.shards import run_shards
from flows.told import is_worth_a_retry, tells_what_no_retry_mends
from flows.workplace import Choice, workplace
from minimagen.config import Params, load_params
from minimagen.errors import UserError
from minimagen.experiments import PARAMS_FILE
from minimagen.stages.ingest import Ingest, begin, finish, ingest_lock, judge, told


def scrape(source: str, choice: Choice, crew: Crew) -> Mapping[str, int]:
    """Reads one source as `minimagen ingest` does and returns its rows by outcome.

    Raises:
        ConfigError: what the source reads is missing or cannot be understood.
        UserError: the parameters do not list the source, a service refuses, or too few rows were stored.
        BusyError: the source is being read or purged.
    """
    root = workplace(Path().resolve(), choice)
    params = load_params(root / PARAMS_FILE)
    if source not in params.sources:
        raise UserError(f"{PARAMS_FILE}: sources: {source!r} is not listed; known: {', '.join(params.sources)}")
    with ingest_lock(source, root):
        ingest = plan(params, source, root, crew, return_state=True).result()  # a Failed state raises its error
        reports = run_shards(source, ingest, crew, find_limits(source), told)
        counts = finish(ingest, reports)
        show_outcomes(source, counts)
        judge(ingest, counts)
    return counts


@task(
    task_run_name="plan",
    retries=2,
    retry_delay_seconds=[60, 600],
    retry_jitter_factor=0.3,
    retry_condition_fn=is_worth_a_retry,
    cache_policy=NO_CACHE,
)
@tells_what_no_retry_mends
def plan(params: Params, source: str, root: Path, crew: Crew) -> Ingest:
    """Asks the service for its list, where that was not done; tried again where it does not answer."""
    return begin(params, source, root, num_processes=crew.num_workers, num_machines=crew.num_machines)


def show_outcomes(source: str, counts: Mapping[str, int]) -> None:
    """Shows how many rows came to what, the most frequent reason first, in a table artifact."""
    reasons = {key: number for key, number in counts.items() if key.startswith("rejected/")}
    order = ["requested", "stored", "pending", *sorted(reasons, key=lambda key: (-reasons[key], key))]
    num_rows = max(1, counts["requested"])
    table = [{"outcome": key, "rows": counts[key], "share": f"{counts[key] / num_rows:.1%}"} for key in order]
    create_table_artifact(table, key=f"outcomes-{source.replace('_', '-')}", description=f"What became of {source}")
