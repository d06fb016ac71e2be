from collections.abc import Sequence

import pytest
from pydantic import JsonValue

from minimagen.params_text import with_values

TEXT = """# A comment at the top.
sampling:
  base:
    num_steps: 20  # enough
    guidance_interval: null
label: "1"
"""


def test_only_the_values_change() -> None:
    changed = with_values(TEXT, {("sampling", "base", "num_steps"): 10})

    assert changed == TEXT.replace("20", "10")


def test_lists_stand_on_one_line_and_new_keys_are_added() -> None:
    paths: dict[Sequence[str], JsonValue] = {
        ("sampling", "base", "guidance_interval"): [0.25, 0.75],
        ("sampling", "base", "aug_level"): None,
    }

    changed = with_values(TEXT, paths)

    assert "    guidance_interval: [0.25, 0.75]\n" in changed and "    aug_level:" in changed


def test_path_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(KeyError, match="super"):
        with_values(TEXT, {("sampling", "super", "num_steps"): 1})
