"""Webhooks: signed, tried again, never to a private address, off unless switched on."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from server import webhooks
from server.job_types import NewJob
from server.jobs import JobStore
from server.webhooks import WebhookSender, check_url, is_public, sign
from tests.server.conftest import Running, Start


class Receiver(BaseHTTPRequestHandler):
    """Notes what it gets and answers as told."""

    seen: list[tuple[dict[str, str], bytes]]
    statuses: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.statuses.pop(0) if self.statuses else 200)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[type[Receiver], int]]:
    kind = type("Own", (Receiver,), {"seen": [], "statuses": []})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield kind, server.server_address[1]
        server.shutdown()
        thread.join()


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def ended_job(store: JobStore, url: str) -> str:
    job = store.create(NewJob("enhancement", webhook_url=url))
    store.claim("w", ["enhancement"])
    store.succeed(job.id, "w", {}, {})
    return job.id


def test_delivery_is_signed_and_tried_again(
    tmp_path: Path, receiver: tuple[type[Receiver], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, port = receiver
    kind.statuses = [500, 302]
    monkeypatch.setattr(webhooks, "is_public", lambda _: True)
    clock = Clock()
    with JobStore(tmp_path / "jobs.sqlite3", clock) as store:
        job_id = ended_job(store, f"http://example.test:{port}/hook?a=b")
        sender = WebhookSender(store, "secret", resolver=lambda *_: ["127.0.0.1"])
        delivered = []
        for _ in range(4):
            delivered.append(sender.deliver_due(lambda job: {"id": job.id}))
            clock.now_s += 1000
    assert delivered == [0, 0, 1, 0]
    headers, body = kind.seen[-1]
    assert json.loads(body) == {"type": "job.succeeded", "data": {"id": job_id}}
    assert headers["webhook-id"] == job_id
    assert headers["host"].startswith("example.test")
    signed = f"{job_id}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(b"secret", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert sign("secret", "a", "1", b"x") != sign("other", "a", "1", b"x")


def test_private_addresses_are_never_called(
    tmp_path: Path, receiver: tuple[type[Receiver], int]
) -> None:
    kind, port = receiver
    clock = Clock()
    with JobStore(tmp_path / "jobs.sqlite3", clock) as store:
        ended_job(store, f"http://example.test:{port}/")
        for addresses in (["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], []):
            sender = WebhookSender(
                store, "s", n_attempts=9, resolver=lambda *_, found=addresses: found
            )
            assert sender.deliver_due(lambda _: {}) == 0
            clock.now_s += 1000
        assert WebhookSender(store, "s", n_attempts=1).deliver_due(lambda _: {}) == 0
        clock.now_s += 10_000
        assert store.due_webhooks() == []
    assert kind.seen == []


def test_an_answer_in_drops_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "is_public", lambda _: True)
    sent = []

    def drip(listening: socket.socket) -> None:
        connected, _ = listening.accept()
        with connected, suppress(OSError):
            for _ in range(600):
                connected.sendall(b"H")
                sent.append(1)
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        with JobStore(tmp_path / "jobs.sqlite3") as store:
            ended_job(store, f"http://example.test:{listening.getsockname()[1]}/")
            sender = WebhookSender(store, "s", timeout_s=0.4, resolver=lambda *_: ["127.0.0.1"])
            assert sender.deliver_due(lambda _: {}) == 0
        thread.join()
    assert len(sent) < 600


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://localhost/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://user:pass@example.com/",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "https://",
        "http://db.internal/",
        "http://localhost./",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://0/",
        "http://./",
        "javascript:alert(1)",
    ],
)
def test_urls_that_are_refused_at_once(url: str) -> None:
    assert check_url(url)
    assert check_url("https://example.com/hook") is None


def test_webhooks_are_off_unless_switched_on(running: Running, start: Start) -> None:
    refused = running.post("/v1/jobs", webhook_url="https://example.com/")
    assert (refused.status_code, refused.json()["param"]) == (400, "webhook_url")
    assert not running.client.get("/v1/metadata").json()["webhooks"]
    on = start(allow_webhooks=True, webhook_secret="s")
    on.worker.pause()
    assert on.client.get("/v1/metadata").json()["webhooks"]
    assert on.post("/v1/jobs", webhook_url="https://example.com/").status_code == 202
    assert on.post("/v1/jobs", webhook_url="http://10.0.0.1/").status_code == 422
