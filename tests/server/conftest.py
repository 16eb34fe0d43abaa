"""An app on a loopback port, a fake worker beside it, and a client."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
import httpx
import uvicorn

from server.dependencies import Service
from server.main import create_app
from server.settings import Settings
from tests.server.fake_worker import FakeWorker


@dataclass
class Running:
    """A running app."""

    client: httpx.Client
    service: Service
    worker: FakeWorker
    port: int

    def post(self, path: str, body: bytes = b"sound", **rest: Any) -> httpx.Response:
        """Send `body` as the part `file`; other arguments are form fields, `headers` aside."""
        headers = rest.pop("headers", {})
        files = {"file": (rest.pop("name", "clip.wav"), body)}
        return self.client.post(path, files=files, data=rest, headers=headers)

    def job(self, body: bytes = b"sound", **fields: Any) -> dict[str, Any]:
        """Make a job and return it as it was accepted."""
        answer = self.post("/v1/jobs", body, **fields)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job when it has ended."""
        answer = self.client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
        assert answer.json()["finished_at"] is not None, answer.text
        return dict(answer.json())

    def raw(self, request: bytes) -> bytes:
        """Everything the server answers to some bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))


Start = Callable[..., Running]


@contextmanager
def serving(app: Any) -> Iterator[int]:
    """Serve an app from a thread; gives the port."""
    config = uvicorn.Config(app, port=0, http="h11", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the app did not start"
        time.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=60)


@contextmanager
def run_app(folder: Path, **settings: Any) -> Iterator[Running]:
    """An app, a worker and a client; keyword arguments are settings."""
    chosen = {"spool_dir": folder, "min_free_bytes": 0, "key_file": None}
    chosen |= {"gesture_model": "", "action_model": ""}
    app = create_app(Settings(**(chosen | settings)), engine="none")
    service = app.state.service
    worker = FakeWorker(service.spool, service.store, "fake", service.catalogue.default_id)
    with ExitStack() as stack:
        port = stack.enter_context(serving(app))
        stack.enter_context(worker)
        address = f"http://127.0.0.1:{port}"
        client = stack.enter_context(httpx.Client(base_url=address, timeout=120))
        yield Running(client, service, worker, port)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an app of one's own; keyword arguments are settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(run_app(tmp_path / "spool", **settings))


@pytest.fixture(scope="session")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One app for all tests that need nothing special."""
    with run_app(tmp_path_factory.mktemp("shared") / "spool") as found:
        yield found


@pytest.fixture
def running(shared_app: Running) -> Iterator[Running]:
    """The shared app without jobs and with a worker that works."""
    shared_app.worker.seen.clear()
    yield shared_app
    shared_app.service.drain.is_draining = False
    shared_app.worker.go_on()
    for job_id in shared_app.service.store.all_ids():
        shared_app.service.store.delete(job_id)
    for job_id in shared_app.service.spool.job_ids():
        shared_app.service.spool.delete(job_id)
