"""What APIs answer: documents, and refusals in words. Knows the shapes of errors, no service."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from minimagen.errors import UnavailableError, UserError


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What an API answered."""

    status: int
    document: object
    """The JSON of the body; None where an answer that is no success has none."""
    headers: Mapping[str, str]
    """Case-insensitive."""


class ApiError(UserError):
    """An API does not give what was asked for, and asking again at once would not mend that.

    The message names the address without its query, and what the service says; never a key.
    """

    def __init__(self, message: str, status: int | None = None, document: object = None) -> None:
        """Args: status: None if there was no answer at all."""
        super().__init__(message)
        self.status = status
        self.document = document


class UnavailableApiError(ApiError, UnavailableError):
    """The API wants to be asked later, or did not answer in a few tries."""


class TroubleError(Exception):
    """An attempt failed, and the next one may not."""

    def __init__(self, message: str, *, status: int | None = None, has_progressed: bool = False) -> None:
        """Args: has_progressed: something was gained that the next attempt need not ask for."""
        super().__init__(message)
        self.status = status
        self.has_progressed = has_progressed


def parse_document(content: bytes) -> object:
    """Returns the JSON of a body.

    Raises:
        TroubleError: it is none: a page of a proxy, cut short, NaN or too deep.
    """
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        begins = content[:40].decode("ascii", "replace").encode("ascii", "replace").decode()
        raise TroubleError(f"no JSON ({type(error).__name__}), begins with {begins!r}") from None


def message_of(document: object) -> str:
    """Returns what a service says of a refusal, in a short line; empty if nothing is found."""
    found = document
    for _ in range(4):
        if isinstance(found, Mapping):
            keys = ("status_message", "errors", "error", "message", "detail", "title")
            found = next((found[key] for key in keys if found.get(key)), "")
        elif isinstance(found, list):
            found = found[0] if found else ""
    text = found if isinstance(found, str) else ""
    return "".join(character if character.isprintable() else " " for character in text)[:200].strip()


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
