"""DVC and its stages in processes that start at once: `python -m tests.durability.warm_dvc`, a JSON request a line.

All is imported once; each `dvc` is a fork, and so is each command that it starts, which stays its child: what is
replaced of DVC is that it would start a new Python. Arguments that begin with "minimagen" are that command, without
DVC. A request is {"root", "arguments", "environment", "num_stages"};
told are "pid N" and, once it has ended, "ended STATUS". What is said goes to warm.log in the root.
"""

import importlib
import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import dvc.cli
import dvc.repo.reproduce
import dvc.stage.run
import torch
from dvc.stage.exceptions import StageCmdFailedError

from minimagen import cli

_LATE = (
    "minimagen.stages.ingest",
    "minimagen.stages.curate",
    "minimagen.stages.text_encoder",
    "minimagen.stages.embed",
    "minimagen.stages.train",
    "minimagen.stages.evaluate",
    "pandas",
    "dvc.commands.repro",
    "dvc_data.hashfile.state",
    "torch.optim",
    "torch._dynamo",
    "transformers.models.t5.modeling_t5",
)
"""What commands import when they need it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A process that becomes a stage's command once it is told which; it ends with the one that forked it."""

    pid: int
    teller: int

    def become(self, command: str, environment: dict[str, str], folder: str) -> int:
        """Runs the command there and returns its exit code, negative for a signal."""
        os.write(self.teller, json.dumps([shlex.split(command), environment, folder]).encode())
        os.close(self.teller)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fork_waiting(others: list[Waiting]) -> Waiting:
    """Forks a process that waits; it lets go of what tells the others."""
    hearer, teller = os.pipe()
    pid = os.fork()
    if pid:
        os.close(hearer)
        return Waiting(pid, teller)
    for descriptor in (teller, *(other.teller for other in others)):
        os.close(descriptor)
    with os.fdopen(hearer, "rb") as stream:
        said = stream.read()
    if not said:
        os._exit(0)
    sys.argv, environment, folder = json.loads(said)
    os.environ.clear()
    os.environ |= environment
    os.chdir(folder)
    end(cli.main)


def end(run) -> NoReturn:
    """Runs something and ends the process as Python would."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_dvc(request: dict[str, object]) -> NoReturn:
    """Becomes `dvc` in a session of its own."""
    root = Path(str(request["root"]))
    os.setsid()
    log = os.open(root / "warm.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.chdir(root)
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ |= environment
    arguments = request["arguments"]
    assert isinstance(arguments, list)
    if arguments[0] == "minimagen":
        sys.argv = arguments
        end(cli.main)
    waiting: list[Waiting] = []
    for _ in range(int(str(request["num_stages"]))):
        waiting.append(fork_waiting(waiting))

    def run(executable: str | None, command: str, **how: object) -> None:
        env = how["env"]
        assert isinstance(env, dict)
        code = waiting.pop().become(command, env, str(how["cwd"]))
        if code != 0:
            raise StageCmdFailedError(command, code)

    dvc.stage.run._run = run
    end(lambda: sys.exit(dvc.cli.main(arguments)))


def tell(text: str) -> None:
    """Writes one line at once."""
    os.write(1, f"{text}\n".encode())


def main() -> None:
    """Serves until the input ends."""
    torch.set_num_threads(1)
    for name in _LATE:
        importlib.import_module(name)
    tell("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run_dvc(json.loads(line))
        tell(f"pid {child}")
        tell(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    main()
