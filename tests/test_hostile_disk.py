"""A full, read-only or broken disk costs what was to be written, never what was there; nothing is left lying."""

import errno
import os
import resource
import shutil
import signal
import subprocess
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from minimagen.errors import is_of_disk
from minimagen.journal import Journal, read_journal
from tests.artefacts import ARTEFACTS, Artefact, temporaries
from tests.faulty_disk import REFUSALS, intercepted, listed, refusing
from tests.torture import TORTURE, TellTable

pytestmark = pytest.mark.timeout(3600)
NUM_SIZES = 60 if TORTURE else 6
DISK_BYTES = 8 << 20
PAGE_BYTES = 4096
NUM_ENTRIES, TEXT = 300, "x" * 1500


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own where that is allowed, else a folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    is_mounted = _mount(folder)
    yield folder
    if is_mounted:
        subprocess.run(["umount", folder], check=True)


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "minimagen-test", folder]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def room(folder: Path, num_bytes: int) -> Iterator[None]:
    """Leaves so much room within the block: on a file system of its own for all, elsewhere for each file."""
    if not os.path.ismount(folder):
        with _largest_file(num_bytes):
            yield
        return
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    ballast = folder / "ballast"
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(PAGE_BYTES, free - num_bytes))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def _largest_file(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def prepared(artefact: Artefact, folder: Path) -> None:
    """Leaves version 1 alone in a folder, but for the file that fills the disk."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    artefact.write(folder, 1)


def is_written(artefact: Artefact, folder: Path, num_bytes: int) -> bool:
    prepared(artefact, folder)
    try:
        with room(folder, num_bytes):
            artefact.write(folder, 2)
    except OSError:
        return False
    return True


def bytes_of_a_write(artefact: Artefact, folder: Path) -> int:
    """Returns how much room version 2 needs beside version 1: all of it, or as its largest file."""
    if not os.path.ismount(folder):
        prepared(artefact, folder)
        return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    pages = range(DISK_BYTES // 2 // PAGE_BYTES)
    return PAGE_BYTES * bisect_left(pages, True, key=lambda page: is_written(artefact, folder, page * PAGE_BYTES))


def sizes_below(needed: int, folder: Path) -> list[int]:
    """Returns rooms that do not suffice, from nothing to all but the last byte or page."""
    last = needed - (PAGE_BYTES if os.path.ismount(folder) else 1)
    return [last * number // (NUM_SIZES - 1) for number in range(NUM_SIZES)]


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda artefact: artefact.name)
def test_a_full_disk_keeps_what_was_there(artefact: Artefact, disk: Path, tell_table: TellTable) -> None:
    sizes = sizes_below(bytes_of_a_write(artefact, disk), disk)

    for size in sizes:
        prepared(artefact, disk)
        with pytest.raises(OSError) as caught, room(disk, size):
            artefact.write(disk, 2)
        assert is_of_disk(caught.value)
        assert not temporaries(disk)
        assert artefact.version(disk) == 1
        artefact.write(disk, 2)
        assert artefact.version(disk) == 2

    tell_sizes(tell_table, artefact.name, sizes, disk)


def tell_sizes(tell_table: TellTable, name: str, sizes: list[int], disk: Path) -> None:
    kind = "tmpfs" if os.path.ismount(disk) else "largest file"
    head = ("artefact", "sizes", "of", "bytes free", "error told", "old one whole", "left lying", "written with room")
    row = (name, len(sizes), kind, f"{sizes[0]} to {sizes[-1]}", len(sizes), len(sizes), 0, len(sizes))
    tell_table("A full disk", [head, row])


def append_all(journal: Journal) -> None:
    for step in range(NUM_ENTRIES):
        journal.append_or_hold("event", step, {"event": TEXT})


def test_a_full_disk_loses_no_entry_of_a_journal(
    disk: Path, tell_table: TellTable, caplog: pytest.LogCaptureFixture
) -> None:
    path = disk / "journal.jsonl"
    with Journal.open(path) as journal:
        append_all(journal)
    sizes = sizes_below(path.stat().st_size // PAGE_BYTES * PAGE_BYTES, disk)

    for size in sizes:
        path.unlink()
        journal = Journal.open(path)
        caplog.clear()
        with room(disk, size):
            append_all(journal)
            on_disk = [entry.step for entry in read_journal(path)]
            assert on_disk == list(range(len(on_disk))) and len(on_disk) < NUM_ENTRIES
            with pytest.raises(OSError):
                journal.sync()
        journal.close()
        assert [entry.step for entry in read_journal(path)] == list(range(NUM_ENTRIES))
        assert caplog.text.count("are held in memory") == 1

    tell_sizes(tell_table, "journal", sizes, disk)


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda artefact: artefact.name)
def test_every_call_refused_once_and_from_then_on(artefact: Artefact, tmp_path: Path, tell_table: TellTable) -> None:
    calls: list[str] = []
    artefact.write(tmp_path, 1)
    with intercepted(listed(calls)):
        artefact.write(tmp_path, 2)
    codes, found = REFUSALS if TORTURE else REFUSALS[:1], {1: 0, 2: 0}

    for code in codes:
        for start in range(len(calls)):
            for end in (start + 1, None):
                prepared(artefact, tmp_path)
                with suppress(OSError), intercepted(refusing(code, start, end)):
                    artefact.write(tmp_path, 2)
                found[artefact.version(tmp_path)] += 1
                if end is not None and calls[start] in ("open", "write", "fsync", "mkdir"):
                    assert not temporaries(tmp_path)
                artefact.write(tmp_path, 2)
                assert artefact.version(tmp_path) == 2

    head = ("artefact", "calls", "errors", "trials", "old one whole", "new one whole", "lost")
    row = (artefact.name, len(calls), len(codes), sum(found.values()), found[1], found[2], 0)
    tell_table("The n-th call refused (EIO, ENOSPC, EDQUOT), once or from then on", [head, row])


@pytest.mark.parametrize("code", REFUSALS)
def test_a_journal_whose_disk_refuses_in_the_middle_of_a_line_is_never_torn(tmp_path: Path, code: int) -> None:
    for start in range(12):
        for end in (start + 1, start + 2, start + 5):
            path = tmp_path / f"{start}-{end}.jsonl"
            journal = Journal.open(path)
            with intercepted(refusing(code, start, end)):
                for step in range(10):
                    journal.append_or_hold("metric", step, {"loss": 1.0})
            journal.close()
            assert [entry.step for entry in read_journal(path)] == list(range(10))


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda artefact: artefact.name)
def test_a_disk_that_became_read_only_keeps_what_was_there(artefact: Artefact, disk: Path) -> None:
    if not os.path.ismount(disk):
        pytest.skip("mounting is not allowed here")
    prepared(artefact, disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    with pytest.raises(OSError) as caught:
        artefact.write(disk, 2)

    assert caught.value.errno == errno.EROFS
    assert artefact.version(disk) == 1
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    artefact.write(disk, 2)
    assert artefact.version(disk) == 2
