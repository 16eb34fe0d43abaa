"""The API process in a thread of the tests, on a real port, with a worker without a model."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from server.dependencies import Service
from server.keys import add_key
from server.main import create_app
from server.protocol import PatientProtocol
from server.settings import Settings
from tests.server.fake_worker import FakeWorker
from tests.server.raw_http import PATIENCE_S


class Protocol(PatientProtocol):
    """As in the service, with less patience."""

    head_s = 1.5


@dataclass(frozen=True, slots=True)
class LiveApp:
    """A running API process.

    Attributes:
        port: Where it listens.
        service: Its parts.
        worker: What does its jobs.
        alice: A key.
        bob: Another one.
        admin: One that may load models.
    """

    port: int
    service: Service
    worker: FakeWorker
    alice: str
    bob: str
    admin: str

    def job_ids_when_quiet(self) -> list[str]:
        """Folders left in the spool, once nothing is on its way any more."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            found = self.service.spool.job_ids()
            if not found and self.service.drain.n_in_flight == 0:
                return []
            time.sleep(0.02)
        return self.service.spool.job_ids()


@contextlib.contextmanager
def live_app(folder: Path, **choices: Any) -> Iterator[LiveApp]:
    """Start it; it stops at the end of the block."""
    key_file = folder / "keys.json"
    alice, bob = (add_key(key_file, name, ["enhance"]) for name in ("alice", "bob"))
    admin = add_key(key_file, "admin", ["enhance", "admin"])
    choices = {"gesture_model": "", "action_model": ""} | choices
    settings = Settings(spool_dir=folder / "spool", key_file=key_file, **choices)
    app = create_app(settings, engine="none")
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        port=0,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    _wait_until_started(server, thread)
    try:
        with FakeWorker(service.spool, service.store) as worker:
            port = server.servers[0].sockets[0].getsockname()[1]
            yield LiveApp(port, service, worker, alice, bob, admin)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not server.started:
        assert thread.is_alive(), "the server ended while starting"
        assert time.monotonic() < end_s, "the server does not start"
        time.sleep(0.02)
