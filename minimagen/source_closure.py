"""Which files of the library a module's behaviour rests on, read from its imports without running them.

One answer for three users: what dvc.yaml lists as a stage's dependencies, what a run's fingerprint hashes, what the
layer test looks at. Does not follow imports of other people's packages, nor those for type checkers alone.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).parent
CANNOT_CHANGE_RESULTS = frozenset({"cli", "config", "journal", "progress", "tracking"})
"""Top-level names of the library that no out of a stage depends on; a closure stops there."""


def source_closure(module: Path, package: Path = PACKAGE_FOLDER) -> tuple[Path, ...]:
    """Returns ``module`` and every file of the package it imports, directly or not, at its top or inside a function.

    A file beside a module that the module names in a string (a template, a word list) belongs to it. An
    ``__init__.py`` that imports nothing is left out: its docstring changes no result.

    Args:
        module: a file inside ``package``.

    Returns:
        Paths relative to the folder that holds ``package``, sorted.
    """
    found: set[Path] = set()
    pending = [module]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".py":
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            pending += _named_files(tree, path)
            for name in imported_names(tree):
                pending += _files_of(name, package)
    return tuple(sorted(path.relative_to(package.parent) for path in found))


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yields what a module imports, as dotted names: "a.b" and "a.b.c" for ``from a.b import c``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not _is_for_type_checkers(node):
            yield from imported_names(node)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _files_of(name: str, package: Path) -> Iterator[Path]:
    """Yields the files that importing a dotted name runs, as far as they are the package's and can change a result."""
    parts = name.split(".")
    if parts[0] != package.name or (len(parts) > 1 and parts[1] in CANNOT_CHANGE_RESULTS):
        return
    for depth in range(1, len(parts) + 1):
        base = package.parent.joinpath(*parts[:depth])
        if base.with_suffix(".py").is_file():
            yield base.with_suffix(".py")
        elif (base / "__init__.py").is_file() and _imports_anything(base / "__init__.py"):
            yield base / "__init__.py"


def _imports_anything(path: Path) -> bool:
    return next(imported_names(ast.parse(path.read_text(encoding="utf-8"))), None) is not None


def _named_files(tree: ast.AST, path: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _looks_like_a_file_name(node.value):
            beside = path.parent / node.value
            if beside.is_file() and beside.suffix != ".py":
                yield beside


def _looks_like_a_file_name(text: str) -> bool:
    return 0 < len(text) < 80 and "." in text and "/" not in text and text.isprintable()
