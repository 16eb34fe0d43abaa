"""Who may do what: a dependency for each scope."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from server.errors import ApiError
from server.keys import Caller, KeyRing

_bearer = HTTPBearer(auto_error=False, description="A key made by `python -m server.keys`.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")


def require(scope: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the caller, if its key has the scope.

    Args:
        scope: One of `keys.SCOPES`.
    """

    async def caller(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        header: Annotated[str | None, Security(_header)],
    ) -> Caller:
        found = identify(request.app.state.service.keys, bearer, header)
        if scope not in found.scopes:
            raise ApiError("forbidden", f"this key has no scope {scope!r}")
        return found

    return caller


def identify(
    keys: KeyRing, bearer: HTTPAuthorizationCredentials | None, header: str | None
) -> Caller:
    """The caller of the key that was sent.

    Raises:
        ApiError: `unauthenticated`, without a key or with a wrong one.
    """
    if not keys.is_needed:
        return Caller()
    key = bearer.credentials if bearer is not None else header
    if not key:
        raise ApiError("unauthenticated", "expected Authorization: Bearer KEY, or X-API-Key")
    found = keys.find(key)
    if found is None:
        raise ApiError("unauthenticated", "this key is not known")
    return found


User = Annotated[Caller, Depends(require("enhance"))]
Admin = Annotated[Caller, Depends(require("admin"))]
