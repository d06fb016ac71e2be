"""Values in the text of params.yaml changed in place: comments, order and quotes stay as a user wrote them.

Checks nothing: ``validate_params`` does.
"""

import io
from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

WIDTH = 10_000
"""So that lines stay as they are."""


class _Representer(RoundTripRepresenter):
    """Writes null as a word, as params.yaml does, and not as nothing."""

    def represent_null(self, data: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_null)


def with_values(text: str, values: Mapping[Sequence[str], JsonValue]) -> str:
    """Returns the text with other values under paths of keys, as in {("sampling", "base", "num_steps"): 10}.

    Raises:
        KeyError: a path leads to no mapping; its last key may be new.
    """
    document = open_text(text)
    for (*path, last), value in values.items():
        section = document
        for key in path:
            section = section[key]
        section[last] = flow_style(value)
    return text_of(document)


def open_text(text: str) -> CommentedMap:
    """Returns the document of a text, with its comments, to be changed in place and written by ``text_of``."""
    return _editor().load(text)


def text_of(document: CommentedMap) -> str:
    """Returns the text of a changed document."""
    stream = io.StringIO()
    _editor().dump(document, stream)
    return stream.getvalue()


def _editor() -> YAML:
    editor = YAML(typ="rt", pure=True)
    editor.preserve_quotes, editor.width = True, WIDTH
    editor.Representer = _Representer
    return editor


def flow_style(value: JsonValue) -> JsonValue:
    """Returns a list so that it is written on one line; anything else as it is."""
    if not isinstance(value, list):
        return value
    sequence = CommentedSeq(value)
    sequence.fa.set_flow_style()
    return sequence
