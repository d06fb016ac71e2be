"""A comparison of experiments without Prefect: what `minimagen compare` becomes."""

import argparse
from pathlib import Path

import typer

from flows.arms import compare, run_plainly
from flows.comparison_page import PAGE_FILE
from minimagen.exit_codes import tell_errors
from minimagen.grid_words import read_grid


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
