"""The model process at work: claims jobs, keeps their leases, loads models, ends in order."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from models.errors import ModelError
from server.batcher import BatchConfig, Batcher
from server.catalogue import catalogue_of
from server.decode_pool import DecodePool, pool_config
from server.job_control import JobControl, Observations
from server.job_runner import JobRunner, Workshop
from server.job_types import Job, ModelStatus, WorkerPhase
from server.jobs import JobStore
from server.model_shelf import ModelShelf, ShelfConfig
from server.networks import Networks, StandIn
from server.settings import Settings
from server.spool import Spool

logger = logging.getLogger(__name__)

_IDLE_S = 0.01
_BEAT_S = 1.0
_WISH_S = 0.25
_TEND_S = 0.1
_AFTER_API_S = 3.0


class ModelProcess:
    """Everything between the store of jobs and the networks.

    Args:
        settings: Of the service.
        store: Where jobs come from.
        spool: Where their files are.
        worker_id: Under which jobs are held.
        pool: Decode children, perhaps started already; used from the thread that calls `run`.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        spool: Spool,
        worker_id: str,
        pool: DecodePool | None = None,
    ) -> None:
        """Load nothing yet."""
        self._settings = settings
        self._store = store
        self._worker_id = worker_id
        self._seen = Observations()
        self._phase: WorkerPhase = "starting"
        self._is_draining = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._active: dict[str, JobControl] = {}
        self._n_reading = 0
        self._beaten_s = self._told_s = 0.0
        catalogue = catalogue_of(settings)
        kept = ShelfConfig(settings.device, settings.model_ttl_s, head_ttl_s=settings.head_ttl_s)
        self.shelf = ModelShelf(catalogue, kept, self._report_model)
        self.pool = pool or DecodePool(pool_config(settings))
        self.pool.on_exit = self._count_exit
        self.batcher: Batcher[Any, Any] = Batcher(
            _networks(settings, self.shelf),
            BatchConfig(settings.max_batch, wait_s=settings.batch_wait_ms / 1000),
            lambda size: self._seen.add("avse_batch_size", size),
        )
        workshop = Workshop(settings, store, spool, self.pool, self.batcher, self._seen, self.shelf)
        self._runner = JobRunner(workshop, worker_id)

    def drain(self) -> None:
        """Take no more jobs; `run` returns when those under way have ended. Safe in a signal."""
        self._is_draining.set()
        self._wake.set()

    def run(self) -> None:
        """Warm up, then do jobs until `drain`; call it in the main thread."""
        warming = threading.Thread(target=self._warm_up, name="warm-up", daemon=True)
        warming.start()
        while not self._is_draining.is_set():
            self._turn()
        self._finish(time.monotonic() + self._grace_s())
        if not self._active:
            self.batcher.close()
        self.pool.close()

    def _turn(self) -> None:
        """One look at everything; waits a moment if there is nothing to do."""
        if not self._settings.stand_in_ms:
            self.pool.tend()
        self._beat()
        job = self._claim() if self._phase == "ready" and self._has_room() else None
        if job is not None:
            self._start(job)
        else:
            self._wake.wait(_IDLE_S)
            self._wake.clear()

    def _grace_s(self) -> float:
        """How long jobs under way may take: little where the API has waited for them already."""
        try:
            return _AFTER_API_S if self._store.is_draining() else self._settings.drain_s
        except sqlite3.OperationalError:
            return _AFTER_API_S

    def _finish(self, give_up_s: float) -> None:
        """Wait for jobs under way; those not done in time go back into the queue."""
        self._phase = "draining"
        self._told_s = 0.0
        logger.info("draining, %d jobs under way", len(self._active))
        while self._active and time.monotonic() < give_up_s:
            self._beat()
            self._wake.wait(_TEND_S)
            self._wake.clear()
        for job_id, control in list(self._active.items()):
            control.stop()
            self._quietly(partial(self._store.give_back, job_id, self._worker_id))
        self._quietly(lambda: self._seen.flush(self._store))
        self._quietly(lambda: self._store.forget_worker(self._worker_id))

    def _warm_up(self) -> None:
        """Load the default model before the first job, unless someone unloaded it."""
        if self._settings.stand_in_ms:
            self._become_ready()
            return
        default = self.shelf.default_id
        wanted = self._store.wanted_models()
        try:
            if wanted.get(default, True):
                self.shelf.get(default)
        except ModelError as error:
            logger.error("the default model cannot be loaded: %s", error)
            return
        while not self.pool.is_ready and not self._is_draining.is_set():
            time.sleep(_TEND_S)
        if not self._is_draining.is_set():
            self._become_ready()
            self._keep_models()

    def _become_ready(self) -> None:
        self._phase = "ready"
        self._told_s = 0.0
        self._wake.set()
        logger.info("ready")

    def _keep_models(self) -> None:
        """Load and unload as asked for and by time to live, until the end."""
        while not self._is_draining.wait(_WISH_S):
            self._quietly(self._keep_models_once)

    def _keep_models_once(self) -> None:
        for model_id in self.shelf.idle_ids():
            logger.info("unloading a model unused for long: %s", model_id)
            self._store.want_model(model_id, False)
        for model_id, is_wanted in self.shelf.differs(self._store.wanted_models()):
            if is_wanted:
                self._load(model_id)
            else:
                self.shelf.unload(model_id)

    def _load(self, model_id: str) -> None:
        try:
            self.shelf.load(model_id)
        except Exception as error:  # whatever it is, the others are still to be kept
            is_known = isinstance(error, ModelError)
            logger.error("a model cannot be loaded: %s", error, exc_info=not is_known)
            self._store.want_model(model_id, False)

    def _report_model(self, model_id: str, status: ModelStatus, detail: str) -> None:
        """Say how a model stands; a model a job loads counts as wanted.

        That comes first, for whoever hears of a status may ask for the opposite at once.
        """
        if status == "loading":
            self._quietly(lambda: self._store.want_model(model_id, True))
        self._quietly(lambda: self._store.set_model_status(model_id, status, detail))
        if status in ("ready", "available"):
            self._seen.add("avse_model_loaded", float(status == "ready"), model=model_id)

    def _has_room(self) -> bool:
        """Whether a job's input could be read now, and its clip wait for the network."""
        most = self._settings.decode_children + 2 * self._settings.max_batch
        is_free = self._n_reading < self._settings.decode_children
        if self._settings.stand_in_ms:
            return len(self._active) < most
        return is_free and len(self._active) < most and self.pool.is_ready

    def _claim(self) -> Job | None:
        try:
            return self._store.claim(self._worker_id, self._runner.kinds, self._settings.lease_s)
        except sqlite3.OperationalError as error:
            logger.warning("no job could be claimed: %s", error)
            return None

    def _start(self, job: Job) -> None:
        """Do a job in a thread of its own."""
        if job.id in self._active:  # lost by a late heartbeat and claimed again: end that one first
            self._active[job.id].stop()
            self._store.give_back(job.id, self._worker_id)
            self._wake.wait(_TEND_S)
            return
        control = JobControl(job, self._store, self._worker_id, self._on_read)
        with self._lock:
            self._active[job.id] = control
            self._n_reading += 1
        threading.Thread(target=self._do, args=(control,), name=job.id, daemon=True).start()

    def _do(self, control: JobControl) -> None:
        try:
            self._runner.run(control)
        finally:
            with self._lock:
                del self._active[control.job.id]
            self._wake.set()

    def _on_read(self) -> None:
        with self._lock:
            self._n_reading -= 1
        self._wake.set()

    def _beat(self) -> None:
        """Renew leases, hear of canceled and lost jobs, show life, send what was measured."""
        now_s = time.monotonic()
        if now_s - self._beaten_s >= min(_BEAT_S, self._settings.heartbeat_s):
            self._beaten_s = now_s
            self._quietly(self._renew)
            self._quietly(lambda: self._seen.flush(self._store))
        if now_s - self._told_s >= self._settings.heartbeat_s:
            self._told_s = now_s
            phase = self._phase
            self._quietly(lambda: self._store.worker_state(self._worker_id, phase, os.getpid()))
            self._quietly(self._store.reap)

    def _renew(self) -> None:
        with self._lock:
            active = dict(self._active)
        if not active:
            return
        canceled = self._store.heartbeat(self._worker_id, self._settings.lease_s)
        held = set(self._store.held(self._worker_id)) - set(canceled)
        for job_id, control in active.items():
            if job_id not in held:
                control.stop()

    def _count_exit(self, reason: str) -> None:
        self._seen.add("avse_decode_child_exits_total", reason=reason)

    @staticmethod
    def _quietly(step: Callable[[], object]) -> None:
        """Go on where the store cannot be written now, as with a full disk."""
        try:
            step()
        except sqlite3.OperationalError as error:
            logger.warning("the store did not take it: %s", error)


def _networks(settings: Settings, shelf: ModelShelf) -> Networks | StandIn:
    if settings.stand_in_ms:
        return StandIn(settings.stand_in_ms / 1000)
    return Networks(shelf, settings.device)


def start_worker(
    settings: Settings, worker_id: str, pool: DecodePool | None = None
) -> ModelProcess:
    """The model process of these settings, not yet running.

    Raises:
        ModelError: The device is not there.
        OSError: The spool cannot be used.
    """
    spool = Spool(Path(settings.spool_dir))
    return ModelProcess(settings, JobStore(spool.database_path), spool, worker_id, pool)
