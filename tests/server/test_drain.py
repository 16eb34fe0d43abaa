"""SIGTERM: running calls are finished, watchers sent away, waiting jobs kept, exit code 0."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from server.jobs import JobStore
from server.spool import Spool
from tests.server.fake_worker import FakeWorker

_SERVER = """
import sys, uvicorn
from pathlib import Path
from server.main import create_app
from server.settings import Settings
settings = Settings(spool_dir=Path(sys.argv[1]), min_free_bytes=0, drain_s=float(sys.argv[2]))
app = create_app(settings, engine="none")
config = uvicorn.Config(app, fd=int(sys.argv[3]), log_config=None, access_log=False)
uvicorn.Server(config).run()
"""


@contextmanager
def server(folder: Path, drain_s: float = 300) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of its own and its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        fd = listening.fileno()
        command = [sys.executable, "-c", _SERVER, str(folder), str(drain_s), str(fd)]
        process = subprocess.Popen(command, pass_fds=[fd], cwd=Path(__file__).parents[2])
    try:
        address = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{address}/v1/health/live", timeout=120).status_code == 200
        yield process, address
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_an_orderly_end(spool: Spool) -> None:
    answers: list[int] = []
    with server(spool.root) as (process, address), JobStore(spool.database_path) as store:
        with FakeWorker(spool, store) as worker:
            files = {"file": ("a.wav", b"SLOW 600")}

            def call() -> None:
                url = f"{address}/v1/audio/enhancements"
                answers.append(httpx.post(url, files=files, timeout=120).status_code)

            thread = threading.Thread(target=call)
            thread.start()
            while store.n_running() == 0:
                time.sleep(0.01)
            kept = httpx.post(f"{address}/v1/jobs", files=files, timeout=120).json()["id"]
            with httpx.stream("GET", f"{address}/v1/jobs/{kept}/events", timeout=120) as stream:
                process.send_signal(signal.SIGTERM)
                stream.read()
            ready = httpx.get(f"{address}/v1/health/ready", timeout=120)
            refused = httpx.post(f"{address}/v1/jobs", files=files, timeout=120)
            worker.hurry()
            thread.join()
            assert process.wait(timeout=120) == 0
        job = store.get(kept)
    assert answers == [200]
    assert (ready.status_code, ready.json()["checks"]["service"]) == (503, "draining")
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert job is not None
    assert job.status == "queued"
    assert spool.input_path(kept).is_file()


def test_an_end_that_is_forced(spool: Spool) -> None:
    with (
        server(spool.root, drain_s=0.2) as (process, address),
        JobStore(spool.database_path) as store,
    ):
        files = {"file": ("a.wav", b"x")}
        job_id = httpx.post(f"{address}/v1/jobs", files=files, timeout=120).json()["id"]
        store.claim("stuck", ["enhancement"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
        assert store.get(job_id) is not None


def test_kill_9_keeps_every_job(spool: Spool) -> None:
    files = {"file": ("a.wav", b"x")}
    made = []
    for _ in range(2):
        with server(spool.root) as (process, address):
            made += [
                httpx.post(f"{address}/v1/jobs", files=files, timeout=120).json()["id"]
                for _ in range(3)
            ]
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    with (
        server(spool.root) as (_, address),
        JobStore(spool.database_path) as store,
        FakeWorker(spool, store) as worker,
    ):
        for job_id in made:
            url = f"{address}/v1/jobs/{job_id}"
            job = httpx.get(url, headers={"Prefer": "wait=60"}, timeout=120).json()
            assert job["status"] == "succeeded"
    assert sorted(job.id for job in worker.seen) == sorted(made)
