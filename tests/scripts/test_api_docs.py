"""The API pages say nothing of a default where params.yaml has to give a value."""

from scripts.api_docs import without_empty_defaults


def test_a_parameter_without_a_default_shows_none_and_others_keep_theirs():
    given = '<span class="annotation">: int</span> =\n<span class="default_value">PydanticUndefined</span>\n'
    own = '<span class="annotation">: int</span> =\n<span class="default_value">4</span>\n'

    assert without_empty_defaults(given + own) == '<span class="annotation">: int</span>\n' + own
