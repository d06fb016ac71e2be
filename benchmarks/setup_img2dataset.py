"""Makes the environment that img2dataset runs in: benchmarks/.venv-img2dataset, from exact versions and nothing else.

    python -m benchmarks.setup_img2dataset

It needs an older pandas than this project has, and much besides.
"""

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent
ENVIRONMENT = FOLDER / ".venv-img2dataset"
REQUIREMENTS = FOLDER / "requirements-img2dataset.txt"
READY = ".ready"


def img2dataset_command(environment: Path = ENVIRONMENT) -> Path:
    """Returns the command of img2dataset.

    Raises:
        FileNotFoundError: the environment is not there or not finished.
    """
    if not (environment / READY).exists():
        raise FileNotFoundError(f"{environment} is not there: python -m benchmarks.setup_img2dataset makes it")
    return environment / "bin" / "img2dataset"


def main() -> None:
    """Installs what is missing; a finished environment of the same versions stays as it is."""
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    ready = ENVIRONMENT / READY
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        print(f"{ENVIRONMENT} is ready")
        return
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True, stdout=sys.stderr)
    ready.write_text(wanted, encoding="utf-8")
    print(f"{ENVIRONMENT} is ready")


if __name__ == "__main__":
    main()
