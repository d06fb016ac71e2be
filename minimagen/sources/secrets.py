"""Keys of services: read from the environment, kept out of texts and logs.

A key is only ever sent in a header. What is logged, by whichever library, goes through ``RedactingFilter``.
"""

import logging
import os
import re

from pydantic import SecretStr

KEY_VARIABLES = ("TMDB_TOKEN", "ANIMECHAN_KEY")
"""Environment variables whose values are hidden wherever they occur."""
HIDDEN = "[hidden]"
_PATTERNS = (
    re.compile(r"((?<![a-z])(?:api_?key|token|key)=)[^&\s'\"]+", re.IGNORECASE),
    re.compile(r"(Bearer )[^\s'\",]+", re.IGNORECASE),
    re.compile(r"(x-api-key['\"]?\s*[:=,]\s*b?['\"]?)[^\s'\",]+", re.IGNORECASE),
)


def secret_from_environment(name: str) -> SecretStr | None:
    """Returns the value of an environment variable, without the spaces around it; None if it is absent or empty."""
    value = os.environ.get(name, "").strip()
    return SecretStr(value) if value else None


def redacted(text: str) -> str:
    """Returns ``text`` with keys replaced: the environment's, and whatever stands where a key would stand."""
    for key in map(secret_from_environment, KEY_VARIABLES):
        text = text if key is None else text.replace(key.get_secret_value(), HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


class RedactingFilter(logging.Filter):
    """Takes keys out of the records of a handler or a logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record and lets it pass."""
        record.msg, record.args = redacted(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)  # formatters take it as it is
        if record.stack_info:
            record.stack_info = redacted(record.stack_info)
        return True
