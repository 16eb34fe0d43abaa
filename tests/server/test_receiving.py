"""Uploads: limits while receiving, malformed bodies, file names."""

import socket
import time

import pytest

from server.receiving import harmless_name
from tests.server.conftest import Running, Start

URL = "/v1/audio/enhancements"


def part(name: str, body: bytes = b"x", filename: str | None = "a") -> bytes:
    end = f'; filename="{filename}"' if filename is not None else ""
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{end}\r\n\r\n'
    return head.encode() + body + b"\r\n"


def send(running: Running, body: bytes, boundary: str = "B") -> tuple[int, dict[str, object]]:
    kind = f"multipart/form-data; boundary={boundary}"
    answer = running.client.post(URL, content=body, headers={"Content-Type": kind})
    assert answer.headers["content-type"] == "application/problem+json" or answer.is_success
    return answer.status_code, {} if answer.is_success else answer.json()


def test_a_form_made_by_hand(running: Running) -> None:
    assert send(running, part("file") + part("mode", b"auto", None) + b"--B--\r\n") == (200, {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B--\r\n",
        b"no boundary at all",
        part("file"),
        part("file") + b"--B",
        part("file") + part("file") + b"--B--\r\n",
        part("mode", b"auto", None) * 2 + part("file") + b"--B--\r\n",
        part("file", filename=None) + b"--B--\r\n",
        part("other") + b"--B--\r\n",
        part("file") + part("mode") + b"--B--\r\n",
        part("file") + part("", b"x", None) + b"--B--\r\n",
        part("file") + part("mode", b"\xff\xfe", None) + b"--B--\r\n",
        part("file") + part("mode", b"a\0b", None) + b"--B--\r\n",
        part("file") + b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n",
        b"--B\r\n" + b"X-Long: " + b"y" * 10_000 + b"\r\n\r\nx\r\n--B--\r\n",
    ],
)
def test_malformed_forms_are_refused(running: Running, body: bytes) -> None:
    status, problem = send(running, body)
    assert (status, problem["code"]) == (400, "invalid_request")
    assert running.service.spool.job_ids() == []


def test_other_content_types_are_refused(running: Running) -> None:
    for kind in ("application/json", "text/plain", "multipart/mixed; boundary=B", ""):
        answer = running.client.post(URL, content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415
    answer = running.client.post(URL, content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 400


def test_fields_are_few_and_small(start: Start) -> None:
    running = start(max_fields=3, max_field_bytes=100)
    many = b"".join(part(f"f{n}", b"x", None) for n in range(4))
    assert send(running, many + part("file") + b"--B--\r\n")[0] == 400
    status, problem = send(running, part("mode", b"y" * 101, None) + part("file") + b"--B--\r\n")
    assert (status, problem["code"]) == (413, "payload_too_large")


def test_announced_size_is_refused_before_the_body(start: Start) -> None:
    running = start(sync_max_bytes=1000)
    head = (
        f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\nExpect: 100-continue\r\n"
        "Connection: close\r\n\r\n"
    )
    answer = running.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"payload_too_large" in answer


def test_chunked_bodies_are_measured_while_they_come(start: Start) -> None:
    running = start(sync_max_bytes=100_000)
    n_sent = 0

    def chunks():  # type: ignore[no-untyped-def]
        nonlocal n_sent
        yield part("file")[:-3]
        for _ in range(400):
            n_sent += 10_000
            yield b"x" * 10_000

    answer = running.client.post(
        URL, content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=B"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert running.service.spool.job_ids() == []


def test_jobs_may_be_larger_than_calls_that_wait(start: Start) -> None:
    running = start(sync_max_bytes=1000)
    assert running.post(URL, b"x" * 2000).status_code == 413
    assert running.post("/v1/jobs", b"x" * 2000).status_code == 202


def test_a_silent_client_is_told_408(start: Start) -> None:
    running = start(receive_idle_s=0.2)
    head = (
        f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n--B"
    )
    answer = running.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 408")
    assert running.service.spool.job_ids() == []


def test_an_upload_that_trickles_is_told_408(start: Start) -> None:
    running = start(receive_max_s=0.3)
    head = (
        f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n--B"
    )
    assert running.raw(head.encode()).startswith(b"HTTP/1.1 408")


def test_a_client_that_goes_away_leaves_nothing(running: Running) -> None:
    head = (
        f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall(head.encode() + part("file", b"x" * 5000)[:-2])
        while not running.service.spool.job_ids():
            time.sleep(0.01)
    for _ in range(500):
        if not running.service.spool.job_ids():
            break
        time.sleep(0.02)
    assert running.service.spool.job_ids() == []
    assert running.service.uploads.n_taken == 0


def test_a_full_disk_is_said_and_survived(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start(min_free_bytes=1000)
    monkeypatch.setattr(type(running.service.spool), "free_bytes", lambda _: 999)
    for path in (URL, "/v1/jobs"):
        answer = running.post(path)
        assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")
    assert running.client.get("/v1/health/ready").json()["checks"]["disk"] == "full"
    monkeypatch.undo()
    monkeypatch.setattr(type(running.service.spool), "free_bytes", lambda _: 10**9)
    assert running.post(URL).status_code == 200


def test_uploads_at_the_same_time_are_few(start: Start) -> None:
    running = start(max_uploads=1)
    running.service.uploads.enter()
    assert running.post(URL).json()["code"] == "queue_full"
    running.service.uploads.leave()
    assert running.post(URL).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\secret\\take 7.wav", "take 7.wav"),
        ('a"b\r\nSet-Cookie: x.wav', "abSet-Cookie x.wav"),
        ("ünï + cödé.mp4", "ünï cödé.mp4"),
        ("..", ""),
        ("x" * 300, "x" * 80),
        ("\u202egpj.exe", "gpj.exe"),
    ],
)
def test_names_are_harmless(given: str, kept: str) -> None:
    assert harmless_name(given) == kept


def test_user_names_never_reach_the_disk(running: Running) -> None:
    running.worker.pause()
    job = running.job(name="../../evil.m3u8")
    folder = running.service.spool.folder(job["id"])
    assert [path.name for path in folder.iterdir()] == ["input"]
    assert not list(running.service.spool.root.rglob("*evil*"))
