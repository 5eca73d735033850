"""A small Hugging Face Hub on loopback: the answers that huggingface_hub needs to list and download files.

It serves `repositories` (name -> file name -> content) at one commit, wants `token` for the private one, and keeps the
requests it got. Used by tests only.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "a" * 40
PRIVATE, TOKEN = "org/private", "hf_right"


class Hub(ThreadingHTTPServer):
    """The server; its address is `endpoint`."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        self.repositories = repositories
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serve(repositories: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """Serves until the block ends."""
    with Hub(repositories) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self.describe(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.file(match[1], match[2], match[3])
        else:
            self.reply(404, b"")

    def allowed(self, repository: str, revision: str) -> bool:
        """Whether the request may see the repository; answers it if it may not."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository not in self.server.repositories or (repository == PRIVATE and token != TOKEN):
            self.reply(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif revision not in ("main", COMMIT):
            self.reply(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        else:
            return True
        return False

    def describe(self, repository: str, revision: str) -> None:
        if self.allowed(repository, revision):
            files = [{"rfilename": name} for name in self.server.repositories[repository]]
            body = {"id": repository, "sha": COMMIT, "siblings": files, "private": False, "tags": [], "downloads": 0}
            self.reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def file(self, repository: str, revision: str, name: str) -> None:
        if not self.allowed(repository, revision):
            return
        content = self.server.repositories[repository].get(name)
        if content is None:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), int(match[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self.reply(206, content[start : end + 1], headers)
        else:
            self.reply(200, content, headers)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output clean."""
