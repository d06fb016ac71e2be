"""Animechan's quotes: asked for by title at the tiny rate that the service grants, every answer kept for ever.

Knows no picture. The service finds titles loosely (asked for a title it also answers with its spin-offs), so a quote
belongs to the titles that are the same once they are normalised, whichever was asked for.
"""

import json
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from minimagen.files import canonical_json, sha256_bytes, write_atomic
from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.clock import Clock
from minimagen.sources.http import ApiClient, ApiError
from minimagen.sources.request_budget import RequestBudget
from minimagen.sources.services import Endpoint
from minimagen.sources.titles import normalise_title

logger = logging.getLogger(__name__)

KEY_NAME = "ANIMECHAN_KEY"
"""Environment variable of the key, which is optional."""
QUOTES_A_PAGE = 5
PER_HOUR = 5
"""Requests an hour without a key; one more blocks for an hour."""
PER_HOUR_WITH_KEY = 1000
_UNKNOWN_TITLE = 404
_TOO_MANY = 429
_FAILING = (500, 502, 503, 504)
_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class _Question:
    names: tuple[str, ...]
    """The title's name to ask for, and others to try where the service does not know it."""
    page: int

    @property
    def key(self) -> str:
        return f"{normalise_title(self.names[0])}|{self.page}"


@dataclass(frozen=True, slots=True)
class _Quote:
    content: str
    titles: tuple[str, ...]
    """Normalised names of what it is said in."""


class QuoteBook:
    """The answers that are kept in a folder."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder, which may be absent."""
        self._folder = folder

    def sweep(self) -> None:
        """Deletes what a kill left half written; nobody else may be writing."""
        for path in self._folder.glob("*.tmp-*"):
            path.unlink()

    def find(self, question: _Question) -> list[_Quote] | None:
        """Returns what was once answered, None if it was never asked."""
        try:
            record = json.loads(self._path(question.key).read_bytes())
        except FileNotFoundError:
            return None
        return _quotes_of(record["quotes"])

    def add(self, question: _Question, quotes: Sequence[object]) -> None:
        """Keeps an answer."""
        record = {"asked": question.key, "quotes": quotes}
        write_atomic(self._path(question.key), canonical_json(record).encode())

    def by_title(self) -> Mapping[str, tuple[str, ...]]:
        """Returns every known quote below the normalised titles that it belongs to, in the order of the questions."""
        records = [json.loads(path.read_bytes()) for path in self._folder.glob("*.json")]
        found: dict[str, dict[str, None]] = {}
        for record in sorted(records, key=lambda record: record["asked"]):
            for quote in _quotes_of(record["quotes"]):
                for title in quote.titles:
                    found.setdefault(title, {})[quote.content] = None
        return {title: tuple(contents) for title, contents in found.items()}

    def _path(self, key: str) -> Path:
        return self._folder / f"{sha256_bytes(key.encode())[:32]}.json"


def quotes_client(endpoint: Endpoint, key: SecretStr | None, state: Path, clock: Clock) -> ApiClient:
    """Returns a client that makes one request a call: trying again would spend the hour's requests unseen."""
    limits = ApiLimits(attempts=1)
    return ApiClient(endpoint, state=state, token=key, auth="x-api-key", key_name=KEY_NAME, clock=clock, limits=limits)


def budget_of(key: SecretStr | None, state: Path, clock: Clock) -> RequestBudget:
    """Returns the budget of those who ask with a key, or of those who ask without."""
    if key is None:
        return RequestBudget(state / "animechan.json", per_hour=PER_HOUR, clock=clock)
    return RequestBudget(state / "animechan_with_key.json", per_hour=PER_HOUR_WITH_KEY, clock=clock)


