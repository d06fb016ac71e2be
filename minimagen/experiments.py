"""Named parameter files: experiments/demo.yaml is complete, every other one says only what it does differently.

An overlay lies on the demo, or on the experiment that its key ``extends`` names. Its mappings merge into that one's key
by key; anything else replaces, null and lists included. ``sources`` and ``cascade`` say which names there are: they
replace whole, and the sections (``ingest``, ``unets``, ``sampling``) of names no longer listed fall away. Runs nothing
and knows no DVC.
"""

import io
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from minimagen.config import ConfigError, Params, read_yaml, validate_params
from minimagen.files import write_atomic

DEMO = "demo"
EXTENDS = "extends"
"""The key of an overlay that names what it lies on; it does not reach params.yaml."""
PARAMS_FILE = Path("params.yaml")
PARKED = Path("runs/parked")
"""Where units of the pipeline wait while no parameter file lists them."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A named parameter file as it stands in params.yaml once applied."""

    name: str
    description: str
    """The comment at its top, in one line."""
    text: str
    params: Params


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying an experiment moved, as paths inside data/."""

    parked: tuple[Path, ...]
    restored: tuple[Path, ...]


def experiment_names(root: Path) -> tuple[str, ...]:
    """Returns the names of all experiments, the demo first."""
    names = sorted(path.stem for path in (root / "experiments").glob("*.yaml"))
    return tuple(sorted(names, key=lambda name: name != DEMO))


def load_experiment(root: Path, name: str) -> Experiment:
    """Reads, merges and checks one experiment.

    Raises:
        ConfigError: there is none of this name, it lies on one that there is not or on itself, or it breaks a rule of
            params.yaml.
    """
    if name not in experiment_names(root):
        raise ConfigError(f"experiment {name!r} is unknown; known: {', '.join(experiment_names(root))}")
    path = _path_of(root, name)
    document = _read_whole(root, name)
    own_text = path.read_text(encoding="utf-8")
    description = _leading_comment(own_text)
    params = validate_params(document, path)
    text = own_text if name == DEMO else f"# {description}\n{_yaml_text(document)}"
    return Experiment(name, description, text, params)


def overlay(lower: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Returns the document that an overlay lies on, with the overlay's changes."""
    base = dict(lower)
    for list_key, section_keys in (("sources", ("ingest",)), ("cascade", ("unets", "sampling"))):
        if list_key in changes:
            gone = set(_names(base[list_key])) - set(_names(changes[list_key]))
            base[list_key] = changes[list_key]
            for section_key in section_keys:
                section = base[section_key]
                if isinstance(section, Mapping):
                    base[section_key] = {name: part for name, part in section.items() if name not in gone}
    return _merge(base, changes)


def active_experiment(root: Path) -> str | None:
    """Returns the experiment that params.yaml equals, comments aside; None where it has edits or is missing."""
    if not (root / PARAMS_FILE).exists():
        return None
    present = read_yaml(root / PARAMS_FILE)
    parser = YAML(typ="safe", pure=True)
    names = (name for name in experiment_names(root) if parser.load(load_experiment(root, name).text) == present)
    return next(names, None)


def apply_experiment(root: Path, name: str, *, is_forced: bool) -> Applied:
    """Writes the whole params.yaml, and parks the units in data/ that it no longer lists until one lists them again.

    Args:
        is_forced: overwrite a params.yaml that holds edits.

    Raises:
        ConfigError: the experiment is unknown or breaks a rule, or params.yaml has edits and ``is_forced`` is False.
    """
    experiment = load_experiment(root, name)
    if (root / PARAMS_FILE).exists() and not is_forced and active_experiment(root) is None:
        raise ConfigError(
            f"{root / PARAMS_FILE}: has edits of its own, as it equals no experiment; "
            f"keep them as experiments/<name>.yaml, or overwrite them with --force"
        )
    write_atomic(root / PARAMS_FILE, experiment.text.encode())
    return _park_and_restore(root, experiment.params)


def _park_and_restore(root: Path, params: Params) -> Applied:
    parked: list[Path] = []
    restored: list[Path] = []
    for kind, names in (("raw", params.sources), ("models", params.cascade), ("checkpoints", params.cascade)):
        shown, waiting = root / "data" / kind, root / PARKED / kind
        for folder in sorted(path for path in shown.glob("*") if path.is_dir() and path.name not in names):
            _move(folder, waiting / folder.name)
            parked.append(folder.relative_to(root))
        for folder in sorted(path for path in waiting.glob("*") if path.name in names):
            if not (shown / folder.name).exists():
                _move(folder, shown / folder.name)
                restored.append((shown / folder.name).relative_to(root))
    return Applied(tuple(parked), tuple(restored))


def _move(source: Path, target: Path) -> None:
    """Renames a folder; an older one in its place gets a number."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        older = (target.with_name(f"{target.name}.{number}") for number in itertools.count(1))
        target.rename(next(path for path in older if not path.exists()))
    source.rename(target)


def _path_of(root: Path, name: str) -> Path:
    return root / "experiments" / f"{name}.yaml"


def _read_whole(root: Path, name: str, above: tuple[str, ...] = ()) -> dict[str, object]:
    """Returns an experiment's document with all that it lies on; ``above`` are the overlays on top of it."""
    path = _path_of(root, name)
    changes = _read_mapping(path)
    if name == DEMO:
        return changes
    lower = changes.pop(EXTENDS, DEMO)
    lying = (*above, name)
    if lower in lying:
        raise ConfigError(f"{path}: {EXTENDS}: {' -> '.join((*lying, str(lower)))} goes round in a circle")
    if lower not in experiment_names(root):
        raise ConfigError(f"{path}: {EXTENDS}: {lower!r} is unknown; known: {', '.join(experiment_names(root))}")
    return overlay(_read_whole(root, str(lower), lying), changes)


def _read_mapping(path: Path) -> dict[str, object]:
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: has no parameters")
    return document


def _names(listed: object) -> list[object]:
    return list(listed) if isinstance(listed, Iterable) else []


def _merge(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _leading_comment(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)


def _yaml_text(document: Mapping[str, object]) -> str:
    """Returns YAML in the order given, lists on one line."""
    writer = YAML(typ="rt", pure=True)
    writer.width = 120
    writer.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    stream = io.StringIO()
    writer.dump(_with_flow_lists(document), stream)
    return stream.getvalue()


def _with_flow_lists(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _with_flow_lists(part) for key, part in value.items()}
    if isinstance(value, list):
        sequence = CommentedSeq(value)
        sequence.fa.set_flow_style()
        return sequence
    return value
