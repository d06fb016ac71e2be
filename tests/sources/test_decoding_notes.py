import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.sources.decoding_notes import DecodingNotes, read_notes


def test_what_is_noted_can_be_read_while_it_is_decoded_and_not_after(tmp_path: Path) -> None:
    path = tmp_path / "notes"

    with DecodingNotes(path) as notes:
        notes.set(0, "http://a.example/1")
        notes.set(1, "http://b.example/2")
        both = read_notes(path)
        notes.clear(0)
        one = read_notes(path)

    assert both == ["http://a.example/1", "http://b.example/2"]
    assert one == ["http://b.example/2"]
    assert read_notes(path) == []


def test_a_shorter_address_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    with DecodingNotes(tmp_path / "notes") as notes:
        notes.set(0, "http://a.example/" + "x" * 4000)
        notes.set(0, "http://a.example/")

        assert read_notes(tmp_path / "notes") == ["http://a.example/"]


def test_a_process_that_dies_leaves_its_notes(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, pathlib\n"
        "from minimagen.sources.decoding_notes import DecodingNotes\n"
        "with DecodingNotes(pathlib.Path(sys.argv[1])) as notes:\n"
        "    notes.set(1, 'http://a.example/bad')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    result = subprocess.run([sys.executable, "-c", script, str(tmp_path / "notes")], check=False)

    assert result.returncode == -9
    assert read_notes(tmp_path / "notes") == ["http://a.example/bad"]


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_a_file_that_is_no_notes_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes").write_bytes(content)

    assert read_notes(tmp_path / "notes") == []


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert read_notes(tmp_path / "notes") == []
