"""What is asked of MLflow's pages by those who may not, or by those who may and should not. Imports no pytest."""

import json

from tests.probes import Probe, exchange, head, request, slow_body, websocket, while_half_open

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
CREATE = "/api/2.0/mlflow/experiments/create"
EXPERIMENT = json.dumps({"name": "evil"}).encode()
ELSEWHERE = json.dumps({"name": "evil", "artifact_location": "file:///etc"}).encode()
ELSEWHERE_IN_CAMEL = json.dumps({"name": "evil", "artifactLocation": "file:///etc"}).encode()


def mlflow_probes(run_id: str) -> list[Probe]:
    """Returns all probes; those whose kind is not "authentication" carry the right token. ``run_id`` is of a run."""
    return [*_names(), *_origins(), *_traversals(run_id), *_strangers(), *_ways(), *_bodies()]


def allowed() -> list[Probe]:
    """Returns what has to be answered: a door that is always shut would pass every other probe."""
    own_page = {"Origin": "http://127.0.0.1:{port}"}
    return [
        Probe("allowed", "its own name", request("GET", SEARCH), [200]),
        Probe("allowed", "its other name", request("GET", SEARCH, {"Host": "localhost:{port}"}), [200]),
        Probe("allowed", "a search by its own page", request("POST", SEARCH, own_page, b'{"max_results": 1}'), [200]),
        Probe("allowed", "its start page", request("GET", "/"), [200]),
        Probe("allowed", "its health without a token", request("GET", "/health", with_key=False), [200]),
        Probe("allowed", "100 others have sent half a request", while_half_open(request("GET", SEARCH)), [200], 10.0),
    ]


def _names() -> list[Probe]:
    names = (
        "evil.example",
        "10.evil.example",
        "192.168.evil.example",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.1:1",
    )
    by_name = [Probe("host", name, request("GET", SEARCH, {"Host": name}), [403]) for name in names]
    return [*by_name, Probe("host", "none", request("GET", SEARCH, {"Host": ""}), [400, 403])]


def _origins() -> list[Probe]:
    origins = ("http://evil.example", "http://127.0.0.1.evil.example", "null", "http://localhost:9")
    return [Probe("origin", one, request("POST", CREATE, {"Origin": one}, EXPERIMENT), [403]) for one in origins]


def _traversals(run_id: str) -> list[Probe]:
    file = f"/get-artifact?run_uuid={run_id}&path="
    paths = {
        "a run's file ../../../etc/passwd": f"{file}../../../../../../etc/passwd",
        "a run's file ..%2f..%2fetc%2fpasswd": f"{file}..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "a run's file /etc/passwd": f"{file}/etc/passwd",
        "a run's file %23/../../etc/passwd": f"{file}%23/../../../../../../etc/passwd",
        "a run's folder ../../..": f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run_id}&path=../../..",
        "a page's file ..%2f..%2fetc%2fpasswd": f"/static-files/{'..%2f' * 9}etc%2fpasswd",
        "a page's file %2e%2e/%2e%2e/etc/passwd": f"/static-files/{'%2e%2e/' * 9}etc/passwd",
    }
    by_path = [Probe("traversal", name, request("GET", path), [400, 404]) for name, path in paths.items()]
    places = {"artifact_location": ELSEWHERE, "artifactLocation": ELSEWHERE_IN_CAMEL}
    return [
        *by_path,
        *(
            Probe("traversal", f"{key} file:///etc", request("POST", CREATE, {}, one), [403])
            for key, one in places.items()
        ),
    ]


def _strangers() -> list[Probe]:
    keys = {
        "no token reads": {},
        "another token": {"Authorization": "Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        "no password": {"Authorization": "Basic Og=="},
        "no Base64": {"Authorization": "Basic %%%"},
        "another cookie": {"Cookie": "minimagen-{port}=AAAA; x=y"},
    }
    return [
        *(
            Probe("authentication", name, request("GET", SEARCH, key, with_key=False), [401])
            for name, key in keys.items()
        ),
        Probe("authentication", "no token writes", request("POST", CREATE, {}, EXPERIMENT, with_key=False), [401]),
        Probe("authentication", "another token in the address", request("GET", "/?token=AAAA", with_key=False), [401]),
    ]


def _ways() -> list[Probe]:
    upload = "/api/2.0/mlflow-artifacts/artifacts/x"
    return [
        Probe("websocket", "with a token", websocket("/ajax-api/3.0/mlflow/x", with_key=True), [403]),
        Probe("jobs", "start one", request("POST", "/ajax-api/3.0/jobs/", {}, b"{}"), [403]),
        Probe("jobs", "the assistant", request("POST", "/ajax-api/3.0/mlflow/assistant/message", {}, b"{}"), [403]),
        Probe("jobs", "the gateway", request("POST", "/gateway/x/mlflow/invocations", {}, b"{}"), [403]),
        Probe("jobs", "a webhook", request("POST", "/api/2.0/mlflow/webhooks", {}, b"{}"), [403]),
        Probe("jobs", "traces of OpenTelemetry", request("POST", "/v1/traces", {}, b"{}"), [403]),
        Probe("files", "upload one", request("PUT", upload, {}, b"x"), [403]),
        Probe("files", "upload one to a run", request("POST", "/ajax-api/2.0/mlflow/upload-artifact", {}, b"x"), [403]),
        Probe("method", "TRACE", request("TRACE", "/"), [400, 405]),
    ]


def _bodies() -> list[Probe]:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    return [
        Probe("body", "1 GB announced", request("POST", CREATE, {"Content-Length": "1000000000"}), [413], 3.0),
        Probe(
            "body",
            "4 MB in chunks",
            lambda door: exchange(
                door, head("POST", CREATE, {"Host": door.host, "Transfer-Encoding": "chunked", **door.key}) + chunk * 64
            ),
            [413],
        ),
        Probe("body", "a byte every half second", slow_body(CREATE, with_key=True), [408], 12.0),
        Probe("body", "a byte every half second, no token", slow_body(CREATE, with_key=False), [401], 3.0),
        Probe("body", "JSON 100,000 deep", request("POST", CREATE, {}, b"[" * 100_000), [400]),
        Probe("headers", "1 MB", request("GET", SEARCH, {"X-Long": "x" * 1_000_000}), [0, 400, 431]),
    ]
