import json
from pathlib import Path

import pytest

from minimagen.config import CaptionRules, FolderConfig, ImageRules
from minimagen.files import sha256_bytes
from minimagen.rows import Rejection
from minimagen.sources.folder_items import FolderItem, list_items, printable

CONFIG = FolderConfig(
    captions_file=None,
    path_column="file_name",
    caption_column="text",
    license="CC0-1.0",
    lang="en",
    shard_rows=3,
    images=ImageRules(
        store_size=16, min_side=8, max_aspect=3.0, max_pixels=99, min_std=2.0, animated="reject", encoding="png"
    ),
    captions=CaptionRules(min_chars=3, max_chars=60),
)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def caption(folder: Path, *names: str) -> None:
    lines = [json.dumps({"file_name": name, "text": f"about {name}"}) + "\n" for name in names]
    (folder / "metadata.jsonl").write_text("".join(lines))


def test_captioned_pictures_come_first_in_the_order_of_the_captions(tmp_path: Path) -> None:
    write(tmp_path, "c.png", "a.png", "b/x.jpg", "b/a.gif", "z.png")
    caption(tmp_path, "z.png", "a.png")

    items = list_items(CONFIG, tmp_path)

    assert [item.path for item in items] == ["z.png", "a.png", "c.png", "b/a.gif", "b/x.jpg"]
    assert items[0] == FolderItem("z.png", ("about z.png",), sha256_bytes(b"z.png"))
    assert all(item.rejection == Rejection("no_caption", "no row of the captions names it") for item in items[2:])


def test_what_is_no_picture_or_hidden_is_not_counted(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "notes.txt", "Thumbs.db", ".DS_Store", ".hidden.png", ".git/b.png", "no_suffix")
    caption(tmp_path, "a.png")

    assert [item.path for item in list_items(CONFIG, tmp_path)] == ["a.png"]


@pytest.mark.parametrize("name", ["a.bmp", "a.tiff", "a.avif", "a.HEIC", "a.svg", "a.JPEG"])
def test_pictures_of_formats_that_are_not_read_are_counted_too(tmp_path: Path, name: str) -> None:
    write(tmp_path, "b.png", name)
    caption(tmp_path, "b.png")

    assert [item.path for item in list_items(CONFIG, tmp_path)] == ["b.png", name]


def test_a_captioned_file_of_any_name_is_tried(tmp_path: Path) -> None:
    write(tmp_path, "no_suffix", ".hidden.png")
    caption(tmp_path, "no_suffix", ".hidden.png")

    assert all(item.rejection is None for item in list_items(CONFIG, tmp_path))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.png", "a/../../x.png", "..", "b/../../../x"])
def test_a_name_that_leads_out_of_the_folder_is_rejected_unseen(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "pictures"
    write(folder, "a.png")
    write(tmp_path, "x.png")
    caption(folder, name)

    assert list_items(CONFIG, folder)[0].rejection == Rejection(
        "outside_folder", "the captions name a place outside of the folder"
    )


@pytest.mark.parametrize("name", ["./a.png", "b/../a.png", "b//../a.png"])
def test_one_picture_has_one_name_however_it_is_written(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a.png", "b/c.png")
    caption(tmp_path, "a.png", name)

    (first, _) = list_items(CONFIG, tmp_path)

    assert first.path == "a.png" and first.captions == ("about a.png", f"about {name}")


def test_two_files_whose_names_differ_in_spelling_alone_are_two(tmp_path: Path) -> None:
    write(tmp_path, "caf\u00e9.png", "cafe\u0301.png")
    caption(tmp_path, "caf\u00e9.png", "cafe\u0301.png")

    items = list_items(CONFIG, tmp_path)

    assert [(item.path, len(item.captions)) for item in items] == [("caf\u00e9.png", 1), ("cafe\u0301.png", 1)]


def test_names_that_are_no_utf8_become_printable() -> None:
    assert printable("a\udcff.png") == "a\\udcff.png"
    assert printable("caf\u00e9.png") == "caf\u00e9.png"
