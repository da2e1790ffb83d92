"""The live page: the files of ``streamer/web`` and no others."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from streamer.api.server.answers import CONTENT_SECURITY_POLICY

WEB_FOLDER = Path(__file__).parents[2] / "web"
_INDEX = "index.html"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def page_router() -> APIRouter:
    """``/`` and ``/static/NAME``, open without a token: they hold no data."""
    router = APIRouter(include_in_schema=False)
    # Known names only: an invented path never reaches the file system.
    files = {path.name: path for path in WEB_FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}

    policy = _policy(files[_INDEX].read_text())

    @router.get("/")
    async def page(request: Request) -> Response:
        response = _file(files[_INDEX], request)
        response.headers["Content-Security-Policy"] = policy
        return response

    @router.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _file(files[name], request)

    return router


def _policy(page: str) -> str:
    """What the page may load: its own files, and its one inline script.

    Under a proxy's prefix the page may be opened without the slash at the end, and then nothing
    that it names relatively is found: the script adds the slash.
    """
    (script,) = re.findall(r"<script>(.*?)</script>", page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{CONTENT_SECURITY_POLICY}; script-src 'self' 'sha256-{digest}'"


def _file(path: Path, request: Request) -> Response:
    """A file, or 304 if the browser has it; revalidated every time, so that an update shows."""
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "Content-Type": _MEDIA_TYPES[path.suffix]})
