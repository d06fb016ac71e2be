"""A plugin of Prefect's: `prefect deployment run NAME` finds a deployment that is called as its flow is.

Prefect wants FLOW/DEPLOYMENT. In a project whose prefect.yaml lists NAME, the command line's NAME becomes NAME/NAME
before Prefect reads it, and the server that `make orchestrate` runs is found without an export. No other command and
no other folder is touched. pyproject.toml turns it on for the project's folder alone.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect.plugins import HookContext, SetupResult, register_hook

from flows.local_server import announced_settings

_COMMAND = ("deployment", "run")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_ENTRY = r"^ *- *name: *[\"']?{}[\"']? *$"


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Rewrites the name in this process's command line, if it is that command; Prefect calls this as it is imported."""
    position = bare_name_at(sys.orig_argv, sys.argv)
    if position is None or not is_deployment(Path(), sys.argv[position]):
        return None
    sys.argv[position] = f"{sys.argv[position]}/{sys.argv[position]}"
    if ctx.api_url is not None or "PREFECT_API_URL" in os.environ:
        return None
    return SetupResult(env=announced_settings(Path()), note="the server of this project")


def bare_name_at(started: Sequence[str], arguments: Sequence[str]) -> int | None:
    """Returns where in its arguments `prefect deployment run NAME` has a name without a slash; None: elsewhere.

    Args:
        started: the whole command of the process, as ``sys.orig_argv``.
        arguments: program and its arguments, as ``sys.argv``.
    """
    is_module = list(started[1:3]) == ["-m", "prefect"]
    if not is_module and Path(arguments[0]).name != "prefect":
        return None
    position = 1
    while position < len(arguments) and arguments[position] in ("--prompt", "--no-prompt"):
        position += 1
    if tuple(arguments[position : position + 2]) != _COMMAND or len(arguments) < position + 3:
        return None
    return position + 2 if _NAME.fullmatch(arguments[position + 2]) else None


def is_deployment(root: Path, name: str) -> bool:
    """Returns whether prefect.yaml of a project lists a deployment of this name."""
    path = root / "prefect.yaml"
    if not path.exists():
        return False
    return re.search(_ENTRY.format(re.escape(name)), path.read_text(encoding="utf-8"), re.MULTILINE) is not None
