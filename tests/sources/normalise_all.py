"""Normalises every picture of the corpus in a process of its own: `python -m tests.sources.normalise_all STRIDE`.

Tells a line of JSON for each: its name, what became of it and the seconds that took; at last the peak of its memory.
"""

import json
import sys
import time

from minimagen.rows import Rejection
from minimagen.sources.decoding import MAX_DECODE_BYTES
from minimagen.sources.images import normalise_image
from tests.sources.damaged_pictures import damaged_pictures
from tests.sources.odd_pictures import odd_pictures
from tests.sources.own_memory import peak_kb
from tests.sources.remote_case import RULES

CORPUS_RULES = RULES.model_copy(update={"store_size": 64})
"""No picture of the corpus that is stored is shrunk: pixels can be compared."""


def corpus(stride: int) -> list[tuple[str, bytes]]:
    """Returns name and file of every odd picture, and of every ``stride``-th damaged one."""
    damaged = [(one.name, one.raw) for one in damaged_pictures()]
    return [(one.name, one.raw) for one in odd_pictures()] + damaged[::stride]


def main() -> None:
    """Goes through the corpus once."""
    pictures = corpus(int(sys.argv[1]))
    for name, raw in pictures:
        started = time.monotonic()
        outcome = normalise_image(raw, CORPUS_RULES, max_decode_bytes=MAX_DECODE_BYTES)
        record = {
            "name": name,
            "reason": outcome.reason if isinstance(outcome, Rejection) else "",
            "detail": outcome.detail if isinstance(outcome, Rejection) else outcome.sha256,
            "seconds": time.monotonic() - started,
        }
        sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.write(json.dumps({"peak_mb": peak_kb() / 1024}) + "\n")


if __name__ == "__main__":
    main()
