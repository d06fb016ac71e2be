import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.rows import Rejection
from minimagen.sources.decoding_notes import DecodingNotes
from minimagen.sources.images import NormalisedImage
from minimagen.sources.spool import Spool, notes_path, open_spool, remove_spool, spool_path

PICTURE = NormalisedImage(b"\x00png\xff\n", "png", 3, 4, 30, 40, "ab" * 32, -(2**63))
REFUSAL = Rejection("http_404", "status 404\n\u00e9")
ODD = "http://a.example/\udcff\u2028?x=1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return spool_path(tmp_path, "2026-11-01-00000")


def keep_some(spool: Spool) -> None:
    spool.keep("http://a/", PICTURE)
    spool.keep("http://b/", REFUSAL)


def begin(path: Path, fingerprint: str = "one") -> None:
    with open_spool(path, fingerprint) as spool:
        keep_some(spool)


def test_a_new_spool_knows_nothing(path: Path) -> None:
    with open_spool(path, "one") as spool:
        assert spool.verdicts() == {} and spool.suspects == set()


def test_what_was_kept_is_there_at_once_and_again(path: Path) -> None:
    with open_spool(path, "one") as spool:
        keep_some(spool)
        assert spool.picture("http://a/") == PICTURE
    with open_spool(path, "one") as spool:
        assert spool.verdicts() == {"http://a/": PICTURE.sha256, "http://b/": REFUSAL}
        assert spool.picture("http://a/") == PICTURE
        spool.keep(ODD, PICTURE)
    with open_spool(path, "one") as spool:
        assert list(spool.verdicts()) == ["http://a/", "http://b/", ODD]
        assert spool.picture(ODD) == PICTURE


def test_what_was_kept_is_there_although_its_process_was_killed(path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys\n"
        "from minimagen.sources.spool import open_spool\n"
        "from tests.sources.test_spool import keep_some\n"
        "with open_spool(pathlib.Path(sys.argv[1]), 'one') as spool:\n"
        "    keep_some(spool)\n"
        "    spool.notes.set(0, 'http://c/')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    subprocess.run([sys.executable, "-c", script, str(path)], check=False, cwd=Path(__file__).parents[2])

    for _ in range(2):  # who dies of a picture once is suspected until the spool is done with
        with open_spool(path, "one") as spool:
            assert spool.picture("http://a/") == PICTURE and spool.verdicts()["http://b/"] == REFUSAL
            assert spool.suspects == {"http://c/"}


def test_a_spool_of_other_work_is_begun_anew(path: Path) -> None:
    begin(path)
    DecodingNotes(notes_path(path)).set(0, "http://c/")

    with open_spool(path, "other") as spool:
        assert spool.verdicts() == {} and spool.suspects == set()
        spool.keep("http://b/", PICTURE)
    with open_spool(path, "other") as spool:
        assert spool.verdicts() == {"http://b/": PICTURE.sha256}


@pytest.mark.parametrize("damage", [b"", b"spool", b"not a spool" * 100, b"\xff" * 5000])
def test_a_file_that_is_no_spool_is_begun_anew(path: Path, damage: bytes) -> None:
    begin(path)
    path.write_bytes(damage)

    with open_spool(path, "one") as spool:
        spool.keep("http://c/", REFUSAL)
    with open_spool(path, "one") as spool:
        assert spool.verdicts() == {"http://c/": REFUSAL}


def test_wherever_a_spool_is_cut_off_or_altered_what_is_whole_before_stays(path: Path) -> None:
    begin(path)
    content = path.read_bytes()
    ends = [content.index(b"\n") + 1]
    while ends[-1] < len(content):
        ends.append(ends[-1] + 8 + int.from_bytes(content[ends[-1] : ends[-1] + 4], "little"))
    both = {"http://a/": PICTURE.sha256, "http://b/": REFUSAL}

    for position in range(ends[0], len(content)):
        num_whole = sum(end <= position for end in ends) - 1
        altered = bytearray(content)
        altered[position] ^= 0xFF
        for damaged in (content[:position], bytes(altered)):
            path.write_bytes(damaged)
            with open_spool(path, "one") as spool:
                assert spool.verdicts() == dict(list(both.items())[:num_whole])
            assert path.stat().st_size == ends[num_whole]


def test_an_address_has_one_outcome(path: Path) -> None:
    begin(path)

    with open_spool(path, "one") as spool, pytest.raises(AssertionError, match="http://a/ has two outcomes"):
        spool.keep("http://a/", PICTURE)


def test_what_is_known_from_elsewhere_is_taken_over_where_it_is_wanted_and_missing(path: Path) -> None:
    begin(path)
    other = Rejection("flat", "")

    with open_spool(path, "one") as spool:
        spool.take_over([("http://a/", other), ("http://c/", other), ("http://d/", other)], ["http://a/", "http://c/"])

    with open_spool(path, "one") as spool:
        assert spool.verdicts() == {"http://a/": PICTURE.sha256, "http://b/": REFUSAL, "http://c/": other}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_is_an_error_and_not_a_record(path: Path) -> None:
    with open_spool(path, "one") as spool:
        descriptor = os.open("/dev/full", os.O_RDWR)
        os.dup2(descriptor, spool._descriptor)  # pyright: ignore[reportPrivateUsage]
        os.close(descriptor)

        with pytest.raises(OSError, match="No space left"):
            spool.keep("http://a/", PICTURE)
        assert spool.verdicts() == {}


def test_a_removed_spool_leaves_nothing(path: Path) -> None:
    with open_spool(path, "one") as spool:
        spool.keep("http://a/", PICTURE)
        assert len(list(path.parent.iterdir())) == 2

        remove_spool(path)

    assert not list(path.parent.iterdir())
    remove_spool(path)


def test_a_spool_whose_removal_was_cut_short_is_still_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(path)
    unlink = Path.unlink

    def unlink_and_die(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok=missing_ok)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", unlink_and_die)
    with pytest.raises(KeyboardInterrupt):
        remove_spool(path)

    assert path.exists()
