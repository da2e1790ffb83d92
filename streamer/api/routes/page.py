"""The live page: the files of ``streamer/web`` and no others."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

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

    @router.get("/")
    async def page(request: Request) -> Response:
        return _file(files[_INDEX], request)

    @router.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _file(files[name], request)

    return router


def _file(path: Path, request: Request) -> Response:
    """A file, or 304 if the browser has it; revalidated every time, so that an update shows."""
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "Content-Type": _MEDIA_TYPES[path.suffix]})
