from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from minimagen.config import Section
from minimagen.sources.services import (
    AnimeServices,
    ConceptualCaptionsServices,
    TmdbServices,
    Url,
    read_services,
)

ANIME = """
kitsu: {url: "https://kitsu.example/api/edge", requests_per_s: 2, in_flight: 2}
animechan: {url: "https://animechan.example/v1", requests_per_s: 0.25, in_flight: 1}
images: {}
"""


@pytest.mark.parametrize(
    ("name", "kind"),
    [("anime", AnimeServices), ("conceptual_captions", ConceptualCaptionsServices), ("tmdb", TmdbServices)],
)
def test_the_committed_files_are_right_and_ask_over_tls_only(name: str, kind: type[Section], checkout: Path) -> None:
    path = checkout / f"data/services/{name}.yaml"

    assert isinstance(read_services(path, kind), kind)
    assert "http://" not in path.read_text()


def test_kitsu_is_asked_as_gently_as_is_agreed(checkout: Path) -> None:
    services = read_services(checkout / "data/services/anime.yaml", AnimeServices)

    assert services.kitsu.requests_per_s <= 2 and services.kitsu.in_flight <= 2
    assert services.animechan.requests_per_s * 3600 <= 1000
    assert not services.images.robots


def test_what_a_file_does_not_say_of_image_hosts_is_gentle(tmp_path: Path) -> None:
    (tmp_path / "anime.yaml").write_text(ANIME)

    images = read_services(tmp_path / "anime.yaml", AnimeServices).images

    assert images.robots and images.per_host <= 4 and images.requests_per_s <= 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("requests_per_s: 2", "requests_per_s: 0", r"anime\.yaml: kitsu\.requests_per_s"),
        ("in_flight: 1", "in_flight: 0", r"anime\.yaml: animechan\.in_flight"),
        ("images: {}", "images: {robots: maybe}", r"anime\.yaml: images\.robots"),
        ("images: {}", "images: {per_host: 4, perhost: 4}", r"anime\.yaml: images\.perhost"),
        ("images: {}", "", r"anime\.yaml: images"),
        ('"https://kitsu.example/api/edge"', "17", r"anime\.yaml: kitsu\.url"),
        ("requests_per_s: 0.25", "requests_per_s: .inf", r"anime\.yaml: animechan\.requests_per_s"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "anime.yaml").write_text(ANIME.replace(old, new))

    with pytest.raises(ValueError, match=message):
        read_services(tmp_path / "anime.yaml", AnimeServices)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"anime\.yaml"):
        read_services(tmp_path / "anime.yaml", AnimeServices)


@pytest.mark.parametrize(
    "url", ["https://kitsu.app/api/edge", "http://127.0.0.1:5000", "http://a", "http://[::1]:80/x", "https://h/a.tsv"]
)
def test_an_address_is_taken_as_it_is(url: str) -> None:
    assert TypeAdapter(Url).validate_python(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "kitsu.app/api",
        "ftp://kitsu.app/api",
        "https://",
        "https://kitsu.app/",
        "https://kitsu.app/api/",
        "https://kitsu.app/api?key=1",
        "https://kitsu.app/api#top",
        "https://me:secret@kitsu.app/api",
        "https://kitsu.app/a b",
        "https://kitsu.app/api\n",
    ],
)
def test_an_address_that_could_not_be_gone_on_from_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Url).validate_python(url)
