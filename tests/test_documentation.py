"""README and docs/ name nothing that is not there: links, commands, experiments, parameters, make targets, messages."""

import re
import shutil
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel
from typer.core import TyperGroup

from minimagen.cli import app
from minimagen.config import Params, load_params
from minimagen.experiments import apply_experiment, experiment_names
from tests.stages.tiny_project import CHECKOUT

PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), CHECKOUT / "data/README.md"])
GUIDES = [path for path in PAGES if path.name not in ("CHANGELOG.md", "experiments.md")]
"""What tells of the present; the others are logs."""
COMMAND = re.compile(r"(?:^|[\s`;&|(])(?:minimagen|python -m minimagen\.cli|-m minimagen\.cli) +([a-z][^`\n#;|]*)")
"""What stands after the program's name, up to the end of the command."""
SECTIONS = "|".join(name for name in Params.model_fields if name != "cascade")
KEY = re.compile(rf"(?<![\w./-])((?:{SECTIONS})(?:\.[a-z_0-9*]+)+)(?![\w/(]|\.[a-z])")
LOOSE_KEY = re.compile(r"(?<![\w./-])((?:unet|training|diffusion)(?:\.[a-z_0-9]+)+)(?![\w/(]|\.[a-z])")
"""The middle of a key, as in training.grid.every."""


OWN = {
    name: text
    for page in PAGES
    for text, name in re.findall(r"^```yaml\n(# experiments/([\w-]+)\.yaml: .*?)^```", page.read_text(), re.S | re.M)
}
"""Experiments that a page shows for the reader to write: name -> text."""


def code_of(page: Path) -> list[str]:
    """Returns what stands in code type: spans, indented and fenced blocks."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.S | re.M)
    indented = [line[4:] for line in rest.splitlines() if line.startswith("    ")]
    spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", rest)
    return [*fenced, *indented, *spans]


def commands_of(page: Path) -> Iterator[list[str]]:
    for code in code_of(page):
        for match in COMMAND.finditer(code):
            yield match[1].split()


def named(pages: list[Path]) -> list[str]:
    return [path.relative_to(CHECKOUT).as_posix() for path in pages]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named(PAGES))
def test_relative_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name}: {target}"
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M) if anchor else []
        assert not anchor or anchor in map(slug, headings), f"{page.name}: {target}"


@pytest.mark.parametrize("page", GUIDES, ids=named(GUIDES))
def test_files_of_this_project_that_are_named_exist(page: Path):
    wanted = r"(?<![\w/.-])((?:docs|experiments|scripts|tests|minimagen|flows)/[\w./-]+\.(?:md|yaml|py|txt|j2))"
    own = {f"experiments/{name}.yaml" for name in OWN}
    for name in re.findall(wanted, page.read_text()):
        assert name in own or (CHECKOUT / name).exists(), f"{page.name}: {name}"


@pytest.mark.parametrize("page", GUIDES, ids=named(GUIDES))
def test_commands_and_their_options_exist(page: Path):
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    for first, *words in commands_of(page):
        assert first in root.commands, f"{page.name}: minimagen {first}"
        command = root.commands[first]
        if isinstance(command, TyperGroup) and words and words[0].isalpha() and not words[0].isupper():
            assert words[0] in command.commands, f"{page.name}: minimagen {first} {words[0]}"
            command = command.commands[words.pop(0)]
        known = {one for parameter in command.params for one in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("-") and word.strip("-"):
                option = word.partition("=")[0].rstrip(",.:)'\"")
                assert option in known | {"--help"}, f"{page.name}: minimagen {first} {option}"


@pytest.mark.parametrize("page", GUIDES, ids=named(GUIDES))
def test_experiments_that_are_applied_inspected_or_compared_exist(page: Path):
    known = {*experiment_names(CHECKOUT), *OWN}
    for words in commands_of(page):
        text = " ".join(words)
        for pattern in (r"^experiment apply ([a-z][\w-]*)", r"^inspect ([a-z][\w-]*)", r"--experiment ([a-z][\w-]*)"):
            for name in re.findall(pattern, text):
                assert name in known, f"{page.name}: minimagen {text}"


@pytest.mark.parametrize("page", GUIDES, ids=named(GUIDES))
def test_make_targets_exist(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.M))
    for code in code_of(page):
        for target in re.findall(r"(?:^|[&;`] ?)make(?: [A-Z]+=\S+)* ([a-z][a-z-]*)", code, re.M):
            assert target in targets, f"{page.name}: make {target}"


def test_yaml_that_is_shown_is_an_experiment_with_its_name_and_what_it_lies_on():
    num_blocks = sum(len(re.findall(r"^```yaml$", page.read_text(), re.M)) for page in PAGES)

    assert num_blocks == len(OWN)
    assert not set(OWN) & set(experiment_names(CHECKOUT))
    assert all("\nextends: " in text for text in OWN.values())


@pytest.mark.parametrize("name", OWN)
def test_experiments_that_are_shown_can_be_applied(name: str, tmp_path: Path):
    shutil.copytree(CHECKOUT / "experiments", tmp_path / "experiments")
    for own, text in OWN.items():
        (tmp_path / f"experiments/{own}.yaml").write_text(text)

    apply_experiment(tmp_path, name, is_forced=False)

    load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("page", GUIDES, ids=named(GUIDES))
def test_parameters_that_are_named_exist(page: Path):
    for code in code_of(page):
        for key in KEY.findall(code):
            assert _exists(key.split("."), Params), f"{page.name}: {key}"
        for key in LOOSE_KEY.findall(code):
            assert _exists(["unets", "*", *key.split(".")], Params), f"{page.name}: {key}"


def test_messages_that_troubleshooting_quotes_are_told_somewhere():
    source = "\n".join(path.read_text() for top in ("minimagen", "flows") for path in (CHECKOUT / top).rglob("*.py"))
    source += (CHECKOUT / "Makefile").read_text()
    joined = re.sub(r"\"\s*\n\s*f?\"", "", source)  # a text that stands on several lines
    told = re.sub(r"\{[^{}]*\}", "\0", joined)
    page = CHECKOUT / "docs/troubleshooting.md"
    cells = [line.split(" | ")[0] for line in page.read_text().splitlines() if line.startswith("| `")]
    messages = [span for cell in cells for span in re.findall(r"`` (.*?) ``|(?<!`)`([^`]+)`(?!`)", cell)]
    assert len(messages) > 50
    parts = [
        part.strip(" :;,()").removeprefix("params.yaml: ")
        for message in map("".join, messages)
        for part in message.split("...")
    ]
    fixed = [part for part in parts if len(part) >= 12 and not any(one in part for one in KNOWN_TO_VARY)]
    assert [part for part in fixed if part not in told and part not in joined] == []


KNOWN_TO_VARY = (
    "ingest.folder.caption_column",
    "ingest.*.min_success",
    "line 12: ",
    "metadata.jsonl",
    "from .csv, ",
    "sources.folder",
    "has failed 3 times",
    "data/models",
    "paper-",
    "/cascade.json",
    "evaluate.features",
    "split 'validation'",
    "The drawn pictures",
)
"""What the program fills in itself."""


def _exists(parts: list[str], annotation: object) -> bool:
    """Whether a dotted key is one of the parameters; names of U-Nets and sources are free."""
    if not parts:
        return True
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_exists(parts, one) for one in typing.get_args(annotation))
    if origin is dict:
        return _exists(parts[1:], typing.get_args(annotation)[1])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        if parts[0] == "*":
            return any(_exists(parts[1:], field.annotation) for field in fields.values())
        return parts[0] in fields and _exists(parts[1:], fields[parts[0]].annotation)
    return False
