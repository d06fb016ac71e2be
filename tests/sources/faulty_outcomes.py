"""How each behaviour of a faulty server ends, for documents, tables and pictures: a promise that tests hold us to.

For each kind three words, for the phases: the fault is there at first, in the middle, always. "ok" is what a good
server would have given; "short" a part of it that nobody could tell from the whole; "other" bytes as they were sent,
packed or not, since a table is not unpacked. "error:404" is an ``ApiError`` of that status, "refused:dns" a refusal of
that reason, "postponed" a picture that a later run asks for again.
"""

Phases = tuple[str, str, str]
OK: Phases = ("ok", "ok", "ok")


def mended(outcome: str) -> Phases:
    """Asking again helps, unless the fault is there always."""
    return ("ok", "ok", outcome)


def final(outcome: str) -> Phases:
    """Asking again would not help, so nobody does."""
    return (outcome, outcome, outcome)


def _waited(*, picture: str = "postponed", status: int = 429) -> tuple[Phases, Phases, Phases]:
    return mended(f"error:{status}"), mended(f"error:{status}"), mended(picture)


def _status(status: int, picture: str) -> tuple[Phases, Phases, Phases]:
    return final(f"error:{status}"), final(f"error:{status}"), final(f"refused:{picture}")


def _tried(picture: str, status: int | None = None) -> tuple[Phases, Phases, Phases]:
    return mended(f"error:{status}"), mended(f"error:{status}"), mended(f"refused:{picture}")


_PARKED = final("error:429"), final("error:429"), final("postponed")
_AS_SENT = final("other")
_NO_PICTURE = final("refused:not_an_image")
_BUSY = _waited(picture="refused:http_5xx", status=503)

OUTCOMES: dict[str, tuple[Phases, Phases, Phases]] = {
    # A pause is waited for if it is short, and if its length is not said; a long one parks the host.
    "429_seconds": _waited(),
    "429_date": _waited(),
    "429_past": _waited(),
    "429_garbage": _waited(),
    "429_negative": _waited(),
    "429_huge": _PARKED,
    "429_missing": _waited(),
    # 503 without a length is a fault as other 5xx are.
    "503_seconds": _waited(),
    "503_date": _waited(),
    "503_past": _BUSY,
    "503_garbage": _BUSY,
    "503_negative": _BUSY,
    "503_huge": _PARKED,
    "503_missing": _BUSY,
    "429_storm": _waited(),
    "500": _tried("http_5xx", 500),
    "502": _tried("http_5xx", 502),
    "504": _tried("http_5xx", 504),
    "408": _tried("http_4xx", 408),
    "403": _status(403, "http_403"),
    "404": _status(404, "http_404"),
    "410": _status(410, "http_410"),
    "451": _status(451, "http_4xx"),
    "401": _status(401, "http_4xx"),
    "redirect_1": (OK, OK, OK),
    "redirect_5": (OK, OK, OK),
    "redirect_20": (final("error:None"), final("error:None"), final("refused:too_many_redirects")),
    "redirect_loop": (final("error:None"), final("error:None"), final("refused:too_many_redirects")),
    "redirect_file": (final("error:None"), final("error:None"), final("refused:blocked_scheme")),
    "redirect_ftp": (final("error:None"), final("error:None"), final("refused:blocked_scheme")),
    "redirect_data": (final("error:None"), final("error:None"), final("refused:blocked_scheme")),
    "redirect_private": (final("error:None"), final("error:None"), final("refused:blocked_address")),
    "redirect_other_origin": (OK, OK, OK),
    "redirect_nowhere": _status(308, "bad_redirect"),
    "close_before_head": _tried("connect"),
    # A cut head passes for a whole one; the table has no length then, and is not trusted.
    "close_in_head": (mended("error:None"), mended("error:200"), mended("refused:connect")),
    "reset_in_body": _tried("incomplete"),
    "close_in_body": _tried("incomplete"),
    "length_too_small": (mended("error:None"), final("short"), mended("refused:bad_response")),
    "length_too_large": _tried("incomplete"),
    # Read to the end of the connection, a document proves itself whole; a table could not.
    "length_negative": (OK, mended("error:200"), mended("refused:bad_response")),
    "length_twice": _tried("bad_response"),
    "length_no_number": (OK, mended("error:200"), mended("refused:bad_response")),
    "chunk_bad_size": _tried("bad_response"),
    "chunk_no_end": _tried("incomplete"),
    "chunk_junk_after": (OK, OK, mended("refused:bad_response")),
    "chunk_huge_size": _tried("incomplete"),
    "drip_head": _tried("timeout"),
    "drip_body": _tried("timeout"),
    "stall_after_head": _tried("timeout"),
    "stall_in_body": _tried("timeout"),
    "never_accept": _tried("timeout"),
    "tls_on_plain": (final("error:None"), final("error:None"), final("refused:tls")),
    "plain_on_tls": _tried("bad_response"),
    "gzip_bomb": (final("error:200"), _AS_SENT, _NO_PICTURE),
    "deflate_bomb": (final("error:200"), _AS_SENT, _NO_PICTURE),
    "br_bomb": (mended("error:None"), _AS_SENT, _NO_PICTURE),
    "gzip_cut": (mended("error:None"), _AS_SENT, _NO_PICTURE),
    "gzip_untrue": (mended("error:None"), OK, OK),
    "type_wrong": (OK, OK, OK),
    "type_missing": (OK, OK, OK),
    "html_page": (mended("error:None"), mended("error:None"), _NO_PICTURE),
    "empty": (mended("error:None"), mended("error:None"), _NO_PICTURE),
    "204": _status(204, "http_2xx"),
    "206_other_range": (final("error:206"), mended("error:206"), final("refused:http_2xx")),
    "206_other_version": (final("error:206"), mended("error:206"), final("refused:http_2xx")),
    "200_for_range": (OK, OK, OK),
    "416": (final("error:416"), mended("error:416"), final("refused:http_4xx")),
    "head_1_mb": _tried("bad_response"),
    "head_10000_lines": _tried("bad_response"),
    "head_bad_bytes": (mended("error:None"), mended("error:200"), mended("refused:bad_response")),
    "http_0_9": _tried("bad_response"),
    "100_junk": (OK, OK, OK),
    "answer_twice": (OK, OK, OK),
    "close_on_reuse": (OK, OK, OK),
    "dns_failure": (mended("error:None"), mended("error:None"), final("refused:dns")),
    "dns_rebinding": (final("error:None"), final("error:None"), final("refused:blocked_address")),
    "5_gb": (final("error:200"), final("error:200"), final("refused:too_large")),
}


def expected(behaviour: str, kind: str, phase: str, num_items: int) -> list[str]:
    """Returns the outcome of each item: those beside the fault are well, unless it has parked their host."""
    phases = OUTCOMES[behaviour][("json", "tsv", "image").index(kind)]
    outcome = phases[("first", "middle", "always").index(phase)]
    if num_items == 1:
        return [outcome]
    is_parked = OUTCOMES[behaviour] is _PARKED
    return ["ok", outcome, outcome if is_parked else "ok"]
