"""TMDB's API as questions with kept answers: what was answered before is not asked again, others are asked ahead.

Knows nothing of what is listed, and of an answer's shape only what it asks for itself.
"""

import re
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

from pydantic import SecretStr

from minimagen.config import ConfigError
from minimagen.errors import UnavailableError, UserError
from minimagen.rows import Rejection
from minimagen.sources.addresses import BlockedAddressError, allowed_from_environment, check_address
from minimagen.sources.http import ApiClient, ApiError
from minimagen.sources.secrets import secret_from_environment
from minimagen.sources.tmdb_answers import (
    Kept,
    OddAnswerError,
    Question,
    configuration_question,
    keep,
    languages_question,
)
from minimagen.sources.tmdb_state import ListingState
from minimagen.sources.urls import check_url

TOKEN_VARIABLE = "TMDB_TOKEN"
_WHERE = "the API Read Access Token of your account is at https://www.themoviedb.org/settings/api"
_ItemT = TypeVar("_ItemT")


def token_from_environment() -> SecretStr:
    """Returns the token.

    Raises:
        ConfigError: there is none, or it is a key of the older kind.
    """
    token = secret_from_environment(TOKEN_VARIABLE)
    if token is None:
        raise ConfigError(f"environment: {TOKEN_VARIABLE} is not set; {_WHERE}")
    if re.fullmatch(r"[0-9a-fA-F]{32}", token.get_secret_value()):
        raise ConfigError(f"environment: {TOKEN_VARIABLE} holds an API key of 32 digits, expected a token: {_WHERE}")
    return token


class TmdbApi:
    """Asks, checks and keeps; a context manager, which waits for what it is still asking."""

    def __init__(self, client: ApiClient, state: ListingState, in_flight: int) -> None:
        """Uses the client and the state of its owner, who closes them.

        Args:
            in_flight: unanswered requests at a time.
        """
        self._client, self.state, self._in_flight = client, state, in_flight
        self._pool = ThreadPoolExecutor(in_flight)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def ask(self, question: Question) -> Mapping[str, object]:
        """Returns the record of one answer.

        Raises:
            UserError: the service refuses, or answers what it does not document.
        """
        with closing(self.ask_ahead([(None, question)])) as answers:
            record = next(answers)[1]
        assert record is not None, "a question has a record"
        return record

    def ask_ahead(
        self, questions: Iterable[tuple[_ItemT, Question | None]]
    ) -> Generator[tuple[_ItemT, Mapping[str, object] | None], None, None]:
        """Yields each item with the record of its answer, in order, while the next ones are being asked.

        An answer is kept before it is yielded, and only then: a process that is killed loses at most ``in_flight``.

        Args:
            questions: None is answered by None.

        Raises:
            UserError: the service refuses, or answers what it does not document.
        """
        waiting: deque[tuple[_ItemT, Question | None, object, Future[Kept] | None]] = deque()
        try:
            for item, question in questions:
                record = None if question is None else self.state.answer(question.request)
                future = None if question is None or record is not None else self._pool.submit(self._fetch, question)
                waiting.append((item, question, record, future))
                if len(waiting) >= self._in_flight:
                    yield self._settle(*waiting.popleft())
            while waiting:
                yield self._settle(*waiting.popleft())
        finally:
            for *_, future in waiting:
                if future is not None:
                    future.cancel()

    def image_base(self, size: str) -> str:
        """Returns the address that a size and a path follow.

        Raises:
            UserError: no picture may be fetched from it, or the service does not have the size.
        """
        record = self.ask(configuration_question())
        base, sizes = record["base"], record["sizes"]
        assert isinstance(base, str) and isinstance(sizes, list), "this is what is kept of a configuration"
        if size not in sizes:
            raise UserError(f"TMDB: no poster size {size!r} (ingest.tmdb.poster_size); it has {', '.join(sizes)}")
        problem = _problem_of(base)
        if problem:
            raise UserError(f"TMDB: says that pictures are at {base[:200]!a}, from where none is fetched: {problem}")
        return base

    def languages(self) -> list[str]:
        """Returns the codes of the languages that films may have."""
        codes = self.ask(languages_question())["codes"]
        assert isinstance(codes, list), "this is what is kept of the languages"
        return [str(code) for code in codes]

    def _settle(
        self, item: _ItemT, question: Question | None, record: object, future: Future[Kept] | None
    ) -> tuple[_ItemT, Mapping[str, object] | None]:
        if future is not None:
            assert question is not None, "only questions are asked"
            kept = future.result()
            self.state.keep(question.request, kept.record, kept.films, kept.odd)
            record = kept.record
        assert record is None or isinstance(record, dict), "records are objects"
        return item, record

    def _fetch(self, question: Question) -> Kept:
        try:
            answer = self._client.get_json(
                question.path, question.params, accept={404} if question.may_be_missing else ()
            )
            return keep(question, answer)
        except ApiError as error:
            kind = UnavailableError if isinstance(error, UnavailableError) else UserError
            raise kind(f"TMDB: {error}" + (f"; {_WHERE}" if error.status in (401, 403) else "")) from None
        except OddAnswerError as error:
            raise UserError(f"TMDB: {question.path}: {error}: not what the service documents") from None


def _problem_of(base: str) -> str:
    """Returns why no picture may be fetched from an address, empty if they may."""
    allowed = allowed_from_environment()
    url = check_url(f"{base}original/poster.jpg", allowed)
    if isinstance(url, Rejection):
        return url.detail
    host = (url.raw_host or "").strip("[]")
    if not re.fullmatch(r"[0-9.]+|.*:.*", host):
        return ""  # a name: its addresses are checked whenever a picture is fetched
    try:
        check_address(host, url.port or 0, allowed)
    except BlockedAddressError as error:
        return str(error.strerror)
    return ""
