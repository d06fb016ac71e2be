"""Grids as words of a command line: "dim=16,32", "dim_mults=[1,2],[1,2,4]". Knows no key and no value."""

from collections.abc import Sequence

from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minimagen.errors import UserError


def read_grid(words: Sequence[str]) -> dict[str, list[JsonValue]]:
    """Returns the grid that words like "dim=16,32" and "dim_mults=[1,2],[1,2,4]" describe.

    Raises:
        UserError: a word is none of these.
    """
    grid: dict[str, list[JsonValue]] = {}
    for word in words:
        key, is_there, values = word.partition("=")
        try:
            read = YAML(typ="safe", pure=True).load(f"[{values}]")
        except YAMLError as error:
            raise UserError(f"{word}: not values: {' '.join(str(error).split())[:100]}") from error
        if not is_there or not key or not read:
            raise UserError(f"{word}: expected KEY=VALUE,VALUE,..., as in dim=16,32 or dim_mults=[1,2],[1,2,4]")
        grid[key] = read
    return grid
