"""The Prefect server of this machine: where it answers, the string that opens it, and the settings of what talks to it.

The string is made once and readable by its owner alone. Imports no Prefect: what starts Prefect reads this first.
"""

import base64
import json
import secrets
import shlex
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from minimagen.errors import UserError
from minimagen.files import write_private

HOST = "127.0.0.1"
WORK_POOL = "local"
FOLDER = Path("runs/prefect")
AUTH_FILE = FOLDER / "auth"
"""The string `user:password`; Prefect's page asks for it once."""
EXPORTS_FILE = FOLDER / "env"
"""What a shell exports to talk to the server; there only while it runs."""
_USER = "minimagen"
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A server on loopback, and how to be let in."""

    port: int
    auth: str

    @property
    def page(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        """What Prefect's clients are told."""
        return f"{self.page}/api"

    @property
    def client_settings(self) -> dict[str, str]:
        """What a client needs to find the server and to be let in."""
        return {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.auth}

    def settings(self, root: Path) -> dict[str, str]:
        """Returns all settings of the server, of the worker and of the runs of flows, as environment variables."""
        return {
            **self.client_settings,
            "PREFECT_HOME": str(root / FOLDER / "home"),
            "PREFECT_SERVER_API_AUTH_STRING": self.auth,
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{self.page},http://localhost:{self.port}",
            "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # A server that is started again still knows who holds a slot; a run that outlived it would be ended.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "DO_NOT_TRACK": "true",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_PLUGINS_ENABLED": "false",  # ours is for what a user types
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "minimagen",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # threads of the library know of no flow
        }

    def ask(self, path: str, question: object = None) -> bytes:
        """Returns what the server answers at a path below its API; a question is posted as JSON.

        Raises:
            OSError: it does not answer, or does not let us in.
        """
        if question is None:
            return self._send(path, None, {})
        client = secrets.token_hex(16)
        token = json.loads(self._send(f"/csrf-token?client={client}", None, {}))["token"]
        headers = {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token, "Content-Type": "application/json"}
        return self._send(path, json.dumps(question).encode(), headers)

    def _send(self, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        key = base64.b64encode(self.auth.encode()).decode()
        request = urllib.request.Request(self.api_url + path, body, {"Authorization": f"Basic {key}", **headers})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return answer.read()


def open_server(root: Path, port: int) -> LocalServer:
    """Returns the server of a project at a port; the string that opens it is made at the first call."""
    path = root / AUTH_FILE
    if not path.exists():
        write_private(path, f"{_USER}:{secrets.token_urlsafe(24)}\n")
    return LocalServer(port, path.read_text().strip())


def announce(root: Path, server: LocalServer) -> None:
    """Leaves word for other terminals of how to talk to the running server."""
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in server.client_settings.items())
    write_private(root / EXPORTS_FILE, "".join(lines))


def withdraw(root: Path) -> None:
    """Takes that word back."""
    (root / EXPORTS_FILE).unlink(missing_ok=True)


def announced_settings(root: Path) -> dict[str, str]:
    """Returns the client's settings for the server that runs for a project; empty where none does.

    Raises:
        UserError: others than the owner may read the file.
    """
    path = root / EXPORTS_FILE
    if not path.exists():
        return {}
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path}: others may read it, and it holds a password: chmod 600 {path}")
    pairs = (word.partition("=") for word in shlex.split(path.read_text()) if "=" in word)
    return {name: value for name, _, value in pairs}
