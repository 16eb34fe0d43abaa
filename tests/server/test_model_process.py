"""The model process: ready when warm, models in and out, drain, lost leases, full disks."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.job_types import Job, ModelStatus
from server.jobs import JobStore
from server.model_process import ModelProcess, start_worker
from server.spool import Spool
from tests.media_factory import make_sound
from tests.server import worker_parts
from tests.server.worker_parts import LivingPool, put_job, wait_for

WORKER = "worker_test"


class HeldPool(LivingPool):
    """Waits within every task until it is let go or its job is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.folders: list[Path] = []

    def run(
        self,
        task: str,
        folder: Path,
        options: Mapping[str, Any],
        progress: Any,
        is_canceled: Callable[[], bool],
    ) -> dict[str, Any]:
        self.folders.append(folder)
        progress("probe", 0.0, 1.0)
        wait_for(lambda: self.go.is_set() or is_canceled())
        return super().run(task, folder, options, progress, is_canceled)


class Running:
    """A model process in a thread."""

    def __init__(self, root: Path, pool: LivingPool, **changes: Any) -> None:
        self.settings = worker_parts.settings(root, heartbeat_s=0.05, **changes)
        self.pool = pool
        self.spool = Spool(self.settings.spool_dir)
        self.store = JobStore(self.spool.database_path)
        self.process: ModelProcess = start_worker(self.settings, WORKER, pool)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.process.run)
        self.sound = make_sound(
            root / "sound.wav", np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
        )

    def start(self) -> "Running":
        self._thread.start()
        return self

    def phase(self) -> str:
        return next((state.phase for state in self.store.worker_states()), "")

    def add(self, **options: Any) -> Job:
        return put_job(self.store, self.spool, {"input": self.sound}, **options)

    def status(self, job: Job) -> str:
        found = self.store.get(job.id)
        return "gone" if found is None else found.status

    def end(self) -> None:
        self.process.drain()
        self._thread.join(worker_parts.TIMEOUT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, LivingPool()).start()
    wait_for(lambda: running.phase() == "ready")
    yield running
    running.end()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, HeldPool(), drain_s=0.05).start()
    wait_for(lambda: running.phase() == "ready")
    yield running
    running.end()


def test_it_warms_up_does_jobs_and_ends(started: Running) -> None:
    assert started.store.model_statuses()["tiny"].status == "ready"
    jobs = [started.add() for _ in range(4)]
    wait_for(lambda: all(started.status(job) == "succeeded" for job in jobs))
    started.end()
    assert started.store.worker_states() == []
    assert isinstance(started.pool, LivingPool)
    assert started.pool.is_closed
    seen = {observation.name for observation in started.store.take_observations()}
    assert {"avse_model_loaded", "avse_batch_size", "avse_jobs_total"} <= seen


def test_models_are_unloaded_and_loaded_on_request(started: Running) -> None:
    def status(name: str) -> str:
        return started.store.model_statuses()[name].status

    started.store.want_model("tiny", False)
    wait_for(lambda: status("tiny") == "available")
    assert started.process.shelf.loaded_ids() == []
    started.store.want_model("tiny", True)
    wait_for(lambda: status("tiny") == "ready")
    started.store.want_model("tiny", False)
    wait_for(lambda: status("tiny") == "available")
    job = started.add()  # a job loads what it needs
    wait_for(lambda: started.status(job) == "succeeded")
    assert started.store.wanted_models()["tiny"]
    started.store.want_model("nothing", True)
    wait_for(lambda: started.store.wanted_models()["nothing"] is False)


@pytest.mark.parametrize("heard", ["loading", "ready"])
def test_an_unload_asked_for_as_soon_as_a_status_is_heard_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: str
) -> None:
    running = Running(tmp_path, LivingPool())
    store = running.process._store
    tell = store.set_model_status

    def tell_one_who_unloads(model_id: str, status: ModelStatus, detail: str) -> None:
        tell(model_id, status, detail)
        if status == heard:
            store.want_model(model_id, False)

    monkeypatch.setattr(store, "set_model_status", tell_one_who_unloads)
    running.process.shelf.load("tiny")
    assert store.wanted_models() == {"tiny": False}
    running.process.batcher.close()


def test_an_idle_model_is_unloaded(tmp_path: Path) -> None:
    running = Running(tmp_path, LivingPool(), model_ttl_s=0.01).start()
    wait_for(lambda: running.phase() == "ready")
    wait_for(lambda: running.process.shelf.loaded_ids() == [])
    wait_for(lambda: running.store.wanted_models()["tiny"] is False)
    running.end()


def test_without_a_model_it_is_never_ready(tmp_path: Path) -> None:
    running = Running(tmp_path, LivingPool())
    (tmp_path / "bundles" / "tiny" / "weights.safetensors").write_bytes(b"something else")
    running.start()
    wait_for(lambda: "tiny" in running.store.model_statuses())
    wait_for(lambda: running.store.model_statuses()["tiny"].status == "failed")
    assert running.store.model_statuses()["tiny"].detail == "checksum_mismatch"
    running.end()
    assert running.phase() == ""


def test_canceled_and_deleted_jobs_are_stopped(held: Running) -> None:
    canceled, deleted = held.add(), held.add()
    wait_for(lambda: held.status(canceled) == held.status(deleted) == "running")
    held.store.cancel(canceled.id)
    held.store.delete(deleted.id)
    wait_for(lambda: held.status(canceled) == "canceled")
    wait_for(lambda: not held.process._active)


def test_no_more_jobs_are_claimed_than_can_be_read(held: Running) -> None:
    jobs = [held.add() for _ in range(4)]
    urgent = held.add(is_sync=True)
    wait_for(lambda: held.store.n_running() == 2)
    assert held.store.n_queued() == 3
    assert isinstance(held.pool, HeldPool)
    held.pool.go.set()
    wait_for(lambda: held.status(urgent) == "succeeded")
    wait_for(lambda: all(held.status(job) == "succeeded" for job in jobs))


def test_what_is_not_done_in_time_goes_back(held: Running) -> None:
    job = held.add()
    wait_for(lambda: held.status(job) == "running")
    held.end()
    found = held.store.get(job.id)
    assert found is not None
    assert (found.status, found.attempts) == ("queued", 0)


def test_a_job_lost_by_a_late_heartbeat_is_done_once(held: Running) -> None:
    job = held.add()
    wait_for(lambda: held.status(job) == "running")
    held.store.lose_worker(WORKER)  # as if the lease had run out
    assert isinstance(held.pool, HeldPool)
    wait_for(lambda: len(held.pool.folders) == 2)
    held.pool.go.set()
    wait_for(lambda: held.status(job) == "succeeded")
    assert held.pool.tasks.count("encode") == 1


def test_a_store_that_cannot_be_written_is_waited_for(
    started: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = started.process._store
    real = store.succeed
    failures = [sqlite3.OperationalError("database or disk is full")] * 2

    def succeed(*arguments: Any) -> bool:
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(store, "succeed", succeed)
    job = started.add()
    wait_for(lambda: started.status(job) == "succeeded")
    assert not failures


def test_the_stand_in_needs_no_model(tmp_path: Path) -> None:
    running = Running(tmp_path, LivingPool(), stand_in_ms=1.0).start()
    wait_for(lambda: running.phase() == "ready")
    jobs = [running.add() for _ in range(20)]
    wait_for(lambda: all(running.status(job) == "succeeded" for job in jobs))
    assert running.process.shelf.loaded_ids() == []
    running.end()
