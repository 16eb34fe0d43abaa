"""Every error the API knows: one table from code to status, one shape of answer (RFC 9457)."""

import errno
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from server.job_types import StoreError

PROBLEM_TYPE = "application/problem+json"

# code -> (status, title)
CODES: Mapping[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is not as documented"),
    "unauthenticated": (401, "A valid key is needed"),
    "forbidden": (403, "The key does not allow this"),
    "not_found": (404, "There is nothing here"),
    "conflict": (409, "The state does not allow this"),
    "idempotency_mismatch": (409, "The Idempotency-Key belongs to another request"),
    "gone": (410, "It was here, and its time is over"),
    "payload_too_large": (413, "The upload is too large"),
    "unsupported_container": (415, "This kind of file is not accepted"),
    "unsupported_codec": (415, "This kind of sound or picture is not accepted"),
    "undecodable": (422, "The file cannot be read"),
    "no_audio": (422, "The file has no sound"),
    "too_short": (422, "The sound is too short"),
    "too_long": (422, "The clip is too long"),
    "resolution_limit": (422, "The picture is too large"),
    "frame_rate_limit": (422, "There are too many pictures per second"),
    "too_many_streams": (422, "The file has too many streams"),
    "face_not_found": (422, "The face is not in the picture"),
    "model_not_found": (404, "There is no such model"),
    "head_not_configured": (404, "This recognition head is not installed"),
    "rate_limited": (429, "Too many unfinished jobs of this key"),
    "queue_full": (503, "Too much is waiting already"),
    "model_loading": (503, "The model is not ready yet"),
    "draining": (503, "The service is about to restart"),
    "decode_timeout": (422, "Reading the file took too long"),
    "sync_timeout": (504, "It was not finished in time"),
    "worker_lost": (503, "The model process died"),
    "insufficient_storage": (507, "The disk is full"),
    "internal": (500, "A fault of the service"),
}
_RETRY_AFTER_S = {
    "rate_limited": 5,
    "queue_full": 5,
    "model_loading": 5,
    "draining": 10,
    "worker_lost": 5,
    "insufficient_storage": 60,
}
_CODE_OF_STATUS = {404: "not_found", 409: "conflict", 410: "gone", 413: "payload_too_large"}
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_FULL_DATABASE = ("SQLITE_FULL", "SQLITE_IOERR")


class ApiError(Exception):
    """An answer other than success.

    Args:
        code: One of `CODES`.
        detail: One sentence on what was expected and what was found; holds no path of ours.
        param: The parameter it is about.
        status: Where it differs from the code's own.
        headers: To be sent with it.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        param: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the parts; an unknown code counts as `internal`."""
        super().__init__(detail)
        self.code = code if code in CODES else "internal"
        self.detail = detail
        self.param = param
        self.status = status or CODES[self.code][0]
        self.headers = dict(headers or {})
        if self.code in _RETRY_AFTER_S:
            self.headers.setdefault("Retry-After", str(_RETRY_AFTER_S[self.code]))
        if self.code == "unauthenticated":
            self.headers.setdefault("WWW-Authenticate", 'Bearer realm="avse"')


def problem(error: ApiError, request: Request) -> JSONResponse:
    """The error as `application/problem+json`, with the members OpenAI clients look for."""
    request_id = request.scope.get("state", {}).get("request_id", "")
    body = problem_members(error, request.url.path, request_id)
    request.scope.setdefault("state", {})["problem_code"] = error.code
    return JSONResponse(body, error.status, headers=error.headers, media_type=PROBLEM_TYPE)


def problem_members(error: ApiError, instance: str, request_id: str) -> dict[str, Any]:
    """What a problem says."""
    return {
        "type": f"urn:avse:problem:{error.code}",
        "title": CODES[error.code][1],
        "status": error.status,
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        "param": error.param,
        "request_id": request_id,
        "error": {
            "message": error.detail,
            "type": _family(error.status),
            "param": error.param,
            "code": error.code,
        },
    }


def _family(status: int) -> str:
    """Kind of error by the words of the OpenAI clients."""
    families = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return families.get(status, "invalid_request_error" if status < 500 else "server_error")


def as_api_error(error: Exception) -> ApiError:
    """What any exception means to a client; unknown ones are `internal` and say no more."""
    match error:
        case ApiError():
            found = error
        case StoreError():
            found = ApiError(error.code, str(error))
        case RequestValidationError():
            found = _of_validation(error)
        case HTTPException():
            found = _of_http(error)
        case sqlite3.OperationalError():
            found = _of_database(error)
        case OSError() if error.errno in _FULL_DISK:
            found = ApiError("insufficient_storage", "there is no room on the disk")
        case _:
            found = ApiError("internal", "the fault is logged under this request_id")
    return found


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> ApiError:
    """The error for a bare HTTP status."""
    default = "invalid_request" if status < 500 else "internal"
    code = _CODE_OF_STATUS.get(status, default)
    return ApiError(code, detail, status=status, headers=headers)


def _of_http(error: HTTPException) -> ApiError:
    detail = str(error.detail or HTTPStatus(error.status_code).phrase)
    return of_status(error.status_code, detail, error.headers)


def _of_validation(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("query", "header", "path", "body")]
    param = ".".join(place) or None
    detail = f"{param}: {first['msg']}" if param else str(first["msg"])
    return ApiError("invalid_request", detail, param=param, status=422)


def _of_database(error: sqlite3.OperationalError) -> ApiError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_FULL_DATABASE):
        return ApiError("insufficient_storage", "there is no room on the disk")
    if name.startswith("SQLITE_BUSY"):
        return ApiError("queue_full", "the store of jobs is busy")
    return ApiError("internal", "the fault is logged under this request_id")
