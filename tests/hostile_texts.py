"""YAML and JSON made to harm who reads them: tags that call, aliases that grow, numbers and depths without end."""

import json
from collections.abc import Iterator

_LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
_MERGES = "b0: &b0 {k: v}\n" + "".join(f"b{n}: &b{n} {{<<: *b{n - 1}, k{n}: *b{n - 1}}}\n" for n in range(1, 40))


def yaml_texts(canary: str) -> Iterator[tuple[str, bytes]]:
    """Yields texts that are no parameters of ours."""
    calls = (
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"!!python/object/new:subprocess.Popen [['touch', '{canary}']]",
        "!!python/name:os.system ''",
        "!!python/module:antigravity ''",
        f"!!python/object:__main__.A {{x: '{canary}'}}",
        f"!python/object/apply:os.system ['touch {canary}']",
    )
    for call in calls:
        yield f"a tag that calls: {call[:40]}", f"seed: {call}\n".encode()
        yield f"a key that calls: {call[:40]}", f"? {call}\n: 1\n".encode()
    texts = {
        "a billion laughs": _LAUGHS,
        "a billion merges": _MERGES,
        "a list that holds itself": "cascade: &a [*a]\n",
        "a table that holds itself": "ingest: &a {b: *a}\n",
        "an unknown alias": "cascade: *nobody\n",
        "one key twice": "cascade: [base]\ncascade: [super]\n",
        "a merge of a number": "cascade: {<<: 5}\n",
        "an int of 100,000 digits": f"cascade: {'9' * 100_000}\n",
        "a float of 100,000 digits": f"cascade: 1e{'9' * 100_000}\n",
        "an impossible date": "cascade: 2026-99-99\n",
        "a date": "cascade: 2026-11-27\n",
        "no number": "cascade: !!int xyz\n",
        "no float": "cascade: !!float xyz\n",
        "no truth": "cascade: !!bool xyz\n",
        "no Base64": "cascade: !!binary '%%%'\n",
        "no set": "cascade: !!set [1]\n",
        "no ordered map": "cascade: !!omap 5\n",
        "pairs": "cascade: !!pairs [1, 2]\n",
        "a list as a key": "? [1, 2]\n: 3\n",
        "a table as a key": "? {a: 1}\n: 3\n",
        "5,000 deep": "[" * 5_000,
        "500 deep and whole": "cascade: " + "[" * 500 + "]" * 500,
        "two documents": "a: 1\n---\nb: 2\n",
        "another version of YAML": "%YAML 9.9\n---\na: 1\n",
        "nothing": "",
        "a lone number": "5\n",
        "infinity": "cascade: .inf\n",
        "not a number": "cascade: .nan\n",
        "a control character": "cascade: \x07\n",
        "2 MB": "# " + "x" * 2_000_000,
    }
    yield from ((name, text.encode()) for name, text in texts.items())
    yield "no UTF-8", b"cascade: \xff\xfe\n"
    yield "UTF-16", "cascade: [base]\n".encode("utf-16")


def json_texts() -> Iterator[tuple[str, bytes]]:
    """Yields texts that are no record of ours."""
    yield "nothing", b""
    yield "a number", b"5"
    yield "a list", b"[]"
    yield "null", b"null"
    yield "an empty table", b"{}"
    yield "no UTF-8", b'{"\xff": 1}'
    yield "100,000 deep", b"[" * 100_000
    yield "20,000 deep in a table", b'{"files": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    yield "an int of 100,000 digits", b'{"step": ' + b"9" * 100_000 + b"}"
    yield "infinity", b'{"step": Infinity, "version": NaN}'
    yield (
        "lists where texts are expected",
        json.dumps(
            {
                key: [[]]
                for key in ("files", "version", "format_version", "shards", "cascade", "manifest_sha256", "name")
            }
        ).encode(),
    )
    yield "a class to build", b'{"__class__": "os.system", "py/object": "os.system", "$type": "x", "version": 1}'
