"""Captions of unknown origin made into one line of plain text, or rejected with a reason.

Knows no file and no tokenizer. Embeddings depend on every step here: a change of any of them changes CLEANER_VERSION.
"""

import html
import re
import unicodedata

import ftfy

from minimagen.config import CaptionRules
from minimagen.rows import Rejection

CLEANER_VERSION = "1"
MAX_RAW_CHARS = 20_000
"""Raw captions longer than this are rejected unseen: normalising a million combining marks takes minutes."""

_PERSON = re.compile(r"<PERSON>")
_BREAK_TAG = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|h[1-6])\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<!--.*?-->|</?[a-z][^<>]*>", re.IGNORECASE | re.DOTALL)
_SPOILER = re.compile(r"~!.*?!~", re.DOTALL)
_CREDIT = re.compile(r"\(\s*source:[^()]*\)|\[\s*written by[^\[\]]*\]", re.IGNORECASE)
_SPACE_BEFORE_MARK = re.compile(r" +([.,!?;:])(?=\s|$)")
_CAN_NOT = re.compile(r"\b([Cc])an not\b")
_HASH_SIGN = re.compile(r"^(?:# )+")
_NEEDS_MENDING = re.compile(r"[^ -%'-;=-~]")
"""Anything but the printable ASCII that nothing is escaped or tagged with."""
_SEPARATORS = dict.fromkeys(map(ord, "\v\f\x1c\x1d\x1e\x1f"), " ")  # ftfy would drop them and join two words
_KEPT_FORMAT_CHARS = "\u200c\u200d"  # joiners, which spell words in several scripts


def clean_caption(raw: str) -> str:
    """Returns the caption as one line of Unicode NFC text without markup, control characters or credits.

    In this order: HTML entities (twice, as scraped text is often escaped twice), "<PERSON>" to "person", tags,
    mojibake and curly quotes (ftfy), NFC, control characters, spoilers and credits, the detokenised spacing of
    Conceptual Captions (" ." to "."), white space. Raw text of more than MAX_RAW_CHARS is not meant to come here.
    """
    text = _join_words(_mended(raw) if _NEEDS_MENDING.search(raw) else raw)
    text = _join_words(_CREDIT.sub(" ", _SPOILER.sub(" ", text)))
    text = _SPACE_BEFORE_MARK.sub(r"\1", _HASH_SIGN.sub("", text))
    return _CAN_NOT.sub(r"\1annot", text)


def _mended(raw: str) -> str:
    """Does the first steps of ``clean_caption``, up to the control characters; plain ASCII would come out as it is."""
    text = html.unescape(html.unescape(raw))
    text = _PERSON.sub("person", text)
    text = _TAG.sub("", _BREAK_TAG.sub(" ", text)).translate(_SEPARATORS)
    text = unicodedata.normalize("NFC", ftfy.fix_text(text))
    return "".join(_plain(char) for char in text)


def check_caption(text: str, rules: CaptionRules) -> Rejection | None:
    """Returns why a cleaned caption is not accepted, None if it is."""
    if len(text) < rules.min_chars:
        return Rejection("caption_too_short", f"{len(text)} characters, at least {rules.min_chars}: {text!r}")
    if len(text) > rules.max_chars:
        return Rejection("caption_too_long", f"{len(text)} characters, at most {rules.max_chars}: {text[:40]!r}...")
    return None


def accept_caption(raw: str, rules: CaptionRules) -> str | Rejection:
    """Cleans and checks one caption, without spending time on hopeless ones."""
    if len(raw) > MAX_RAW_CHARS:
        return Rejection("caption_too_long", f"{len(raw)} characters before cleaning, at most {MAX_RAW_CHARS}")
    if not raw.isascii() and any("\ud800" <= char <= "\udfff" for char in raw):
        return Rejection("caption_not_text", f"half of a surrogate pair: {raw[:40]!a}")
    text = clean_caption(raw)
    return check_caption(text, rules) or text


def _plain(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Zl", "Zp") or char in "\t\n\r":
        return " "
    if category == "Cc" or (category == "Cf" and char not in _KEPT_FORMAT_CHARS):
        return ""
    return char


def _join_words(text: str) -> str:
    return " ".join(text.split())
