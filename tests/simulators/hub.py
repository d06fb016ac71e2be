"""A loopback Hugging Face hub: models as folders, each a commit, with branches, renamed models and a request log.

Answers the endpoints that ``huggingface_hub`` uses to fetch a snapshot: repository, tree, and HEAD and GET of a file.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(slots=True)
class Hub:
    """What the hub holds, and what was asked of it."""

    url: str = ""
    commits: dict[tuple[str, str], Path] = field(default_factory=dict)
    """Folder of each (model, commit)."""
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    """Commit of each (model, branch or tag)."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Old names, answered by a redirect, as the real hub does for t5-base."""
    requests: list[str] = field(default_factory=list)
    """"METHOD path", in order."""

    def publish(self, model: str, folder: Path, *, branch: str = "main") -> str:
        """Makes a folder the newest commit of a branch and returns the commit."""
        content = b"".join(path.name.encode() + path.read_bytes() for path in sorted(folder.iterdir()))
        commit = hashlib.sha1(content).hexdigest()
        self.commits[model, commit] = folder
        self.branches[model, branch] = commit
        return commit


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serves an empty hub on a free loopback port until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        for old, new in self.hub.renamed.items():
            for prefix in ("/api/models/", "/"):
                if path.startswith(f"{prefix}{old}/") or path == f"{prefix}{old}":
                    location = self.path.replace(f"{prefix}{old}", f"{prefix}{new}", 1)
                    return self._send(307, b"", {"Location": location})
        if path.startswith("/api/models/"):
            return self._answer_api(path.removeprefix("/api/models/"))
        model, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        return self._answer_file(model, revision, name)

    def _answer_api(self, path: str) -> None:
        kind = next((kind for kind in ("revision", "tree") if f"/{kind}/" in path), "revision")
        model, _, revision = path.partition(f"/{kind}/")
        if all(known != model for known, _ in self.hub.commits):
            return self._refuse("RepoNotFound", "Repository not found")
        commit = self._commit_of(model, revision or "main")
        if commit is None:
            return self._refuse("RevisionNotFound", f"Invalid rev id: {revision}")
        files = sorted(self.hub.commits[model, commit].iterdir())
        if kind == "tree":
            return self._send_json([_tree_entry(path) for path in files])
        return self._send_json({"id": model, "sha": commit, "siblings": [{"rfilename": path.name} for path in files]})

    def _answer_file(self, model: str, revision: str, name: str) -> None:
        commit = self._commit_of(model, revision)
        if commit is None:
            return self._refuse("RevisionNotFound", f"Invalid rev id: {revision}")
        path = self.hub.commits[model, commit] / name
        if not path.is_file():
            return self._refuse("EntryNotFound", "Entry not found")
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self._send(200, content, {"ETag": etag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"})

    def _commit_of(self, model: str, revision: str) -> str | None:
        if (model, revision) in self.hub.commits:
            return revision
        return self.hub.branches.get((model, revision))

    def _refuse(self, code: str, message: str) -> None:
        self._send(404, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def _send_json(self, record: object) -> None:
        self._send(200, json.dumps(record).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _tree_entry(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path.name, "size": len(content), "oid": oid}
    if path.suffix in (".safetensors", ".bin", ".model"):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry
