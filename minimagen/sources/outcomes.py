"""How asking for one picture may end. Knows no protocol."""

from dataclasses import dataclass

from minimagen.sources.body import Body


@dataclass(frozen=True, slots=True)
class Fetched:
    """The picture's file came whole, as far as the protocol can tell."""

    body: bytes | Body
    final_url: str
    """Where it came from after redirects."""

    @property
    def content(self) -> bytes:
        """The file; read anew each time if it is a long one."""
        return self.body if isinstance(self.body, bytes) else self.body.read()


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot be had, and asking again later would not mend that."""

    reason: str
    """A word that is counted."""
    detail: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """It cannot be had for the moment; a later run asks again."""

    detail: str
