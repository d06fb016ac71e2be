import pytest

from minimagen.sources.titles import normalise_title


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Attack on Titan", "attack  on titan"),
        ("Attack on Titan", "Attack on Titan Season 2"),
        ("Attack on Titan", "Attack on Titan: The Final Season Part 2"),
        ("Attack on Titan", "Attack on Titan 3rd Season"),
        ("Overlord", "Overlord III"),
        ("Mob Psycho 100", "Mob Psycho 100 II"),
        ("My Hero Academia", "My Hero Academia (Season 5)"),
        ("Spice and Wolf", "Spice & Wolf II".replace("&", "and")),
        ("Re:ZERO -Starting Life in Another World-", "Re: Zero: Starting Life in Another World"),
        ("Hunter x Hunter", "HUNTER\u00d7HUNTER".replace("\u00d7", " \u00d7 ")),
        ("JoJo's Bizarre Adventure", "JoJo\u2019s Bizarre Adventure"),
        ("\uff24\uff52. STONE", "Dr Stone"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u304b\u3099", "\u304c"),
    ],
)
def test_spellings_of_one_title_are_the_same(one: str, other: str) -> None:
    assert normalise_title(one) == normalise_title(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Naruto", "Boruto: Naruto Next Generations"),
        ("Naruto", "Naruto: Shippuuden"),
        ("Mob Psycho 100", "Mob Psycho"),
        ("Hunter x Hunter", "Hunter x Hunter (2011)"),
        ("Eighty-Six", "86"),
        ("Fate/Zero", "Fate"),
    ],
)
def test_different_titles_stay_different(one: str, other: str) -> None:
    assert normalise_title(one) != normalise_title(other)


@pytest.mark.parametrize("title", ["", "!!!", "\u2605\u2665", "...?"])
def test_a_title_without_a_letter_is_like_no_other(title: str) -> None:
    assert normalise_title(title) == ""


def test_a_title_that_is_nothing_but_a_season_stays() -> None:
    assert normalise_title("Season 2") == "season 2"


@pytest.mark.parametrize("title", ["Attack on Titan: The Final Season Part 2", "\u0130stanbul II", "\ufb03x Season 2"])
def test_a_normalised_title_is_its_own_normal_form(title: str) -> None:
    assert normalise_title(normalise_title(title)) == normalise_title(title)
