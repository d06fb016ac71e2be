"""What a worker takes in memory stays below 256 MB, whatever hosts send."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.simulators.server import running_site
from tests.sources.hostile_host import MAX_BYTES, HostileHost, picture_files
from tests.sources.remote_case import Case, candidate

LIMIT_KB = 256 * 1024


def peak_kb(case: Case, checkout: Path, files: Mapping[str, bytes], num_each: int) -> tuple[int, dict[str, int]]:
    """Ingests each file so often, all at a time; returns the peak of memory and how many rows were rejected why."""
    with running_site(HostileHost(files)) as site:
        urls = [f"{site.url}/big/{name}/{number}" for number in range(num_each) for name in files]
        candidates = [candidate(str(number), url) for number, url in enumerate(urls)]
        jobs = case.plan(candidates, max_bytes=MAX_BYTES, per_host=64, in_flight=64)
        (case.root / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]))
        result = subprocess.run(
            [sys.executable, "-m", "tests.sources.ingest_memory", str(case.root), str(case.root / "jobs.json")],
            cwd=checkout,
            env=os.environ | {"MINIMAGEN_ALLOWED_ADDRESSES": "{}:{}".format(*site.address)},
            capture_output=True,
            check=True,
        )
    answer = json.loads(result.stdout)
    assert answer["report"]["stored"] + sum(answer["report"]["rejected"].values()) == len(urls)
    return answer["peak_kb"], answer["report"]["rejected"]


@pytest.mark.timeout(600)
def test_pictures_at_the_limits_of_megapixels_and_of_bytes(tmp_path: Path, checkout: Path) -> None:
    pictures = picture_files(4000, ["rgba.png", "grey-alpha.png", "deep.png", "progressive.jpg", "picture.webp"])
    files = {name: raw + bytes(MAX_BYTES - len(raw)) for name, raw in pictures.items()}

    peak, rejected = peak_kb(Case(tmp_path), checkout, files, num_each=1)

    assert peak < LIMIT_KB
    assert rejected == {"too_many_pixels": 1}


def test_long_files_that_come_all_at_once(tmp_path: Path, checkout: Path) -> None:
    noise = np.random.default_rng(0).bytes(MAX_BYTES - 3)
    files = {"a.jpg": b"\xff\xd8\xff" + noise, "b.jpg": b"\xff\xd8\xff" + noise + b"too long"}

    peak, rejected = peak_kb(Case(tmp_path), checkout, files, num_each=12)

    assert peak < LIMIT_KB
    assert rejected.pop("too_large") == 12 and sum(rejected.values()) == 12