def gather_quotes(
    client: ApiClient,
    titles: Iterable[Sequence[str]],
    *,
    book: QuoteBook,
    budget: RequestBudget,
    max_requests: int,
    asked: Path,
) -> None:
    """Asks for the quotes of titles, the first page of each before the second of any, as far as the budgets go.

    An answer that is known costs nothing. A service that is down, or has had enough, ends it: what is known is used.

    Args:
        titles: the names of each title, the one to ask for first.
        max_requests: of one plan, at most, however often it is interrupted; ``asked`` remembers them.

    Raises:
        ApiError: the key is refused.
    """
    book.sweep()
    requests = _read_asked(asked)
    questions = deque(_first_questions(titles))
    num_titles, why = len(questions), ""
    while questions and not why:
        question = questions.popleft()
        quotes = book.find(question)
        if quotes is None:
            if question.key not in requests and len(requests) >= max_requests:
                why = f"max_quote_requests is {max_requests}"
            elif not budget.take():
                why = "the requests of this hour are used up"
            else:
                requests[question.key] = None
                write_atomic(asked, canonical_json(list(requests)).encode())
                why = _ask(client, question, book, budget)
                quotes = book.find(question)
        questions.extend(_next_questions(question, quotes or []))
    if why:
        logger.info("animechan: quotes of %d titles wanted, %d requests made: %s", num_titles, len(requests), why)


def _first_questions(titles: Iterable[Sequence[str]]) -> list[_Question]:
    """Returns one question for each title that is not another's season."""
    questions: dict[str, _Question] = {}
    for names in titles:
        different: dict[str, str] = {}
        for name in names:
            different.setdefault(normalise_title(name), name)
        different.pop("", None)
        if different:
            question = _Question(tuple(different.values()), 1)
            questions.setdefault(question.key, question)
    return list(questions.values())


def _next_questions(question: _Question, quotes: Sequence[_Quote]) -> list[_Question]:
    is_known = any(normalise_title(name) in quote.titles for name in question.names for quote in quotes)
    if len(quotes) >= QUOTES_A_PAGE and is_known:
        return [_Question(question.names, question.page + 1)]
    if question.page == 1 and not is_known and len(question.names) > 1:
        return [_Question(question.names[1:], 1)]
    return []


def _ask(client: ApiClient, question: _Question, book: QuoteBook, budget: RequestBudget) -> str:
    """Asks, keeps the answer and returns why to stop asking; empty to go on."""
    accept = {_UNKNOWN_TITLE, _TOO_MANY, *_FAILING}
    try:
        answer = client.get_json("/quotes", {"anime": question.names[0], "page": question.page}, accept=accept)
    except ApiError as error:
        if error.status in _REFUSED:
            raise
        return str(error)
    if answer.status == _TOO_MANY:
        budget.block()
        return "the service has had enough of us for an hour"
    if answer.status in _FAILING:
        return f"the service answers {answer.status}"
    quotes = answer.document.get("data") if isinstance(answer.document, dict) else None
    if answer.status == _UNKNOWN_TITLE:
        quotes = []
    if not isinstance(quotes, list):
        return f"the answer for {question.names[0]!r} has no list `data`"
    book.add(question, quotes)
    return ""


def _quotes_of(records: Sequence[object]) -> list[_Quote]:
    """Returns the quotes of one answer; what is none (no text, no title) belongs to no title."""
    quotes: list[_Quote] = []
    for record in records:
        match record:
            case {"content": str(content), "anime": {"name": str(name), **anime}} if _is_text(content):
                names = (name, anime.get("altName"))
                titles = dict.fromkeys(normalise_title(one) for one in names if isinstance(one, str))
                quotes.append(_Quote(content, tuple(filter(None, titles))))
            case _:
                quotes.append(_Quote("", ()))
    return quotes


def _is_text(content: str) -> bool:
    return bool(content.strip()) and not any("\ud800" <= char <= "\udfff" for char in content)


def _read_asked(path: Path) -> dict[str, None]:
    return dict.fromkeys(json.loads(path.read_bytes())) if path.exists() else {}
