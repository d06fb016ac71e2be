"""Titles made comparable: two services write the same title differently. Knows neither service."""

import re
import unicodedata

_SEASON = re.compile(
    r" (?:season (?:\d+|one|two|three|four|five|ii|iii|iv)|s\d+|(?:\d+(?:st|nd|rd|th)|first|second|third|fourth|fifth)"
    r" season|(?:the )?final season|part (?:\d+|ii|iii|iv)|cour \d+|ii|iii|iv)$"
)
_DROPPED = frozenset("'\u2019\u02bc`")  # apostrophes join: "Kon'nichiwa"


def normalise_title(title: str) -> str:
    """Returns what is left of a title without case, width, punctuation, and the seasons and parts at its end.

    Numbers that are part of a name stay ("Mob Psycho 100"), and so does everything after a colon: a spin-off is not
    its parent. Empty for a title without a letter or digit, which is like no other.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", title).casefold())
    kept = "".join(_plain(char) for char in folded)
    name = " ".join(kept.split())
    while (shorter := _SEASON.sub("", name)) != name:
        name = shorter
    return name


def _plain(char: str) -> str:
    if char in _DROPPED:
        return ""
    if char == "\u00d7":  # the sign of "Hunter x Hunter"
        return "x"
    return char if unicodedata.category(char)[0] in "LMN" else " "
