"""Lists in dvc.yaml the source files that each stage's command rests on, as its imports say.

Without an option it only tells what is missing or too much, and exits with 1 if anything is. Everything else in
dvc.yaml, comments included, stays as it is.
"""

import argparse
import io
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from ruamel.yaml import YAML

from minimagen.source_closure import PACKAGE_FOLDER, source_closure

PIPELINE = Path("dvc.yaml")
SOURCES = "minimagen/"


def stage_bodies(document: MutableMapping[str, object]) -> Iterator[tuple[str, MutableMapping[str, object]]]:
    """Yields each stage with what it does; a stage that stands for several has it under ``do``."""
    stages = document["stages"]
    assert isinstance(stages, MutableMapping)
    for name, stage in stages.items():
        yield name, stage.get("do", stage)


def module_of(body: MutableMapping[str, object]) -> Path:
    """Returns the file of the stage that a command ``minimagen <stage> ...`` runs."""
    _, stage, *_ = str(body["cmd"]).split()
    return PACKAGE_FOLDER / "stages" / f"{stage.replace('-', '_')}.py"


def listed(body: MutableMapping[str, object]) -> list[str]:
    """Returns the dependencies that a stage lists."""
    deps = body["deps"]
    assert isinstance(deps, list)
    return [str(dep) for dep in deps]


def expected(body: MutableMapping[str, object]) -> list[str]:
    """Returns the dependencies that a stage ought to list: its data as they stand, then its source files."""
    kept = [dep for dep in listed(body) if not dep.startswith(SOURCES)]
    return kept + [path.as_posix() for path in source_closure(module_of(body))]


def complaints(document: MutableMapping[str, object]) -> list[str]:
    """Returns a line for each source file that is missing in dvc.yaml or too much in it."""
    found: list[str] = []
    for name, body in stage_bodies(document):
        wrong, right = set(listed(body)), set(expected(body))
        found += [f"{PIPELINE}: {name}: {path} is missing" for path in sorted(right - wrong)]
        found += [f"{PIPELINE}: {name}: {path} is too much" for path in sorted(wrong - right)]
    return found


def main() -> int:
    """Checks dvc.yaml in the working directory, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the lists instead of telling what is wrong")
    arguments = parser.parse_args()
    editor = YAML(typ="rt", pure=True)
    editor.width = 4096
    editor.indent(mapping=2, sequence=4, offset=2)
    document = editor.load(PIPELINE.read_text(encoding="utf-8"))
    found = complaints(document)
    if arguments.write and found:
        for _, body in stage_bodies(document):
            body["deps"] = expected(body)
        stream = io.StringIO()
        editor.dump(document, stream)
        PIPELINE.write_text(stream.getvalue(), encoding="utf-8")
    for line in found:
        print(line)
    return 1 if found and not arguments.write else 0


if __name__ == "__main__":
    sys.exit(main())
