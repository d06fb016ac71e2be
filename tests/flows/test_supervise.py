import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.supervise import MAX_STARTS, Service, ServiceFailed

CHECKOUT = Path(__file__).parents[2]
PARENT_OF_ORPHANS = """
import subprocess
import psutil
from flows.supervise import adopt_orphans, kill_descendants, reap

def adopted():
    return [(child.status() == psutil.STATUS_ZOMBIE, child) for child in psutil.Process().children()]

adopt_orphans()
subprocess.run(["sh", "-c", "setsid sleep 600 > /dev/null 2>&1 & setsid true > /dev/null 2>&1 &"], check=True)
while sorted(is_dead for is_dead, _ in adopted()) != [False, True]:
    pass
reap([])
((is_dead, orphan),) = adopted()
assert not is_dead
kill_descendants()
assert adopted() == []
assert not orphan.is_running()
"""


def service(tmp_path: Path, *command: str) -> Service:
    return Service("baker", command, {}, tmp_path / "logs/baker.log")


def test_a_service_that_does_not_start_says_its_last_words(tmp_path: Path) -> None:
    baker = service(tmp_path, "/bin/sh", "-c", "echo the oven is cold; exit 3")
    baker.start()
    with pytest.raises(ServiceFailed, match=r"baker did not start:\nthe oven is cold"):
        baker.wait_until(lambda: False, 30)


def test_a_service_that_is_never_ready_is_told_so(tmp_path: Path) -> None:
    baker = service(tmp_path, "/bin/sleep", "600")
    baker.start()
    with pytest.raises(ServiceFailed, match=r"baker is not ready after 0 s; see .*baker.log"):
        baker.wait_until(lambda: False, 0.0)
    baker.end(signal.SIGTERM, 10)
    assert not baker.is_running


def test_a_service_that_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    baker = service(tmp_path, "/bin/true")
    for _ in range(MAX_STARTS):
        baker.start()
        baker.end(signal.SIGTERM, 10)
    with pytest.raises(ServiceFailed, match=f"baker died {MAX_STARTS} times"):
        baker.start()


def test_what_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    baker = service(tmp_path, "/bin/sh", "-c", "trap '' TERM; sleep 600 & echo ready; wait; wait")
    baker.start()
    baker.wait_until(lambda: "ready" in baker.last_words(), 30)
    assert baker.process is not None
    family = psutil.Process(baker.process.pid).children(recursive=True)
    assert family
    baker.end(signal.SIGTERM, 0.1)
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_service_hears_sigint_though_its_starter_was_told_not_to(tmp_path: Path) -> None:
    baker = service(tmp_path, sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT), flush=True)")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        baker.start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert baker.process is not None
    baker.process.wait()
    assert "default_int_handler" in baker.last_words()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to an ancestor")
def test_orphans_are_adopted_buried_and_killed() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PARENT_OF_ORPHANS], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
