"""What owners of pictures say in headers about the use of a picture for machine learning.

X-Robots-Tag: the words below, alone or after the name of a robot; tdm-reservation: W3C TDM Reservation Protocol.
"""

from collections.abc import Iterable

from minimagen.sources.user_agent import NAME

_DIRECTIVES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
"""What stands before a colon and is no robot."""
_WORDS = frozenset({"noai", "noimageai", "noml", "noindex", "noimageindex", "none"})


def opt_out(robots_tags: Iterable[str], tdm_reservations: Iterable[str]) -> str | None:
    """Returns the header that reserves a picture, None if none does.

    Args:
        robots_tags: values of all X-Robots-Tag headers; "otherbot: noai" speaks to another robot.
        tdm_reservations: values of all tdm-reservation headers; "1" reserves.
    """
    for value in robots_tags:
        if _WORDS.intersection(_words_for_us(value)):
            return f"X-Robots-Tag: {value[:100]}"
    return "tdm-reservation: 1" if any(value.strip() == "1" for value in tdm_reservations) else None


def _words_for_us(value: str) -> Iterable[str]:
    """Yields the words of a header that are for all robots or for ours; a robot's name holds up to the next one."""
    robot = ""
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in _DIRECTIVES:
            robot, part = name.strip(), rest
        if robot in ("", "*") or NAME.startswith(robot):
            yield part.strip()
