"""A Hugging Face hub on loopback: repositories are folders, and it fails on request."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "5" * 40
TOKEN = "hf_notToBeSeenAnywhere"


@dataclass
class FakeHub:
    """Serves ``models``. ``token``: asked for; ``cut_after``: bytes of the next file's answer.

    ``silent``: no request is answered while it is set.
    """

    models: dict[str, Path] = field(default_factory=dict)
    token: str | None = None
    status: int | None = None
    cut_after: int | None = None
    silent: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def fake_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that ``huggingface_hub`` of this process asks, with a cache of its own."""
    from huggingface_hub import constants

    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked = self.headers.get("Range")
            hub.requests.append(f"{self.command} {path}" + (f" {asked}" if asked else ""))
            while hub.silent.is_set():
                time.sleep(0.02)
            if hub.status is not None:
                return self.answer(hub.status, b"")
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.answer(401, b"Invalid credentials", {"X-Error-Code": "RepoNotFound"})
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/.*)?", path):
                return self.listing(found[1], "/tree/" in path)
            if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                return self.file(found[1], found[2], asked)
            return self.answer(404, b"")

        def listing(self, model: str, tree: bool) -> None:
            if model not in hub.models:
                return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            files = [file for file in sorted(hub.models[model].iterdir()) if file.is_file()]
            entries = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag(file)}
                for file in files
            ]
            about = {"id": model, "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in files]}
            return self.answer(200, json.dumps(entries if tree else about).encode())

        def file(self, model: str, name: str, asked: str | None) -> None:
            path = hub.models.get(model, Path("/nowhere")) / name
            if not path.is_file():
                code = "EntryNotFound" if model in hub.models else "RepoNotFound"
                return self.answer(404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})
            content = path.read_bytes()
            headers = {"ETag": f'"{etag(path)}"', "X-Repo-Commit": COMMIT}
            if asked and (found := re.fullmatch(r"bytes=(\d+)-(\d*)", asked)):
                start = int(found[1])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                return self.answer(206, content[start:], headers)
            return self.answer(200, content, headers)

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                if hub.cut_after is not None and hub.cut_after < len(body):
                    body, hub.cut_after = body[: hub.cut_after], None
                    self.close_connection = True
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    try:
        yield hub
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def etag(path: Path) -> str:
    """What names a file's content: the sha256, as of large files."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
