"""What may follow a cascade, as tasks that can be repeated without harm: the gate, and the upload to DVC's remote."""

import subprocess
import sys
from pathlib import Path

from prefect import get_run_logger, task


def promote_cascade(root: Path) -> None:
    """Lets the gate compare the cascade of a project with the champion, and promotes it if it is better."""
    from flows.retrain import promote

    promote(root)


@task(name="push", retries=2, retry_delay_seconds=[10, 60], retry_jitter_factor=0.3)
def push_results(root: Path) -> None:
    """Sends data, models and the run cache to DVC's default remote; what is there already is not sent again.

    Raises:
        subprocess.CalledProcessError: DVC refused; why stands in the log.
    """
    command = [sys.executable, "-m", "dvc", "push", "--run-cache"]
    result = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    for line in result.stdout.splitlines():
        get_run_logger().info(line)
    result.check_returncode()
