"""A project with a table of pictures at a slow host, so that a run of its source can be stopped in the middle."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from tests.flows.sources_project import services, write_sources_project
from tests.simulators.pictures import PictureHost
from tests.simulators.server import running_site

NUM_ROWS, SHARD_ROWS, IN_FLIGHT = 240, 12, 4


@dataclass(slots=True)
class SlowTables:
    """Projects with the same table, and the host that they ask."""

    root: Path
    url: str
    host: PictureHost
    environment: dict[str, str] = field(init=False)
    """The variables with which the host is asked."""
    _num_projects: int = 0

    def __post_init__(self) -> None:
        """Lets the host be asked."""
        address = self.url.removeprefix("http://")
        self.environment = {"MINIMAGEN_ALLOWED_ADDRESSES": address, "MINIMAGEN_PROCESSES": "2"}

    def new(self) -> Path:
        """Writes a project."""
        self._num_projects += 1
        with running_site() as nowhere:
            changes = {"manifest": {"shard_rows": SHARD_ROWS}}
            root = write_sources_project(self.root / str(self._num_projects), nowhere, services()[2], changes)
        rows = "".join(f"{self.url}/img/slow/0.05/{number}.png,a picture {number}\n" for number in range(NUM_ROWS))
        (root / "table/table.csv").write_text("url,caption\n" + rows)
        hosts = {"requests_per_s": 100_000, "per_host": IN_FLIGHT, "in_flight": IN_FLIGHT, "robots": False}
        (root / "table/hosts.yaml").write_text(json.dumps({"images": hosts}))
        return root

    @property
    def num_requests(self) -> int:
        """How often the host was asked so far."""
        return self.host.num_requests.total()
