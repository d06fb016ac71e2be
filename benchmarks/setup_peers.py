"""Makes the environment that the peers run in: benchmarks/.venv-peers, from exact versions and nothing else.

    python -m benchmarks.setup_peers

The peers' own pins contradict each other and this Python, so every package is installed without looking at them.
"""

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent
ENVIRONMENT = FOLDER / ".venv-peers"
REQUIREMENTS = FOLDER / "requirements-peers.txt"
TORCH = "torch==2.13.0"
"""As in the Makefile: with or without CUDA, as the index offers."""
READY = ".ready"


def peer_python(environment: Path = ENVIRONMENT) -> Path:
    """Returns the interpreter of the peers.

    Raises:
        FileNotFoundError: the environment is not there or not finished.
    """
    if not (environment / READY).exists():
        raise FileNotFoundError(f"{environment} is not there: python -m benchmarks.setup_peers makes it")
    return environment / "bin" / "python"


def main() -> None:
    """Installs what is missing; a finished environment of the same versions stays as it is."""
    wanted = TORCH + "\n" + REQUIREMENTS.read_text(encoding="utf-8")
    ready = ENVIRONMENT / READY
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        print(f"{ENVIRONMENT} is ready")
        return
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for packages in ([TORCH], ["--no-deps", "-r", str(REQUIREMENTS)]):
        subprocess.run([*pip, *packages], check=True, stdout=sys.stderr)
    ready.write_text(wanted, encoding="utf-8")
    print(f"{ENVIRONMENT} is ready")


if __name__ == "__main__":
    main()
