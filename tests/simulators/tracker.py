"""A loopback server that speaks as much of MLflow's REST as a shipper needs, and fails on demand.

Keeps every point it was sent, so that a test can count what arrived twice. Knows no faults of its own: a test gives a
function that names the fault of each request.
"""

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

Fault = Literal["refuse", "lose answer", "hang", "slow"]
"""Answer 500 and do nothing; do it and close the connection; do nothing and never answer; wait, then do it."""
SLOW_S = 0.3
Message = dict[str, object]
Socket = socket.socket | tuple[bytes, socket.socket]


class _Store:
    """What the server holds. A point sent twice is held once, as MLflow's database does, and counted."""

    def __init__(self) -> None:
        self.runs: dict[str, Message] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.params: dict[str, dict[str, str]] = {}
        self.points: dict[str, dict[tuple[str, int, int], float]] = {}
        self.num_resent = 0

    def answer(self, path: str, body: Message) -> Message | None:
        """Returns the answer to a request, None for "no such thing"."""
        run_id = str(body.get("run_id", ""))
        if path.startswith("experiments/"):
            return {"experiment": {"experiment_id": "1", "name": "scenes", "lifecycle_stage": "active"}}
        if path == "runs/create":
            return {"run": self._create(body)}
        if path == "runs/search":
            wanted = str(body["filter"]).rpartition("= ")[2].strip("'")
            return {"runs": [self._run(name) for name in self.runs if wanted in self.tags[name].values()]}
        if run_id not in self.runs:
            return None
        if path == "runs/get":
            return {"run": self._run(run_id)}
        if path == "runs/update":
            self.runs[run_id]["status"] = body["status"]
            return {"run_info": self.runs[run_id]}
        if path == "runs/log-batch":
            self._take(run_id, body)
        elif path == "runs/set-tag":
            self.tags[run_id][str(body["key"])] = str(body["value"])
        return {}

    def _create(self, body: Message) -> Message:
        run_id = f"{len(self.runs):032x}"
        self.runs[run_id] = {
            "run_id": run_id,
            "experiment_id": "1",
            "status": "RUNNING",
            "lifecycle_stage": "active",
            "artifact_uri": "file:///nonexistent",
        }
        self.tags[run_id] = {tag["key"]: tag["value"] for tag in _items(body, "tags")}
        self.params[run_id], self.points[run_id] = {}, {}
        return self._run(run_id)

    def _take(self, run_id: str, body: Message) -> None:
        self.params[run_id] |= {item["key"]: item["value"] for item in _items(body, "params")}
        self.tags[run_id] |= {item["key"]: item["value"] for item in _items(body, "tags")}
        for item in _items(body, "metrics"):
            point = (item["key"], int(item["step"]), int(item["timestamp"]))
            self.num_resent += point in self.points[run_id]
            self.points[run_id][point] = float(item["value"])

    def _run(self, run_id: str) -> Message:
        latest = {key: (step, time_ms, value) for (key, step, time_ms), value in sorted(self.points[run_id].items())}
        metrics = [{"key": key, "step": s, "timestamp": t, "value": v} for key, (s, t, v) in latest.items()]
        params = [{"key": key, "value": value} for key, value in self.params[run_id].items()]
        tags = [{"key": key, "value": value} for key, value in self.tags[run_id].items()]
        return {"info": self.runs[run_id], "data": {"metrics": metrics, "params": params, "tags": tags}}


class TrackerSimulator:
    """The server, running while its ``with`` block does."""

    def __init__(
        self,
        fault: Callable[[str, int], Fault | None] = lambda path, nth: None,
        *,
        after: "TrackerSimulator | None" = None,
    ) -> None:
        """``fault`` names the fault of the ``nth`` request (from 0) to a path such as "runs/log-batch".

        Args:
            after: a server that has ended, whose address and contents this one has: the same one, started again.
        """
        self.fault = fault
        self.store = _Store() if after is None else after.store
        self._port = 0 if after is None else after._server.server_address[1]
        self.was_hit = threading.Event()
        """Set once a fault has happened."""
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._is_idle = threading.Condition(self._lock)
        self._num_answering = 0
        self._released = threading.Event()
        self._server = self._server_that_counts()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """The address for MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_until_idle(self) -> None:
        """Returns once every request sent before this call has been answered or hangs, its sender dead or alive."""
        host, port = self._server.server_address[:2]
        with socket.create_connection((str(host), port)) as connection:  # Connections are accepted in their order.
            connection.sendall(b"GET /mlflow/last HTTP/1.0\r\n\r\n")
            while connection.recv(4096):
                pass
        with self._is_idle:
            assert self._is_idle.wait_for(lambda: self._num_answering == 0, timeout=60)

    def stage_points(self, key: str) -> list[tuple[int, float]]:
        """Returns the (step, value) of a curve over all runs of stages, sorted; a repeated point appears once."""
        runs = [name for name, tags in self.store.tags.items() if "minimagen.run" in tags]
        return sorted((s, v) for run in runs for (k, s, _), v in self.store.points[run].items() if k == key)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        simulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                simulator.handle(self, dict(query))

            def do_POST(self) -> None:
                simulator.handle(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            do_PATCH = do_POST

            def log_message(self, format: str, *args: object) -> None:
                return

        return Handler

    def handle(self, request: BaseHTTPRequestHandler, body: Message) -> None:
        """Answers one request, or commits its fault."""
        if self._answer(request, body):
            self._count_answering(-1)
            self._released.wait()
            self._count_answering(1)

    def _count_answering(self, change: int) -> None:
        with self._is_idle:
            self._num_answering += change
            self._is_idle.notify_all()

    def _server_that_counts(self) -> ThreadingHTTPServer:
        simulator = self

        class Server(ThreadingHTTPServer):
            daemon_threads = False

            def process_request(self, request: Socket, client_address: object) -> None:
                simulator._count_answering(1)
                super().process_request(request, client_address)

            def process_request_thread(self, request: Socket, client_address: object) -> None:
                super().process_request_thread(request, client_address)
                simulator._count_answering(-1)

        return Server(("127.0.0.1", self._port), self._handler())

    def _answer(self, request: BaseHTTPRequestHandler, body: Message) -> bool:
        path = urlsplit(request.path).path.partition("/mlflow/")[2]
        with self._lock:
            nth = self._counts.get(path, 0)
            self._counts[path] = nth + 1
        fault = self.fault(path, nth)
        if fault == "hang":
            self.was_hit.set()
            return True
        if fault == "slow":
            self._released.wait(SLOW_S)
        answer: Message | None = {"error_code": "INTERNAL_ERROR", "message": "on purpose"}
        if fault != "refuse":
            with self._lock:
                answer = self.store.answer(path, body)
        if fault is not None:
            self.was_hit.set()
        if fault != "lose answer":
            status = 500 if fault == "refuse" else 200 if answer is not None else 404
            _send(request, status, answer or {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"})
        return False


def _send(request: BaseHTTPRequestHandler, status: int, answer: Message) -> None:
    content = json.dumps(answer).encode()
    try:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
    except ConnectionError:
        return


def _items(body: Message, key: str) -> list[dict[str, str]]:
    items = body.get(key, [])
    assert isinstance(items, list)
    return items
