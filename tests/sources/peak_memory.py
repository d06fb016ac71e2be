"""Measures what decoding takes: `python -m tests.sources.peak_memory FOLDER` tells JSON: file to kilobytes.

Each file is normalised in a fork of its own, so that one does not profit from what another has freed.
"""

import json
import os
import sys
from pathlib import Path

from minimagen.sources.images import normalise_image
from tests.sources.own_memory import peak_kb
from tests.sources.remote_case import RULES


def _grown_kb(path: Path) -> int:
    raw = path.read_bytes()
    before = peak_kb()
    normalise_image(raw, RULES)
    return peak_kb() - before


def main() -> None:
    """Measures every file of a folder."""
    grown_kb: dict[str, int] = {}
    for path in sorted(Path(sys.argv[1]).iterdir()):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, str(_grown_kb(path)).encode())
            os._exit(0)
        os.wait()
        grown_kb[path.name] = int(os.read(reading, 100))
    json.dump(grown_kb, sys.stdout)


if __name__ == "__main__":
    main()
