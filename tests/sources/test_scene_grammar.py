import itertools
import json
import re
from pathlib import Path

import pytest

from minimagen.sources.scene_drawing import read_sprite_names
from minimagen.sources.scene_grammar import (
    BACKGROUNDS,
    POSITIONS,
    RELATIONS,
    SIZES,
    WITHOUT_ARTICLE,
    Scene,
    SceneObject,
    caption_of,
    grammar_corpus,
    group_of,
    noun_phrase,
    parse_caption,
    read_extra,
    write_extra,
)


def lone(name: str, size: str, position: str, background: str) -> Scene:
    return Scene((SceneObject(name, size, position),), None, background)


def pair(first: str, relation: str, second: str, background: str) -> Scene:
    return Scene((SceneObject(first), SceneObject(second)), relation, background)


@pytest.fixture(scope="module")
def names() -> tuple[str, ...]:
    return read_sprite_names(Path(__file__).parents[2] / "data/assets/sprites.parquet")


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (lone("red apple", "large", "center", "blue"), "a large red apple on a blue background"),
        (lone("axe", "small", "top left", "orange"), "a small axe in the top left on an orange background"),
        (lone("jeans", "large", "left", "pink"), "large jeans on the left on a pink background"),
        (pair("banana", "left of", "frog", "pink"), "a banana to the left of a frog on a pink background"),
        (pair("hourglass", "above", "unicorn", "red"), "an hourglass above a unicorn on a red background"),
    ],
)
def test_captions_read_like_english(scene: Scene, caption: str) -> None:
    assert caption_of(scene) == caption


@pytest.mark.parametrize(
    ("name", "phrase"),
    [("umbrella", "an umbrella"), ("ewe", "a ewe"), ("x-ray", "an x-ray"), ("euro banknote", "a euro banknote")],
)
def test_articles_follow_the_sound(name: str, phrase: str) -> None:
    assert noun_phrase(name) == phrase


def test_names_without_an_article_are_names_of_sprites(names: tuple[str, ...]) -> None:
    assert set(names) >= WITHOUT_ARTICLE


def test_every_caption_parses_back_to_its_scene(names: tuple[str, ...]) -> None:
    lones = itertools.product(names[::7], SIZES, POSITIONS, BACKGROUNDS)
    pairs = itertools.product(names[::40], RELATIONS, names[3::40], BACKGROUNDS)
    scenes = [*(lone(*words) for words in lones), *(pair(*words) for words in pairs)]

    assert [parse_caption(caption_of(scene), names) for scene in scenes] == scenes


def test_parsing_forgives_case_spaces_articles_and_a_final_stop(names: tuple[str, ...]) -> None:
    expected = lone("red apple", "large", "center", "blue")

    assert parse_caption("  Large  Red apple on blue background. ", names) == expected


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a large red aple on a blue background", "object 'red aple' is not known; nearest: red apple"),
        ("a large red apple on a bleu background", "background 'bleu' is not known; nearest: blue"),
        ("a red apple on a blue background", "says no size: expected small or large before 'red apple'"),
        ("a movie about love", "does not end in 'on a <colour> background'"),
        ("", "does not end in"),
    ],
)
def test_a_foreign_caption_is_refused_with_the_nearest_words(
    names: tuple[str, ...], caption: str, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_caption(caption, names)


def test_two_captions_of_one_picture_are_one_group() -> None:
    assert group_of(pair("frog", "right of", "fox", "red")) == group_of(pair("fox", "left of", "frog", "red"))
    assert group_of(pair("frog", "below", "fox", "red")) == group_of(pair("fox", "above", "frog", "red"))
    assert group_of(pair("frog", "left of", "fox", "red")) != group_of(pair("fox", "left of", "frog", "red"))


@pytest.mark.parametrize("scene", [lone("fox", "small", "top", "red"), pair("fox", "below", "frog", "red")])
def test_the_ground_truth_survives_the_column_extra(scene: Scene) -> None:
    extra = write_extra(scene, is_held_out=True)

    truth = read_extra(extra)

    assert (truth.scene, truth.group, truth.is_held_out) == (scene, group_of(scene), True)
    assert {"group", "held_out", "scene"} == json.loads(extra).keys()


def test_the_corpus_uses_every_word_of_the_grammar(names: tuple[str, ...]) -> None:
    corpus = grammar_corpus(names)

    text = "\n".join(corpus)
    spoken = [*POSITIONS.values(), *RELATIONS.values(), *SIZES, *(f" {name} background" for name in BACKGROUNDS)]
    assert [words for words in [*names, *spoken] if words not in text] == []
    assert [caption_of(parse_caption(line, names)) for line in corpus] == corpus
