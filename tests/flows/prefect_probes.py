"""What is asked of Prefect's server by those who do not know its password, and by pages of others."""

from tests.probes import Probe, request, slow_body, websocket, while_half_open

VERSION, FLOWS, VARIABLES = "/api/admin/version", "/api/flows/filter", "/api/variables/"
VARIABLE = b'{"name": "evil", "value": "1"}'
NOT_LET_IN = [401]
NOT_LET_WRITE = [401, 403]
"""Whether the password or the CSRF token is missed first."""
POLICY_VIOLATION = 1008
AUTH = '{"type": "auth", "token": "minimagen:wrong"}'
EVENT = '{"event": "evil", "resource": {"prefect.resource.id": "evil"}}'


def prefect_probes() -> list[Probe]:
    """Returns all probes; those of strangers carry no password."""
    return [*_names(), *_origins(), *_traversals(), *_strangers(), *_sockets(), *_ways(), *_bodies()]


def allowed() -> list[Probe]:
    """Returns what has to be answered: a door that is always shut would pass every other probe."""
    return [
        Probe("allowed", "with the password", request("GET", VERSION), [200]),
        Probe("allowed", "its page", request("GET", "/", with_key=False), [200, 307]),
        Probe("allowed", "its health", request("GET", "/api/health", with_key=False), [200]),
        Probe("allowed", "100 others have sent half a request", while_half_open(request("GET", VERSION)), [200], 10.0),
    ]


def _names() -> list[Probe]:
    """Prefect answers to every name; a page that rebinds one does not know the password."""
    names = ("evil.example", "10.evil.example", "127.0.0.1.evil.example:{port}", "127.0.0.1:1")
    return [Probe("host", name, request("GET", VERSION, {"Host": name}, with_key=False), NOT_LET_IN) for name in names]


def _origins() -> list[Probe]:
    def never_allowed(origin: str) -> list[str]:
        return [f"access-control-allow-origin: {origin}\r", "access-control-allow-origin: *"]

    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    evil = "http://evil.example"
    preflights = [
        Probe(
            "origin",
            f"preflight of {origin}",
            request("OPTIONS", VARIABLES, {"Origin": origin, **ask}, with_key=False),
            [400],
            never=never_allowed(origin),
        )
        for origin in (evil, "null", "http://localhost:9")
    ]
    write = request("POST", VARIABLES, {"Origin": evil}, VARIABLE, with_key=False)
    known = request("POST", VARIABLES, {"Origin": evil}, VARIABLE)
    return [
        *preflights,
        Probe("origin", f"{evil} writes", write, NOT_LET_WRITE, never=never_allowed(evil)),
        Probe("origin", f"{evil} knows the password, has no CSRF token", known, [403], never=never_allowed(evil)),
    ]


def _traversals() -> list[Probe]:
    """What is no file of the page is answered by its start page, as pages of one page do."""
    paths = (
        "/../../../../../../etc/passwd",
        "/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/api/..%2f..%2f..%2f..%2fetc%2fpasswd",
    )
    return [
        Probe("traversal", path[:56], request("GET", path, with_key=False), [200, 307, 400, 401, 404]) for path in paths
    ]


def _strangers() -> list[Probe]:
    keys = {
        "no password": {},
        "another password": {"Authorization": "Basic bWluaW1hZ2VuOng="},
        "no Base64": {"Authorization": "Basic %%%"},
        "a token instead": {"Authorization": "Bearer AAAA"},
    }
    reads = [
        Probe("authentication", name, request("GET", VERSION, key, with_key=False), NOT_LET_IN)
        for name, key in keys.items()
    ]
    names = ("/api/variables/name/health", "/api/flows/health", "/api/admin/settings/ready")
    return [
        *reads,
        *(
            Probe("authentication", f"a path that ends in {name}", request("GET", name, with_key=False), NOT_LET_IN)
            for name in names
        ),
    ]


def _sockets() -> list[Probe]:
    """With Prefect's protocol a socket opens, and is closed unless the password is what it says first."""
    ways = ("/api/events/in", "/api/events/out", "/api/logs/out")
    plain = [Probe("websocket", f"{way} plainly", websocket(way, with_key=False), NOT_LET_WRITE) for way in ways]
    words = {"another password": AUTH, "an event instead of a password": EVENT}
    return plain + [
        Probe(
            "websocket",
            f"{way} {name}",
            websocket(way, with_key=False, protocol="prefect", says=text),
            [*NOT_LET_WRITE, POLICY_VIOLATION],
        )
        for way in ways
        for name, text in words.items()
    ]


def _ways() -> list[Probe]:
    ways = ("/api/deployments/", "/api/work_pools/", "/api/admin/database/clear", "/api/block_documents/")
    return [Probe("jobs", way, request("POST", way, {}, b"{}", with_key=False), NOT_LET_WRITE) for way in ways]


def _bodies() -> list[Probe]:
    announced = request("POST", FLOWS, {"Content-Length": "1000000000"}, with_key=False)
    return [
        Probe("body", "1 GB announced, no password", announced, NOT_LET_WRITE, 3.0),
        Probe("body", "a byte every half second, no password", slow_body(FLOWS, with_key=False), NOT_LET_WRITE, 3.0),
    ]
