"""A server of this project in a process of its own, and raw requests to it. Measures nothing itself."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
END_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> dict[str, object]:
        """Returns the body, which is a JSON object."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    process: "subprocess.Popen[str]"
    port: int

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Sends one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()

    def post(self, path: str, document: object) -> Answer:
        """Sends a JSON document."""
        return self.ask("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def draw(self, prompts: Sequence[str], **params: object) -> Answer:
        """Asks for pictures."""
        return self.post("/invocations", {"inputs": list(prompts), "params": params})

    def draw_on_page(self, prompt: str, **fields: object) -> Answer:
        """Asks for a picture as the studio's page does, of the cascade that it offers first."""
        offered = self.ask("GET", "/api/models").json()["models"]
        assert isinstance(offered, list)
        return self.post("/api/draw", {"model": offered[0]["key"], "prompt": prompt, **fields})

    def connect(self, start: bytes) -> socket.socket:
        """Opens a connection and sends the start of a request; the caller closes it."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_TIMEOUT_S)
        opened.sendall(start)
        return opened


@contextmanager
def serving(command: Sequence[str], root: Path) -> Iterator[Served]:
    """Runs ``minimagen COMMAND`` in a project on a free port until the block ends.

    Raises:
        RuntimeError: it did not start; the message is what it said.
    """
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "minimagen.cli", *command, "--port", "0"],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = next((line for line in process.stdout if "http://127.0.0.1:" in line), None)
        if line is None:
            raise RuntimeError(f"minimagen {' '.join(command)}: ended with {process.wait()} before it answered")
        yield Served(process, int(line.rpartition("http://127.0.0.1:")[2].partition("/")[0]))
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
