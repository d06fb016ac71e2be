"""Read by every Python that a test starts, and by those that it starts: none of them may reach beyond loopback.

`tests/conftest.py` puts this folder on PYTHONPATH. What is refused is written into a file that fails the test, for a
process may swallow the refusal.
"""

import os
import runpy
import sys
from pathlib import Path

if "OFFLINE_LOG" in os.environ:
    _LOG = Path(os.environ["OFFLINE_LOG"])
    _beyond_loopback = runpy.run_path(str(Path(__file__).parents[1] / "guards.py"))["refusal_of_network"]

    def _refuse(event: str, arguments: tuple[object, ...]) -> None:
        complaint = _beyond_loopback(event, arguments)
        if complaint is not None:
            with _LOG.open("a") as stream:
                stream.write(f"{' '.join(sys.orig_argv)[:200]}: {event}: {complaint}\n")
            raise RuntimeError(f"{event}: {complaint}")

    sys.addaudithook(_refuse)
