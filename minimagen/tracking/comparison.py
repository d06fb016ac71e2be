"""Where a comparison of experiments is kept in MLflow: a run of its own, beside the cascades that it compares."""

import time
from collections.abc import Iterable
from pathlib import Path

from minimagen.tracking.lock import exclusive
from minimagen.tracking.runs import Tracker

TAG = "minimagen.comparison"
_LOCK_WAIT_S = 60.0


def keep_comparison(root: Path, dataset: str, identity: str, files: Iterable[Path]) -> str:
    """Keeps files with the run of a comparison, made if there is none, and returns the run's id.

    Args:
        dataset: the name of MLflow's experiment, ``flat.experiment_name``.
        identity: of what is compared; the same comparison has one run.
    """
    tracker = Tracker(root)
    client, experiment = tracker.client, tracker.experiment(dataset)
    with exclusive(root / "runs" / "comparison.lock", _LOCK_WAIT_S):
        found = client.search_runs([experiment], f"tags.`{TAG}` = '{identity}'", max_results=1)
        run = (
            found[0]
            if found
            else client.create_run(experiment, tags={TAG: identity}, run_name=f"compare {identity[:6]}")
        )
        for path in files:
            client.log_artifact(run.info.run_id, str(path))
        client.set_terminated(run.info.run_id, end_time=round(time.time() * 1000))
    return run.info.run_id
