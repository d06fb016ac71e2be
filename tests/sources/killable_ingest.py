"""An ingest that a test may kill: `python -m tests.sources.killable_ingest ROOT JOBS NUM_PROCESSES`.

Does with the shards of one remote source what the stage does: clears what earlier runs left, runs what is missing.
Imports no more than that, so that it starts in a second.
"""

import functools
import json
import sys
from pathlib import Path

from minimagen.shards import ShardJob, find_report
from minimagen.sources import remote
from minimagen.stages.pool import map_jobs
from tests.sources.remote_case import Case


def main() -> None:
    """Runs the jobs of a file."""
    case, num_processes = Case(Path(sys.argv[1])), int(sys.argv[3])
    jobs = [ShardJob(**record) for record in json.loads(Path(sys.argv[2]).read_bytes())]
    for path in case.folder.rglob("*.tmp-*"):
        path.unlink()
    remote.remove_old_spools(jobs, folder=case.folder, state=case.state)
    missing = [job for job in jobs if find_report(case.folder, job) is None]
    run = functools.partial(remote.run, folder=case.folder, state=case.state, num_processes=num_processes)
    for report in map_jobs(run, missing, num_processes):
        sys.stdout.write(f"{report.name} {report.stored} {sum(report.rejected.values())} {report.pending}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
