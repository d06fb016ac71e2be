"""A comparison of experiments without Prefect: what `minimagen compare` becomes."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import typer
from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.arms import compare, run_plainly
from flows.comparison_page import PAGE_FILE
from minimagen.cli import tell_errors
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


def main() -> None:
    """Runs a grid given on the command line and prints the table."""
    parser = argparse.ArgumentParser(prog="minimagen compare")
    parser.add_argument("grid", nargs="+", metavar="KEY=VALUES")
    parser.add_argument("--experiment")
    given = parser.parse_args()

    def run() -> None:
        grid = read_grid(given.grid)
        folder = compare(
            Path().resolve(), grid, given.experiment, lambda project: run_plainly(project, typer.echo), typer.echo
        )
        typer.echo(f"{(folder / PAGE_FILE).read_text()}\n{folder}")

    tell_errors(run)


if __name__ == "__main__":
    main()
