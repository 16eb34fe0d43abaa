"""Connections: slow heads, readers that stop, HEAD, what is allowed, answers before the body."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.server.corpus.http_cases import ENHANCE, JOBS
from tests.server.live_app import LiveApp, Protocol, live_app
from tests.server.raw_http import PATIENCE_S, exchange, form, request

N_SLOW = 200
LIVE = "/v1/health/live"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApp]:
    with live_app(tmp_path_factory.mktemp("app"), min_free_bytes=0, receive_idle_s=1.0) as app:
        yield app


def connected(app: LiveApp) -> socket.socket:
    return socket.create_connection(("127.0.0.1", app.port), timeout=PATIENCE_S)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def job_path(app: LiveApp) -> str:
    answer = exchange(app.port, request("POST", JOBS, form(), key=app.alice))
    assert answer is not None
    path = f"{JOBS}/{json.loads(answer.body)['id']}"
    wait = [("Prefer", "wait=60")]
    ended = exchange(app.port, request("GET", path, headers=wait, key=app.alice), "GET")
    assert ended is not None
    assert json.loads(ended.body)["status"] == "succeeded"
    return path


def test_clients_that_never_end_their_head_are_let_go_and_block_nobody(app):
    slow = [connected(app) for _ in range(N_SLOW)]
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
    answer = exchange(app.port, request("GET", LIVE), "GET")
    assert answer is not None
    assert answer.status == 200
    for connection in slow:
        with connection:
            assert everything(connection).startswith(b"HTTP/1.1 408 ")


def test_the_second_head_of_a_connection_is_waited_for_as_long(app):
    with connected(app) as connection:
        connection.sendall(f"GET {LIVE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(f"GET {LIVE} HTTP/1.1\r\n".encode())
        assert b"HTTP/1.1 408 " in everything(connection)


def test_what_is_no_http_gets_a_problem(app):
    answer = exchange(app.port, b"\x16\x03\x01 hello\r\n\r\n")
    assert answer is not None
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.problem["code"] == "invalid_request"
    assert answer.problem["request_id"] == answer.headers["x-request-id"]


def test_a_reader_that_stops_is_let_go(app, monkeypatch):
    monkeypatch.setattr(Protocol, "stuck_s", 0.5)
    path = job_path(app)
    job_id = path.rsplit("/", 1)[-1]
    sound = app.service.spool.output_path(job_id, "output.wav")
    sound.write_bytes(bytes(50_000_000))
    with connected(app) as connection:
        connection.sendall(request("GET", f"{path}/content", key=app.alice))
        assert connection.recv(1) == b"H"
        assert app.service.drain.n_in_flight == 1
        end_s = time.monotonic() + PATIENCE_S
        while app.service.drain.n_in_flight and time.monotonic() < end_s:
            time.sleep(0.05)
        assert app.service.drain.n_in_flight == 0


def test_an_answer_comes_before_a_body_that_is_not_wanted(app):
    head = [("Content-Length", "9" * 11), ("Expect", "100-continue")]
    with connected(app) as connection:
        connection.sendall(request("POST", ENHANCE, b"", head, app.alice))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_wanted_is_asked_for(app):
    body = form()
    head = [("Content-Length", str(len(body))), ("Expect", "100-continue")]
    with connected(app) as connection:
        connection.sendall(request("POST", ENHANCE, b"", head, app.alice))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert everything(connection).startswith(b"HTTP/1.1 200 ")


def test_requests_sent_at_once_are_answered_in_turn(app):
    with connected(app) as connection:
        first = f"GET {LIVE} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        connection.sendall(first + request("GET", "/nothing"))
        said = everything(connection)
    assert said.index(b"HTTP/1.1 200 ") < said.index(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("more", ["", "/content", "/events"])
def test_head_is_get_without_its_body(app, more):
    path = job_path(app) + more
    got = exchange(app.port, request("GET", path, key=app.alice), "GET")
    with connected(app) as connection:
        connection.sendall(request("HEAD", path, key=app.alice))
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert got is not None
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""
    assert f"content-type: {got.headers['content-type']}".encode() in head.lower()
    assert more == "/events" or f"content-length: {len(got.body)}".encode() in head.lower()


def test_head_does_not_wait_for_the_end_of_a_stream(app):
    created = exchange(app.port, request("POST", JOBS, form(b"SLOW 60"), key=app.alice))
    assert created is not None
    path = f"{JOBS}/{json.loads(created.body)['id']}"
    with connected(app) as connection:
        connection.sendall(request("HEAD", f"{path}/events", key=app.alice))
        assert everything(connection).startswith(b"HTTP/1.1 200 ")
    assert exchange(app.port, request("DELETE", path, key=app.alice)).status == 204


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (JOBS, "GET, HEAD, POST"),
        (f"{JOBS}/x", "DELETE, GET, HEAD"),
        (ENHANCE, "POST"),
        ("/", "GET, HEAD"),
    ],
)
def test_405_names_every_method_there_is(app, path, allowed):
    answer = exchange(app.port, request("PUT", path, key=app.alice))
    assert answer is not None
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_no_answer_points_where_a_client_says(app):
    for path in (f"{JOBS}/", "//evil.example/", "/docs/", "/web"):
        sent = request("GET", path, headers=[("Host", "evil.example")], key=app.alice)
        answer = exchange(app.port, sent, "GET")
        assert answer is not None
        assert "location" not in answer.headers
        assert b"evil" not in answer.body.replace(b"//evil.example/", b"")


def test_an_upload_that_drips_is_told_408(tmp_path):
    body = form(b"x" * 100)
    drops = [bytes([each]) for each in body]
    with live_app(tmp_path, min_free_bytes=0, receive_idle_s=0.3) as app:
        head = request("POST", ENHANCE, b"", [("Content-Length", str(len(body)))], app.alice)
        pieces = [head, *(piece for drop in drops for piece in (drop, 0.01))]
        answer = exchange(app.port, pieces)
        assert answer is not None
        assert (answer.status, answer.problem["code"]) == (408, "invalid_request")
        assert app.job_ids_when_quiet() == []
