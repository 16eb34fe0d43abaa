"""The web page, its files and `/docs`: a fixed list of packaged files, and no other host."""

import hashlib
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from server.errors import ApiError
from server.openapi import answer, text_answer

router = APIRouter(tags=["page"])

_FOLDER = Path(__file__).parents[1] / "web"
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_PAGE = "text/html; charset=utf-8"

# Everything that /web/ serves; what is not here does not exist.
ASSETS = {
    "api.js": _SCRIPT,
    "app.js": _SCRIPT,
    "docs.js": _SCRIPT,
    "faces.js": _SCRIPT,
    "follow.js": _SCRIPT,
    "icon.svg": "image/svg+xml",
    "licences.txt": _TEXT,
    "player.js": _SCRIPT,
    "prepare.js": _SCRIPT,
    "result.js": _SCRIPT,
    "samples/talking.mp4": "video/mp4",
    "samples/two-faces.mp4": "video/mp4",
    "stage.js": _SCRIPT,
    "style.css": _STYLE,
    "vendor/swagger-ui/LICENSE": _TEXT,
    "vendor/swagger-ui/NOTICE": _TEXT,
    "vendor/swagger-ui/swagger-ui-bundle.js": _SCRIPT,
    "vendor/swagger-ui/swagger-ui-bundle.js.LICENSE.txt": _TEXT,
    "vendor/swagger-ui/swagger-ui.css": _STYLE,
    "vendor/wavesurfer/LICENSE": _TEXT,
    "vendor/wavesurfer/spectrogram.esm.js": _SCRIPT,
    "vendor/wavesurfer/wavesurfer.esm.js": _SCRIPT,
    "views.js": _SCRIPT,
    "words.js": _SCRIPT,
}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{nonce}; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

_HTML_EXAMPLE = "<!doctype html>"
_DOCUMENT_EXAMPLE = {"openapi": "3.1.0", "info": {"title": "avse", "version": "0.1.0"}, "paths": {}}


@dataclass(frozen=True, slots=True)
class Asset:
    """A packaged file; `tag` is its ETag."""

    content: bytes
    media_type: str
    tag: str


@cache
def asset(name: str) -> Asset:
    """A file of the page, read once.

    Raises:
        KeyError: It is not on the list.
    """
    media_type = ASSETS[name]
    content = (_FOLDER / name).read_bytes()
    return Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:20]}"')


@cache
def _template(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _page(name: str) -> Response:
    """A page with a fresh nonce: wavesurfer.js puts a style sheet of its own into the tree."""
    nonce = secrets.token_urlsafe(18)
    policy = _POLICY.format(nonce=f" 'nonce-{nonce}'")
    content = _template(name).replace("{{nonce}}", nonce)
    headers = {**_GUARDS, "Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return Response(content, headers=headers, media_type=_PAGE)


@router.get(
    "/",
    summary="The web page",
    response_class=HTMLResponse,
    responses={200: text_answer("text/html", _HTML_EXAMPLE)},
)
def index() -> Response:
    """The page: a clip in, a voice out."""
    return _page("index.html")


@router.get(
    "/docs",
    summary="This document for people",
    response_class=HTMLResponse,
    responses={200: text_answer("text/html", _HTML_EXAMPLE)},
)
def docs() -> Response:
    """The OpenAPI document, drawn by swagger-ui from files of this server."""
    return _page("docs.html")


@router.get(
    "/openapi.json",
    summary="This document",
    response_class=JSONResponse,
    responses={200: answer(_DOCUMENT_EXAMPLE)},
)
def openapi(request: Request) -> Response:
    """The interface for programs."""
    return JSONResponse(request.app.openapi())


@router.get("/web/{name:path}", include_in_schema=False)
def web(name: str, request: Request) -> Response:
    """A file of the page, if it is on the list.

    Raises:
        ApiError: `not_found`.
    """
    if name not in ASSETS:
        raise ApiError("not_found", "there is no such file of the page")
    found = asset(name)
    headers = {
        **_GUARDS,
        "Content-Security-Policy": _POLICY.format(nonce=""),
        "Cache-Control": "no-cache",
        "ETag": found.tag,
    }
    if found.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
