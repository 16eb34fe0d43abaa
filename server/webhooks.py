"""Telling a client's server that a job has ended: signed, tried again, never to a private address.

The headers are those of the Standard Webhooks specification.
"""

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from server.job_types import Job
from server.jobs import JobStore

_PAUSES_S = (5.0, 30.0, 120.0, 600.0)
_PORTS = {"http": 80, "https": 443}
_LOG = logging.getLogger(__name__)

Resolver = Callable[[str, int], list[str]]


class DeliveryFailed(Exception):
    """The other side was not reached or did not answer with success."""


def check_url(url: str) -> str | None:
    """What is wrong with a webhook's URL, in words; None if nothing can be seen from here."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "expected an http or https URL"
    if parts.scheme not in _PORTS or not parts.hostname or not url.isascii():
        return "expected an http or https URL"
    if parts.username is not None or parts.password is not None:
        return "expected a URL without user and password"
    if any(char.isspace() or not char.isprintable() for char in url) or port == 0:
        return "expected an http or https URL"
    return _check_literal(parts.hostname)


def _check_literal(host: str) -> str | None:
    """Names are looked up when it is time; an address can be judged now."""
    host = host.rstrip(".")
    address = _address_in(host)
    if address is None:
        is_local = host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
        return "expected a public host" if is_local or not host else None
    return None if is_public(address) else "expected a public address"


def _address_in(host: str) -> str | None:
    """The address a host is written as, also as C libraries read it: 127.1, 0x7f000001, 0."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    with suppress(OSError):
        return str(ipaddress.ip_address(socket.inet_aton(host)))
    return None


def is_public(address: str) -> bool:
    """Whether an address is one anybody on the internet could reach."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast and not found.is_reserved


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`: HMAC-SHA256 over id, time and body."""
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _hang_up(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


class WebhookSender:
    """Delivers what is due.

    Args:
        store: Where the due ones are.
        secret: Of the signatures.
        timeout_s: Of one delivery.
        n_attempts: Tries of one delivery.
        resolver: Finds addresses; every one of them must be public.
    """

    def __init__(
        self,
        store: JobStore,
        secret: str,
        *,
        timeout_s: float = 10.0,
        n_attempts: int = 5,
        resolver: Resolver = resolve,
    ) -> None:
        """Keep the parts."""
        self._store = store
        self._secret = secret
        self._timeout_s = timeout_s
        self._n_attempts = n_attempts
        self._resolver = resolver

    def deliver_due(self, body_of: Callable[[Job], dict[str, Any]]) -> int:
        """Try each delivery that is due once; returns how many were made. Blocking.

        Args:
            body_of: The job as clients see it.
        """
        n_delivered = 0
        for job, n_tried in self._store.due_webhooks():
            body = {"type": f"job.{job.status}", "data": body_of(job)}
            try:
                self._post(str(job.webhook_url), job.id, json.dumps(body).encode())
            except (DeliveryFailed, OSError, http.client.HTTPException) as error:
                self._postpone(job, n_tried, error)
                continue
            self._store.webhook_tried(job.id, None)
            n_delivered += 1
        return n_delivered

    def _postpone(self, job: Job, n_tried: int, error: Exception) -> None:
        is_last = n_tried + 1 >= self._n_attempts
        pause_s = None if is_last else _PAUSES_S[min(n_tried, len(_PAUSES_S) - 1)]
        self._store.webhook_tried(job.id, pause_s)
        extra = {"job": job.id, "attempt": n_tried + 1, "is_last": is_last}
        _LOG.warning("a webhook was not delivered: %s", type(error).__name__, extra=extra)

    def _post(self, url: str, message_id: str, body: bytes) -> None:
        parts = urlsplit(url)
        connection = self._connect(parts)
        # The socket's time-out is for each piece; an answer that comes in drops has an end too.
        end = threading.Timer(self._timeout_s, _hang_up, [connection.sock])
        end.start()
        try:
            timestamp = str(int(time.time()))
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "avse-webhook",
                "webhook-id": message_id,
                "webhook-timestamp": timestamp,
                "webhook-signature": sign(self._secret, message_id, timestamp, body),
            }
            target = parts.path or "/"
            connection.request(
                "POST", f"{target}?{parts.query}" if parts.query else target, body, headers
            )
            status = connection.getresponse().status
        finally:
            end.cancel()
            connection.close()
        if not 200 <= status < 300:  # a redirect is not followed: it could lead inside
            raise DeliveryFailed(f"answered {status}")

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        """A connection to an address that was checked, not to a name that could change."""
        host = parts.hostname or ""
        port = parts.port or _PORTS[parts.scheme]
        addresses = self._resolver(host, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise DeliveryFailed("the host has no public address")
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        connected = socket.create_connection((addresses[0], port), timeout=self._timeout_s)
        if parts.scheme == "https":
            connected = ssl.create_default_context().wrap_socket(connected, server_hostname=host)
        connection.sock = connected
        return connection
