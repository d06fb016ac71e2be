"""`minimagen serve` as a process: what it answers, what it refuses, and how it ends."""

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from benchmarks.served import Served, serving
from tests.small_cascade import write_small_cascade

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps({"inputs": ["a frog"]}).encode()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_small_cascade(root / "data")
    return root


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[Served]:
    with serving(["serve"], project) as running:
        yield running


def test_prompts_are_answered_with_pictures_of_every_stage(served: Served) -> None:
    answer = served.draw(["a frog", "an apple"], seed=1)

    assert answer.status == 200
    predictions = answer.json()["predictions"]
    assert isinstance(predictions, list)
    assert [(one["prompt"], one["stage"]) for one in predictions] == [
        (prompt, stage) for prompt in ("a frog", "an apple") for stage in ("base", "super")
    ]


def test_it_says_that_it_lives(served: Served) -> None:
    assert [served.ask("GET", path).status for path in ("/ping", "/health", "/version")] == [200] * 3


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", "", "[::1]:{port}"]
)
def test_only_its_own_names_are_answered(served: Served, host: str) -> None:
    for method, path in (("GET", "/ping"), ("POST", "/invocations")):
        answer = served.ask(method, path, GOOD, JSON | {"Host": host.format(port=served.port)})
        assert answer.status == 403 and "not a name of this server" in str(answer.json()["error"])


def test_localhost_is_one_of_its_names(served: Served) -> None:
    assert served.ask("GET", "/ping", headers={"Host": f"LOCALHOST:{served.port}"}).status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"]
)
def test_pages_of_others_may_not_ask(served: Served, origin: str) -> None:
    assert served.ask("POST", "/invocations", GOOD, JSON | {"Origin": origin}).status == 403
    own = served.ask("POST", "/invocations", GOOD, JSON | {"Origin": f"http://127.0.0.1:{served.port}"})
    assert own.status == 200 and "access-control-allow-origin" not in own.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/invocations", b"{", JSON, 400),
        ("POST", "/invocations", json.dumps({"inputs": ["x" * 2001]}).encode(), JSON, 400),
        ("POST", "/invocations", GOOD, {}, 415),
        ("POST", "/invocations", b"prompt\na frog\n", {"Content-Type": "text/csv"}, 415),
        ("POST", "/invocations", b" " * 65_537, JSON, 413),
        ("POST", "/invocations", GOOD, JSON | {"Content-Length": "-1"}, 400),
        ("GET", "/invocations", None, {}, 405),
        ("DELETE", "/ping", None, {}, 405),
        ("GET", "/../../etc/passwd", None, {}, 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", None, {}, 404),
        ("GET", "/docs", None, {}, 404),
        ("GET", "/openapi.json", None, {}, 404),
        ("GET", "/", None, {}, 404),
        ("GET", "/ping", None, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}, 200),
        ("GET", "/ping", None, {"X": "y" * 20_000}, 400),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    served: Served, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    answer = served.ask(method, path, body, headers)

    assert answer.status == status
    assert b"Traceback" not in answer.body and b"minimagen" not in answer.body


def test_a_body_without_a_length_is_counted(served: Served) -> None:
    connection = served.connect(
        b"POST /invocations HTTP/1.1\r\nHost: localhost:%d\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" % served.port
    )
    with connection:
        connection.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n" + b"1\r\n \r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_every_answer_tells_browsers_to_keep_others_out(served: Served) -> None:
    for answer in (served.ask("GET", "/ping"), served.ask("GET", "/none"), served.draw([])):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


def test_it_listens_on_loopback_only(served: Served) -> None:
    connections = psutil.Process(served.process.pid).net_connections()

    assert {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.long
def test_more_than_the_line_holds_is_refused_with_a_reason_and_a_time(project: Path) -> None:
    with serving(["serve", "--deadline", "3"], project) as served, ThreadPoolExecutor(48) as pool:
        asked = [pool.submit(served.draw, ["a frog"], steps=1000, num_images=16, seed=seed) for seed in range(48)]
        answers = [one.result() for one in asked]

        refused = [answer for answer in answers if answer.status == 503]
        assert refused
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert {answer.status for answer in answers} == {503, 504}
        assert all(answer.json()["error"] for answer in answers)
        assert served.draw(["a frog"]).status == 200  # what was given up is drawn no further


@pytest.mark.long
def test_who_has_gone_frees_the_line(project: Path) -> None:
    body = json.dumps({"inputs": ["a frog"], "params": {"steps": 1000, "num_images": 16}}).encode()
    with serving(["serve"], project) as served:
        head = b"POST /invocations HTTP/1.1\r\nHost: localhost:%d\r\nContent-Type: application/json\r\n" % served.port
        for _ in range(8):
            served.connect(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)).close()
        start_s = time.monotonic()
        assert served.draw(["a frog"]).status == 200
        assert time.monotonic() - start_s < 20.0  # eight such requests take minutes


@pytest.mark.long
def test_a_damaged_cascade_is_told_before_anything_is_served(tmp_path: Path) -> None:
    folder = write_small_cascade(tmp_path / "data")
    (folder / "models/super/model.safetensors").write_bytes(b"torn")

    with pytest.raises(RuntimeError, match="ended with 2"), serving(["serve"], tmp_path):
        pass


@pytest.mark.long
def test_a_stop_lets_the_drawing_finish(project: Path) -> None:
    with serving(["serve"], project) as served, ThreadPoolExecutor(2) as pool:
        assert served.draw(["a frog"]).status == 200
        asked = pool.submit(served.draw, ["a frog"], steps=100)
        idle = served.connect(b"GET /ping HTTP/1.1\r\nHost: ")
        _wait_until_drawing(served)

        served.process.send_signal(signal.SIGTERM)

        assert asked.result().status == 200
        assert served.process.wait(30) == 0
        with idle:
            assert idle.recv(10) == b""


@pytest.mark.slow
def test_what_is_slow_to_ask_is_closed_in_time(served: Served) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost:%d\r\n" % served.port
    with (
        served.connect(head) as slow_head,
        served.connect(head + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{") as slow_body,
    ):
        assert slow_body.recv(100).startswith(b"HTTP/1.1 408")
        assert slow_head.recv(100) == b""


@pytest.mark.slow
def test_a_stop_takes_no_longer_than_30_s_and_tells_who_waits(project: Path) -> None:
    with serving(["serve", "--deadline", "600"], project) as served, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(served.draw, ["a frog"], steps=1000, num_images=16, seed=seed) for seed in range(4)]
        _wait_until_drawing(served)
        start_s = time.monotonic()

        served.process.send_signal(signal.SIGTERM)

        assert served.process.wait(60) == 0
        assert time.monotonic() - start_s <= 30.0
        answers = [one.result() for one in asked]
        assert {answer.status for answer in answers} <= {200, 503}
        assert "stopping" in str(answers[-1].json()["error"])


def _wait_until_drawing(served: Served) -> None:
    """Returns once the server has taken a request in: its processor time grows while it draws."""
    process = psutil.Process(served.process.pid)
    start_s = process.cpu_times().user
    while process.cpu_times().user < start_s + 0.2:
        assert served.ask("GET", "/ping").status == 200
