"""The rules of who may import and call what, as a checker over the syntax tree: it runs nothing it looks at."""

import ast
from collections.abc import Iterator
from pathlib import Path

LEVELS = {
    "models": 1,
    "diffusion": 1,
    "text": 1,
    "features": 1,
    "sources": 1,
    "datasets": 1,
    "pipeline": 2,
    "training": 2,
    "evaluation": 2,
    "serving": 2,
    "tracking": 2,
    "experiments": 2,
    "stages": 3,
    "cli": 4,
}
"""Level of each module or package directly in minimagen; what is not listed is level 0."""
SIDEWAYS = frozenset(
    {
        ("evaluation", "pipeline"),
        ("serving", "pipeline"),
        ("serving", "evaluation"),
        ("tracking", "pipeline"),
        ("tracking", "serving"),
    }
)
"""Imports within one level that are allowed; within level 0 all are."""
PACKAGES = ("minimagen", "flows", "scripts", "benchmarks")
"""The folders that are looked at."""
TESTS = "tests"
"""Looked at as well, for what is unsafe alone."""
HOMES = {
    "prefect": ("flows",),
    "dvc": ("flows",),
    "mlflow": ("minimagen.tracking",),
    "transformers": ("minimagen.text", "minimagen.features", "benchmarks.peer_side", "benchmarks.random_t5"),
    "sentencepiece": ("minimagen.text",),
}
"""The only places that import a package."""
UNSAFE_PACKAGES = {
    "pickle": "runs code when it reads",
    "cloudpickle": "runs code when it reads",
    "dill": "runs code when it reads",
    "joblib": "runs code when it reads",
    "shelve": "runs code when it reads",
    "marshal": "holds code and crashes on what is not",
    "jsonpickle": "runs code when it reads",
    "yaml": "reads 1e-4 as a text; ruamel.yaml is what reads YAML",
}
UNSAFE_CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "compile": "makes text that runs",
    "__import__": "imports what a text says",
    "os.system": "runs text in a shell",
    "os.popen": "runs text in a shell",
    "subprocess.getoutput": "runs text in a shell",
    "subprocess.getstatusoutput": "runs text in a shell",
    "asyncio.create_subprocess_shell": "runs text in a shell",
    "tempfile.mktemp": "names a file that another may make first",
    "torch.hub.load": "fetches code and runs it",
    "torch.jit.load": "runs code when it reads",
    "pandas.read_pickle": "runs code when it reads",
    "pd.read_pickle": "runs code when it reads",
}
UNSAFE_ARGUMENTS = {
    "allow_pickle": ("False", "which runs code when it reads"),
    "trust_remote_code": ("False", "which runs code that comes with a model"),
    "shell": ("False", "which runs text in a shell"),
    "weights_only": ("True", "which runs code when it reads"),
    "verify": ("True", "which lets anybody answer"),
}
"""Arguments of any call: the one value that they may have, and what another one does."""
SHARED_STATE = {
    "os.chdir": "changes every relative path",
    "torch.manual_seed": "is shared state; pass a generator, or put the state back with torch.random.fork_rng",
    "np.random.seed": "is shared state; pass a generator",
    "random.seed": "is shared state; pass a generator",
}


def violations(folder: Path) -> list[str]:
    """Returns a line for each broken rule in the Python files of a checkout's ``PACKAGES``."""
    found: list[str] = []
    for path in sorted(path for name in (*PACKAGES, TESTS) for path in _sources(folder / name)):
        module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        rules = _unsafe_parts(tree) if module.startswith(f"{TESTS}.") else _broken_rules(tree, module)
        found += [f"{path.relative_to(folder)}:{line}: {message}" for line, message in rules]
    return found


def _sources(folder: Path) -> Iterator[Path]:
    """Yields what is ours; what has a hidden name, such as an environment, is not even walked through."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            yield from _sources(path)
        elif path.suffix == ".py":
            yield path


def _unsafe_parts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields what no code of ours may do, tests included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((node.lineno, message) for name in names for message in _unsafe_package(name))
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, message) for message in _unsafe_call(node))


def _broken_rules(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    yield from _unsafe_parts(tree)
    forked = {id(node) for block in ast.walk(tree) if _puts_state_back(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from ((node.lineno, message) for message in _import_problems(module, alias.name))
        elif isinstance(node, ast.ImportFrom):
            for message in _from_problems(module, node):
                yield node.lineno, message
        elif isinstance(node, ast.Call) and not (id(node) in forked and ast.unparse(node.func) == "torch.manual_seed"):
            yield from ((node.lineno, message) for message in _call_problems(node))


def _puts_state_back(node: ast.AST) -> bool:
    return isinstance(node, ast.With) and "torch.random.fork_rng(" in ast.unparse(node.items[0])


def _from_problems(module: str, node: ast.ImportFrom) -> Iterator[str]:
    if node.level or node.module is None:
        yield "relative import"
    elif node.module == "__future__":
        yield "from __future__ import: the run-time checks of shapes need real annotations"
    elif node.module == "minimagen":
        for alias in node.names:
            yield from _import_problems(module, f"minimagen.{alias.name}")
    else:
        yield from _import_problems(module, node.module)


def _import_problems(module: str, imported: str) -> Iterator[str]:
    top = imported.partition(".")[0]
    if top in HOMES and not any(f"{module}.".startswith(f"{home}.") for home in HOMES[top]):
        yield f"imports {top}, which only {' and '.join(HOMES[top])} may"
    if top == "flows" and not module.startswith("flows"):
        yield "imports flows, which only flows may"
    if top == "minimagen" and module.startswith("minimagen.") and "." in imported:
        yield from _level_problems(module.split(".")[1], imported.split(".")[1])


def _level_problems(importer: str, imported: str) -> Iterator[str]:
    upper, lower = LEVELS.get(importer, 0), LEVELS.get(imported, 0)
    if lower > upper:
        yield f"{importer} (level {upper}) imports {imported} (level {lower}): imports go down only"
    elif lower == upper > 0 and importer != imported and (importer, imported) not in SIDEWAYS:
        yield f"{importer} imports {imported}, both of level {upper}: they meet on a level above"


def _call_problems(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in SHARED_STATE:
        yield f"calls {name}, which {SHARED_STATE[name]}"


def _unsafe_package(imported: str) -> Iterator[str]:
    top = imported.partition(".")[0]
    if top in UNSAFE_PACKAGES:
        yield f"imports {top}, which {UNSAFE_PACKAGES[top]}"


def _unsafe_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in UNSAFE_CALLS:
        yield f"calls {name}, which {UNSAFE_CALLS[name]}"
    if name == "torch.load" and "weights_only" not in keywords:
        yield "calls torch.load without weights_only=True, which runs code when it reads"
    if name.rpartition(".")[2] == "YAML" and keywords.get("typ") == "'unsafe'":
        yield f"calls {name} with typ='unsafe', which runs code when it reads"
    for argument, (value, effect) in UNSAFE_ARGUMENTS.items():
        if keywords.get(argument, value) != value:
            yield f"calls {name} with {argument}={keywords[argument]}, {effect}"
