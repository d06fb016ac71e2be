"""Starts both servers of this project and prints what each answers to every probe: `python -m tests.probe_servers`.

The exit code is 1 if an answer is not the specified one.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["MINIMAGEN_TRACKING"] = "on"  # before what reads it

from tests.flows import prefect_probes
from tests.flows.prefect_server import running_server
from tests.probes import Answer, Probe, run_probes, table
from tests.tracking import mlflow_probes
from tests.tracking.running_pages import running_pages, write_shipped_run


def main() -> None:
    """Probes MLflow's pages, then Prefect's server."""
    results = {}
    with _folder("mlflow") as root:
        write_shipped_run(root)
        with running_pages(root) as pages:
            probes = [*mlflow_probes.allowed(), *mlflow_probes.mlflow_probes(pages.run_id)]
            results["MLflow, as `make ui` starts it"] = run_probes(probes, pages.door)
    with _folder("prefect") as root, running_server(root) as door:
        probes = [*prefect_probes.allowed(), *prefect_probes.prefect_probes()]
        results["Prefect, as `make orchestrate` starts it"] = run_probes(probes, door)
    for name, found in results.items():
        sys.stdout.write(f"\n{name}: {_count(found)} of {len(found)} as specified\n{table(found)}\n")
    sys.exit(any(_count(found) < len(found) for found in results.values()))


def _count(found: list[tuple[Probe, Answer]]) -> int:
    return sum(probe.complaint(answer) is None for probe, answer in found)


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"minimagen-{name}-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
