"""HTTP/1.1 as uvicorn speaks it, for clients that are slow or speak something else.

Uvicorn waits for ever for the head of a request and for a client that takes no bytes, and answers
what is no HTTP in plain text.
"""

import asyncio
import json
import secrets
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from server.errors import PROBLEM_TYPE, ApiError, problem_members


class PatientProtocol(H11Protocol):
    """One connection.

    Attributes:
        head_s: From the start of a connection, or a request's first byte, to the end of its head.
        stuck_s: How long a client may leave what was sent to it.
    """

    head_s = 15.0
    stuck_s = 60.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stuck_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, chunk: bytes) -> None:
        """Take bytes; the time for a head is not renewed by its pieces."""
        super().data_received(chunk)
        self._watch_head()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        super().pause_writing()
        self._stuck_timer = self.loop.call_later(self.stuck_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        _stop(self._stuck_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        _stop(self._head_timer)
        _stop(self._stuck_timer)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(ApiError("invalid_request", "the request is not well-formed HTTP"))

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            _stop(self._head_timer)
            self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_s, self._give_up)

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        has_begun = bool(self.conn.trailing_data[0])
        if has_begun and self.conn.our_state is h11.IDLE:
            detail = f"the head of the request took more than {self.head_s:g} s"
            self._refuse(ApiError("invalid_request", detail, status=408))
        else:
            self.timeout_keep_alive_handler()

    def _refuse(self, error: ApiError) -> None:
        """Send a problem without an application and hang up."""
        request_id = secrets.token_hex(12)
        body = json.dumps(problem_members(error, "", request_id)).encode()
        headers = [
            ("content-type", PROBLEM_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
            ("x-request-id", request_id),
            ("x-content-type-options", "nosniff"),
        ]
        head = h11.Response(
            status_code=error.status, headers=headers, reason=STATUS_PHRASES[error.status]
        )
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
