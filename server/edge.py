"""The outermost layer: request ids, log line, timing, and problems instead of plain text."""

import asyncio
import logging
import re
import secrets
import time
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.drain import Drain
from server.errors import ApiError, as_api_error, of_status, problem
from server.logs import request_id_var
from server.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINGER_S = 2.0
_LINGER_IDLE_S = 0.3
_LINGER_BYTES = 32_000_000
_QUIET = ("/v1/health/live", "/v1/health/ready", "/metrics")
_LOG = logging.getLogger("server.access")


class Edge:
    """ASGI middleware around everything else.

    Args:
        app: What is inside.
        metrics: Where times go.
        drain: Where requests in flight are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, drain: Drain) -> None:
        """Keep the parts."""
        self._app = app
        self._metrics = metrics
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        token = request_id_var.set(exchange.request_id)
        self._drain.n_in_flight += 1
        try:
            await self._guarded(exchange)
            await exchange.end_head()
        finally:
            self._drain.n_in_flight -= 1
            self._note(exchange)
            request_id_var.reset(token)

    async def _guarded(self, exchange: "Exchange") -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or 499
        except Exception as error:
            answer = as_api_error(error)
            if answer.code == "internal":
                _LOG.error("a fault of the service", exc_info=error)
            if exchange.has_started:
                raise
            await exchange.answer(answer)

    def _note(self, exchange: "Exchange") -> None:
        """One log line and one measured time."""
        took_s = time.perf_counter() - exchange.started_s
        route = exchange.route
        labels = (exchange.method, route, str(exchange.status))
        self._metrics.requests.labels(*labels).observe(took_s)
        code = exchange.scope["state"].get("problem_code")
        if code is not None:
            self._metrics.rejected.labels(code).inc()
        level = logging.DEBUG if route in _QUIET else logging.INFO
        line = {"method": exchange.method, "route": route, "status": exchange.status}
        line |= {"duration_ms": round(1000 * took_s, 1), "code": code}
        _LOG.log(level, "request", extra=line)


class Exchange:
    """One request and its answer on the way through.

    Args:
        scope: As ASGI has it.
        receive: As ASGI has it.
        send: As ASGI has it.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose the request id: the client's if it is harmless; a HEAD is a GET cut short."""
        self._is_head = scope["method"] == "HEAD"
        self.scope = scope = {**scope, "method": "GET"} if self._is_head else scope
        self._receive = receive
        self._send = send
        asked = Headers(scope=scope).get("x-request-id", "")
        self.request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(12)
        # A fresh dict: the state of the lifespan is shared between requests otherwise.
        scope["state"] = {**scope.get("state", {}), "request_id": self.request_id}
        self.started_s = time.perf_counter()
        self.status = 0
        self.has_started = False
        self._has_body = _announces_body(scope)
        self._replaced: Message | None = None

    @property
    def method(self) -> str:
        """The method, if it is a common one: a label must not be anything a client makes up."""
        if self._is_head:
            return "HEAD"
        known = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        return self.scope["method"] if self.scope["method"] in known else "_OTHER"

    @property
    def route(self) -> str:
        """The pattern that matched, such as `/v1/jobs/{job_id}`."""
        return str(getattr(self.scope.get("route"), "path", "") or "unmatched")

    async def receive(self) -> Message:
        """The next message of the client; remembers whether its body has come to an end."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._has_body = False
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on; plain-text errors of the framework become problems."""
        if message["type"] == "http.response.start":
            if _is_plain_error(message):
                self._replaced = message
                return
            self._begin(message)
        elif self._replaced is not None:
            if not message.get("more_body", False):
                await self._send_problem(self._replaced)
            return
        if message["type"] == "http.response.body" and self._is_head:
            raise ClientDisconnect  # the headers were all it wanted: what streams may stop
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._end(message)
            return
        await self._send(message)

    async def end_head(self) -> None:
        """Send the empty body of the answer to a HEAD."""
        if self._is_head and self.has_started:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def answer(self, error: ApiError) -> None:
        """Send an error."""
        response = problem(error, Request(self.scope))
        await response(self.scope, self.receive, self.send)

    def _begin(self, message: Message) -> None:
        self.has_started, self.status = True, message["status"]
        headers = MutableHeaders(raw=message.setdefault("headers", []))
        headers["X-Request-Id"] = self.request_id
        headers.setdefault("X-Content-Type-Options", "nosniff")
        if self._has_body:
            headers["Connection"] = "close"

    async def _send_problem(self, start: Message) -> None:
        self._replaced = None
        kept = ("content-range", "allow", "retry-after", "accept-ranges")
        sent = Headers(raw=start["headers"])
        chosen = {name: sent[name] for name in kept if name in sent}
        await self.answer(of_status(start["status"], _words(start["status"]), chosen))

    async def _end(self, message: Message) -> None:
        """Send the last bytes; if the client still uploads, read on a little.

        Closing with unread bytes resets the connection, and many clients then miss the answer.
        """
        if not (self._has_body and self.status >= 400):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                await self._swallow()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _swallow(self) -> None:
        n_bytes = 0
        while self._has_body and n_bytes < _LINGER_BYTES:
            async with asyncio.timeout(_LINGER_IDLE_S):
                n_bytes += len((await self.receive()).get("body", b""))


def _announces_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _is_plain_error(message: Message) -> bool:
    if message["status"] < 400:
        return False
    return Headers(raw=message.get("headers", [])).get("content-type", "").startswith("text/plain")


def _words(status: int) -> str:
    words = {
        400: "the request is not well-formed",
        413: "the body is larger than allowed here",
        416: "none of the ranges lies within the file",
    }
    return words.get(status, "the request was refused")
