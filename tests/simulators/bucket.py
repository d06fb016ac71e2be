"""An S3 bucket on loopback: moto's server in a process of its own, empty at the start.

Imports no pytest.
"""

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.flows.orchestra import free_port

NAME = "results"
_READY_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where it is, and what opens it."""

    endpoint: str

    @property
    def url(self) -> str:
        """What `dvc remote add` is told."""
        return f"s3://{NAME}/minimagen"

    @property
    def credentials(self) -> dict[str, str]:
        """Variables of the environment without which nobody is let in."""
        return {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_DEFAULT_REGION": "us-east-1"}

    def names(self) -> list[str]:
        """Returns the names of what lies in it."""
        listing = urllib.request.Request(f"{self.endpoint}/{NAME}?list-type=2&max-keys=1000")
        return re.findall("<Key>(.*?)</Key>", _answer(listing).decode())


@contextmanager
def open_bucket(log: Path) -> Iterator[Bucket]:
    """Starts the server and makes the bucket."""
    bucket = Bucket(f"http://127.0.0.1:{(port := free_port())}")
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _is_made(bucket):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield bucket
    finally:
        process.kill()
        process.wait()


def _is_made(bucket: Bucket) -> bool:
    request = urllib.request.Request(f"{bucket.endpoint}/{NAME}", method="PUT")
    try:
        _answer(request)
    except OSError:
        return False
    return True


def _answer(request: urllib.request.Request) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.read()
