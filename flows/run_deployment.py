"""`prefect deployment run` against the server that `make orchestrate` runs here: what `minimagen cascade` starts.

Becomes that command; imports no Prefect itself.
"""

import os
import sys
from pathlib import Path

import typer

from flows.local_server import announced_settings
from minimagen.errors import USER_ERROR_CODE


def main() -> None:
    """Runs `python -m flows.run_deployment NAME [OPTIONS]` in the root of a project; the flow is called NAME too."""
    name, *options = sys.argv[1:]
    environment = dict(os.environ)
    if "PREFECT_API_URL" not in environment:
        environment |= announced_settings(Path())
    if "PREFECT_API_URL" not in environment:
        typer.echo(
            "no Prefect server runs for this project: start `make orchestrate`, or set PREFECT_API_URL", err=True
        )
        sys.exit(USER_ERROR_CODE)
    command = [sys.executable, "-m", "prefect", "deployment", "run", f"{name}/{name}", *options]
    os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    main()
