"""A picture that the decoder dies of ends a run with its address, and the next run does without it."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from minimagen.errors import USER_ERROR_CODE
from minimagen.files import write_json
from minimagen.manifest import read_manifest
from scripts.demo_sources import params_of
from tests.simulators.pictures import PictureHost, picture_file
from tests.simulators.server import Site, running_site
from tests.sources.crashing_decoder import write_crash

NUM_ROWS = 20
BAD = 7


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site(PictureHost()) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, site: Site) -> Path:
    """A table of pictures in two shards."""
    document = params_of("2026-11-01").model_dump(mode="json")
    document["ingest"]["manifest"] |= {"shard_rows": NUM_ROWS // 2}
    document["ingest"]["manifest"]["images"] |= {"min_side": 16}
    write_json(tmp_path / "params.yaml", document)
    write_json(tmp_path / "table/hosts.yaml", {"images": {"requests_per_s": 1000, "robots": False, "attempts": 1}})
    with (tmp_path / "table/table.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("url", "caption"))
        rows.writerows((url_of(site, number), f"picture {number}") for number in range(NUM_ROWS))
    return tmp_path


def url_of(site: Site, number: int) -> str:
    return f"{site.url}/img/ok/{number}.png"


def ingest(project: Path, checkout: Path, site: Site, num_processes: int) -> subprocess.CompletedProcess[str]:
    variables = {
        "PYTHONPATH": os.pathsep.join([str(project / "site"), str(checkout)]),
        "MINIMAGEN_ALLOWED_ADDRESSES": "{}:{}".format(*site.address),
        "MINIMAGEN_PROCESSES": str(num_processes),
    }
    command = [sys.executable, "-m", "minimagen.cli", "ingest", "manifest"]
    return subprocess.run(command, cwd=project, env=os.environ | variables, capture_output=True, text=True, check=False)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_run_is_lost_once_and_the_picture_for_good(
    num_processes: int, project: Path, checkout: Path, site: Site
) -> None:
    write_crash(project / "site", picture_file("ok", f"{BAD}.png", "png"), "SIGSEGV")

    first = ingest(project, checkout, site, num_processes)
    second = ingest(project, checkout, site, num_processes)

    if num_processes == 1:
        assert first.returncode == -11
    else:
        assert first.returncode == USER_ERROR_CODE
        assert url_of(site, BAD) in first.stderr and "Run again" in first.stderr
    assert second.returncode == 0, second.stderr
    assert f"{url_of(site, BAD)} was being decoded when a process died" in second.stderr
    counts = read_manifest(project / "data/raw/manifest").counts
    assert (counts["stored"], counts["rejected/undecodable"]) == (NUM_ROWS - 1, 1)
    failures = pq.read_table(project / "data/raw/manifest/failures").to_pylist()
    assert [(one["source_url"], one["detail"]) for one in failures] == [
        (url_of(site, BAD), "the decoder dies of it: SIGSEGV")
    ]
    assert not list((project / "runs/ingest/manifest/spool").iterdir())
    assert json.loads((project / "data/raw/manifest/manifest.json").read_bytes())["counts"]["pending"] == 0
