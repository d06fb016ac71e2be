"""The upload of data, models and the run cache to DVC's default remote, as a task that can be repeated without harm."""

import subprocess
import sys
from pathlib import Path

from prefect import get_run_logger, task


class PushFailed(RuntimeError):
    """DVC could not send everything; the message says why, as DVC did."""


@task(name="push", retries=2, retry_delay_seconds=[10, 60], retry_jitter_factor=0.3)
def push_results(root: Path) -> None:
    """Sends data, models and the run cache to DVC's default remote; what is there already is not sent again.

    Raises:
        PushFailed: DVC refused.
    """
    command = [sys.executable, "-m", "dvc", "push", "--run-cache"]
    result = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = result.stdout.splitlines()
    for line in lines:
        get_run_logger().info(line)
    if result.returncode != 0:
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise PushFailed("\n".join(errors) or f"dvc push: exit code {result.returncode}")
