"""Runs one job in a process of its own and tells its peak memory: `python -m tests.sources.ingest_memory ROOT JOBS`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from minimagen.shards import ShardJob
from minimagen.sources import remote
from tests.sources.own_memory import peak_kb
from tests.sources.remote_case import Case


def main() -> None:
    """Runs the only job of a file."""
    case = Case(Path(sys.argv[1]))
    [record] = json.loads(Path(sys.argv[2]).read_bytes())
    report = remote.run(ShardJob(**record), folder=case.folder, state=case.state)
    json.dump({"report": asdict(report), "peak_kb": peak_kb()}, sys.stdout)


if __name__ == "__main__":
    main()
