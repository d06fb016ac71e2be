"""Every fault ends as faulty_outcomes.py says: 78 behaviours x documents, tables, pictures x first, middle, always.

The clients are in a process of their own, so that its memory can be looked at; its deadlines are short, and its pauses
pass 200 times as fast.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.clocks import ScaledClock
from tests.simulators.faulty import ITEMS, KINDS, PHASES, FaultySite, running_faulty_site
from tests.simulators.faulty_behaviours import BEHAVIOURS, prepare_bombs
from tests.sources.faulty_outcomes import OUTCOMES, expected
from tests.torture import TORTURE

Case = tuple[str, str, str]
CASES: list[Case] = [(behaviour, kind, phase) for behaviour in BEHAVIOURS for kind in KINDS for phase in PHASES]
LONGEST_S = 8.0
"""Three attempts of 2.5 s, the deadline that faulty_client.py sets, and the waits between them."""
SLACK_S = 15.0
"""For a machine that does other things as well."""
SILENCE = "refused:timeout"
PEAK_BYTES = 256 * 2**20
KEY = "canary-Zm9yIHRoZSBoZWFkZXIgb25seQ"


def test_every_behaviour_has_a_documented_outcome() -> None:
    assert list(OUTCOMES) == list(BEHAVIOURS)
    assert len(CASES) >= 675


def test_faults_end_as_documented(tmp_path: Path, checkout: Path) -> None:
    shuffled = random.Random(4).sample(CASES, len(CASES))
    _check(shuffled if TORTURE else shuffled[::9], tmp_path, checkout)


def _check(cases: Sequence[Case], folder: Path, checkout: Path) -> None:
    wrong = _ask(cases, folder / "all", checkout)
    # A machine that was busy for a second looks like a server that was silent: that alone is asked again, by itself.
    silent = [case for case, (found, _) in wrong.items() if SILENCE in found]
    assert len(silent) == len(wrong), wrong
    if silent:
        again = _ask(silent, folder / "again", checkout)
        assert not again, wrong


def _ask(cases: Sequence[Case], folder: Path, checkout: Path) -> dict[Case, tuple[list[str], object]]:
    """Returns how the cases ended that did not end as documented, and how they should have."""
    folder.mkdir()
    clock = ScaledClock(200.0, time.monotonic(), time.time())
    late = [f"/{'/'.join(case)}" for case in cases if case[0] == "never_accept"]
    prepare_bombs()
    with running_faulty_site(BEHAVIOURS, clock, late) as site, closing(_canary(site.port)) as canary:
        order = {"clock": [clock.factor, clock.started, clock.wall_started], "folder": str(folder)}
        told = _run(order | {"cases": [_order_of(site, *case) for case in cases]}, site, checkout)
        with pytest.raises(BlockingIOError):
            canary.accept()
    assert site.leaked == []
    assert max(result["took_s"] for result in told["results"].values()) < LONGEST_S + SLACK_S
    assert told["peak_bytes"] < PEAK_BYTES
    assert KEY not in "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
    outcomes = {case: told["results"]["/".join(case)]["outcomes"] for case in cases}
    return {
        case: (found, wanted)
        for case, found in outcomes.items()
        if found != (wanted := expected(*case, num_items=len(found)))
    }


def _order_of(site: FaultySite, behaviour: str, kind: str, phase: str) -> dict[str, Any]:
    has_several = (phase == "middle" or behaviour == "close_on_reuse") and kind != "tsv"
    items = ITEMS if has_several else ITEMS[:1]
    path = f"/{behaviour}/{kind}/{phase}"
    return {"name": path[1:], "kind": kind, "key": KEY, "addresses": [site.address(f"{path}/{item}") for item in items]}


def _run(order: dict[str, Any], site: FaultySite, checkout: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.sources.faulty_client"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=checkout,
        env=os.environ | {"MINIMAGEN_ALLOWED_ADDRESSES": site.allowed},
        timeout=240.0,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return json.loads(done.stdout)


def _canary(port: int) -> socket.socket:
    """Listens where a name leads that has changed its address; nobody is to come."""
    listener = socket.create_server(("127.0.0.2", port))
    listener.setblocking(False)
    return listener
