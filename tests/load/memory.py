"""Memory of the API while large uploads come in, and of everything over many short jobs."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.load.running import Family, RunningServer, memory_mb, n_open_files, wait_until
from tests.server.raw_http import BOUNDARY, joined, part

_CHUNK = bytes(1_000_000)


def measure_uploads(server: RunningServer, n_uploads: int, n_mb: int) -> list[dict[str, Any]]:
    """Jobs of `n_mb` each, uploaded at the same time; the API's memory before and at its most."""
    api = server.family().api
    before_mb = memory_mb(api)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(_upload(server.port, n_mb)))
        for _ in range(n_uploads)
    ]
    start_s = time.monotonic()
    for thread in threads:
        thread.start()
    most_mb = before_mb
    while any(thread.is_alive() for thread in threads):
        most_mb = max(most_mb, memory_mb(api))
        time.sleep(0.02)
    wall_s = time.monotonic() - start_s
    _clear(server)
    return [
        {
            "uploads": f"{n_uploads} x {n_mb} MB",
            "answers": ", ".join(map(str, statuses)),
            "MB per s": round(n_uploads * n_mb / wall_s, 1),
            "API before MB": round(before_mb, 1),
            "API most MB": round(most_mb, 1),
            "API after MB": round(memory_mb(api), 1),
        }
    ]


def _upload(port: int, n_mb: int) -> int:
    """Send zeros as a clip; returns the status."""
    head, tail = joined([part("file", b"|", "a")]).split(b"|")
    n_bytes = len(head) + n_mb * len(_CHUNK) + len(tail)
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        lines = [
            "POST /v1/jobs HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}",
            f"Content-Length: {n_bytes}",
        ]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + head)
        for _ in range(n_mb):
            connection.sendall(_CHUNK)
        connection.sendall(tail)
        return int(connection.recv(64).split()[1])


def _clear(server: RunningServer) -> None:
    """Delete every job."""
    for job in server.http.get("/v1/jobs", params={"limit": 100}).json()["items"]:
        server.http.delete(f"/v1/jobs/{job['id']}")
    wait_until(lambda: not server.folders())


def measure_soak(
    server: RunningServer, clip: bytes, n_jobs: int, n_looks: int = 8
) -> Iterator[dict[str, Any]]:
    """Short jobs one after another, kept full by four; memory and descriptors from time to time."""
    waiting: list[str] = []
    every = max(1, n_jobs // n_looks)
    for number in range(n_jobs + 1):
        if number % every == 0 or number == n_jobs:
            yield {"jobs": number, **_sizes(server.family())}
        if number < n_jobs:
            waiting.append(server.submit(clip))
        while len(waiting) >= 4 or (number == n_jobs and waiting):
            _finish(server, waiting.pop(0))
    start_s = time.monotonic()
    wait_until(lambda: not server.folders())
    emptied_s = time.monotonic() - start_s
    yield {"jobs": f"end, spool empty after {emptied_s:.1f} s", **_sizes(server.family())}


def _finish(server: RunningServer, job_id: str) -> None:
    """Wait for a job, fetch its sound, delete it."""
    status = ""
    while status not in ("succeeded", "failed"):
        answer = server.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
        status = answer.json()["status"]
    assert status == "succeeded", answer.text
    assert server.http.get(f"/v1/jobs/{job_id}/content").status_code == 200
    server.http.delete(f"/v1/jobs/{job_id}")


def _sizes(family: Family) -> dict[str, Any]:
    named = {"API": family.api, "model": family.model, "zygote": family.zygote}
    there = {name: pid for name, pid in named.items() if pid is not None}
    sizes: dict[str, Any] = {f"{name} MB": round(memory_mb(p), 1) for name, p in there.items()}
    return sizes | {f"{name} files": n_open_files(pid) for name, pid in there.items()}
