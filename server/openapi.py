"""Pieces of the OpenAPI document that FastAPI cannot see: streamed forms, problems, files."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from server.errors import CODES, PROBLEM_TYPE
from server.schemas import Problem

_FILE = {"type": "string", "format": "binary"}
_EVENTS_TYPE = "text/event-stream"
JOB_EXAMPLE: dict[str, Any] = {
    "id": "job_0123456789abcdef01234567",
    "object": "job",
    "kind": "enhancement",
    "status": "running",
    "stage": "track",
    "progress": 0.42,
    "queue_position": None,
    "eta": 3.1,
    "attempts": 1,
    "cancel_requested": False,
    "created_at": "2026-01-01T12:00:00+00:00",
    "started_at": "2026-01-01T12:00:01+00:00",
    "finished_at": None,
    "expires_at": None,
    "options": {"mode": "auto", "face": "auto", "strength": 1.0, "output": "wav"},
    "metadata": {"take": "7"},
    "warnings": [],
    "outputs": [],
    "result": None,
    "error": None,
}


def form_body(
    *forms: type[BaseModel],
    files: Iterable[str] = ("file",),
    optional_files: Iterable[str] = (),
    either: Iterable[Iterable[str]] = (),
    example: Mapping[str, Any] | None = None,
    parameters: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """`openapi_extra` of an endpoint that reads its multipart body itself.

    Args:
        forms: Models of the fields.
        files: Parts that must be there.
        optional_files: Parts that may be.
        either: Sets of parts, one of which must be there.
        example: Values of the fields.
        parameters: Headers that it reads.
    """
    required = list(files)
    part = {**_FILE, "minLength": 1}
    properties: dict[str, Any] = dict.fromkeys((*required, *optional_files), part)
    for form in forms:
        properties |= _without_null(form.model_json_schema()["properties"])
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    schema["additionalProperties"] = False
    if required:
        schema["required"] = required
    if either:
        schema["anyOf"] = [{"required": list(names)} for names in either]
    media: dict[str, Any] = {"schema": schema}
    if example is not None:
        media["example"] = dict(example)
    body = {"required": True, "content": {"multipart/form-data": media}}
    return {"requestBody": body, "parameters": [dict(each) for each in parameters]}


def _without_null(properties: dict[str, Any]) -> dict[str, Any]:
    """Fields of a form are left out where JSON would say null."""
    found = {}
    for name, schema in properties.items():
        kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        is_optional = len(kinds) == 1 and schema.get("default", ...) is None
        found[name] = {**kinds[0], **kept} if is_optional else schema
    return found


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of an endpoint, one example each; 401, 403 and 500 are always among them.

    Args:
        statuses: HTTP statuses.
    """
    wanted = sorted({*statuses, 401, 403, 500})
    return {status: _problem(status) for status in wanted}


def _problem(status: int) -> dict[str, Any]:
    codes = [code for code, (own, _) in CODES.items() if own == status] or ["invalid_request"]
    code = codes[0]
    example = {
        "type": f"urn:avse:problem:{code}",
        "title": CODES[code][1],
        "status": status,
        "detail": "what was expected and what was found",
        "instance": "/v1/jobs",
        "code": code,
        "param": None,
        "request_id": "5b1f0c2a9d3e4f60718293a4",
        "error": {
            "message": "what was expected and what was found",
            "type": "invalid_request_error" if status < 500 else "server_error",
            "param": None,
            "code": code,
        },
    }
    return {
        "model": Problem,
        "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
        "content": {PROBLEM_TYPE: {"example": example}},
    }


def answer(example: Any, description: str = "As asked.") -> dict[str, Any]:
    """A JSON answer with an example."""
    return {"description": description, "content": {"application/json": {"example": example}}}


def file_answer(
    *media_types: str, description: str, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An answer that is a file.

    Args:
        media_types: What it may be.
        description: One sentence.
        headers: An example of each header.
    """
    content = {media_type: {"schema": _FILE} for media_type in media_types}
    named = {
        name: {"schema": {"type": "string"}, "example": example}
        for name, example in (headers or {}).items()
    }
    return {"description": description, "content": content, "headers": named}


def text_answer(media_type: str, example: str, description: str = "As asked.") -> dict[str, Any]:
    """An answer that is text of some kind, with an example."""
    return {"description": description, "content": {media_type: {"example": example}}}


def header(name: str, example: str, description: str) -> dict[str, Any]:
    """A header that an endpoint reads itself, as an OpenAPI parameter."""
    schema = {"type": "string"}
    where = {"name": name, "in": "header", "required": False}
    return {**where, "description": description, "example": example, "schema": schema}


RESPOND_ASYNC = header("Prefer", "respond-async", "`respond-async`: answer 202 with a job.")


def as_problem_json(document: dict[str, Any]) -> dict[str, Any]:
    """Say `application/problem+json` alone where FastAPI adds another type to a problem."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                content = response.get("content", {})
                if PROBLEM_TYPE not in content:
                    continue
                content.pop(_EVENTS_TYPE, None)  # a refusal is no stream
                content[PROBLEM_TYPE] |= content.pop("application/json", {})
    return document


def as_open(document: dict[str, Any]) -> dict[str, Any]:
    """Say of every operation that it can do without a key."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            if {} not in operation.get("security", [{}]):
                operation["security"] = [{}, *operation["security"]]
    return document
