"""A small server on the loopback address that speaks the protocol of the Hugging Face hub, as far as models go."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".h5")
"""Files behind a redirect, as those of git LFS are."""


@dataclass
class Repository:
    """Commits by their hash, names of revisions, and who may read."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False

    def commit(self, files: dict[str, bytes], *revisions: str) -> str:
        """Add a commit, and let revisions (``main`` where none is named) point to it."""
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[sha] = files
        self.revisions |= dict.fromkeys((*revisions, sha) if revisions else ("main", sha), sha)
        return sha


class Hub:
    """The server, its repositories and what was asked of it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of each request."""
        self.closed = False
        self.trouble: list[str] = []
        """What happens to the next requests of a large file: ``"cut"`` near the end, or ``"500"``."""
        self.busy = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        # A host of another name, as the hub's large files have.
        self.large_url = f"http://localhost:{self.server.server_port}"
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, name: str, files: dict[str, bytes], **access: object) -> Repository:
        """Make a repository whose main branch has these files."""
        self.repositories[name] = Repository(**access)
        self.repositories[name].commit(files)
        return self.repositories[name]

    def gets(self, text: str = "") -> list[str]:
        """Return the paths of the files that were asked for, and that hold the text."""
        return [path for method, path, _ in self.requests if method == "GET" and "/api/" not in path and text in path]

    def close(self) -> None:
        """Answer no longer, on open connections neither."""
        self.closed = True
        self.server.shutdown()
        self.server.server_close()


def files_of(directory: Path) -> dict[str, bytes]:
    """Read a directory as the files of a repository."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.hub.closed:
            self.close_connection = True
            return None
        if self.hub.busy:
            return self.answer(429)
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        if path.startswith("/large/"):
            return self.large(path.removeprefix("/large/"))
        api = re.fullmatch(r"/api/models/(.+?)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        if not (api or file):
            return self.answer(404)
        name = (api or file)[1]
        if name in self.hub.renamed:
            return self.answer(307, headers={"Location": self.path.replace(name, self.hub.renamed[name], 1)})
        repository = self.hub.repositories.get(name)
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if sent == "wrong":
            return self.answer(401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
        if repository is None or (repository.token and sent != repository.token and not repository.gated):
            return self.answer(404 if sent else 401, headers={"X-Error-Code": "RepoNotFound"})
        commit = repository.revisions.get(unquote((api[3] if api else file[2]) or "main"))
        if commit is None:
            return self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        files = repository.commits[commit]
        if api and api[2] == "tree":
            return self.answer(200, json.dumps([entry(n, c) for n, c in files.items()]).encode())
        if api:
            siblings = [{"rfilename": n} for n in files]
            info = {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": False, "tags": []}
            return self.answer(200, json.dumps({**info, "downloads": 0, "likes": 0}).encode())
        if repository.gated and sent != repository.token:
            return self.answer(403 if sent else 401, headers={"X-Error-Code": "GatedRepo"})
        return self.file(files.get(unquote(file[3])), file[3], commit)

    def file(self, content: bytes | None, name: str, commit: str) -> None:
        headers = {"X-Repo-Commit": commit}
        if content is None:
            return self.answer(404, headers={**headers, "X-Error-Code": "EntryNotFound"})
        if not name.endswith(LARGE):
            return self.answer(200, content, {**headers, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})
        key = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-ETag": f'"{key}"', "X-Linked-Size": str(len(content))}
        return self.answer(302, headers={**headers, "Location": f"{self.hub.large_url}/large/{key}"})

    def large(self, key: str) -> None:
        contents = (c for r in self.hub.repositories.values() for files in r.commits.values() for c in files.values())
        content = next(c for c in contents if hashlib.sha256(c).hexdigest() == key)
        trouble = self.hub.trouble.pop(0) if self.hub.trouble and self.command == "GET" else None
        if trouble == "500":
            return self.answer(500)
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        headers = {"ETag": f'"{key}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(206 if start else 200, content[start:], headers, cut=trouble == "cut")

    def answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) * 15 // 16] if cut else body)
        if cut:
            self.close_connection = True


def entry(name: str, content: bytes) -> dict[str, object]:
    oid = hashlib.sha1(content).hexdigest()
    found: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": oid}
    if name.endswith(LARGE):
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return found
