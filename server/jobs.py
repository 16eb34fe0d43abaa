"""All jobs in one SQLite file: the only thing the API and the model process share.

Whoever is killed at whatever moment, the file holds the truth: a job is running only as long as its
worker renews the lease, and what a worker says of a job it has lost is not heard.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from server.database import Database
from server.job_queries import JobQueries
from server.job_rows import (
    WAITING,
    count_jobs,
    finish_job,
    get_job,
    held_job,
    idempotent_job,
    insert_job,
    job_of,
    put_event,
    put_observation,
    take_from_worker,
    update_job,
)
from server.job_types import (
    Job,
    JobConflict,
    Kind,
    NewJob,
    Observation,
    QueueFull,
    RateLimited,
)

LEASE_S = 15.0
_TOMBSTONE_S = 7 * 24 * 3600.0
_MIN_STEP = 0.01


class JobStore(JobQueries):
    """Jobs with leases, attempts, events and expiry.

    Every method is one transaction. `claim` to `fail` are for workers, the others for the API.

    Args:
        path: The SQLite file.
        clock: Seconds since 1970, the same in all processes.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open the file, or make it."""
        super().__init__(Database(path), clock)

    def create(
        self, new: NewJob, *, max_queued: int | None = None, max_owned: int | None = None
    ) -> Job:
        """Put a job at the end of the queue.

        Args:
            new: The job; with an idempotency key seen before, the job of then is returned.
            max_queued: Jobs that may wait.
            max_owned: Unfinished jobs one key may have.

        Raises:
            IdempotencyMismatch: The key was used for another request.
            QueueFull: `max_queued` jobs wait.
            RateLimited: The owner has `max_owned` unfinished jobs.
        """
        with self._database.write() as db:
            if new.idempotency_key is not None:
                earlier = idempotent_job(db, new.idempotency_key, new.owner, new.request_hash)
                if earlier is not None:
                    return earlier
            if max_queued is not None and count_jobs(db, "status = 'queued'") >= max_queued:
                raise QueueFull(f"{max_queued} jobs are waiting already")
            unfinished = "status IN ('queued', 'running') AND owner = ?"
            if max_owned is not None and count_jobs(db, unfinished, new.owner) >= max_owned:
                raise RateLimited(f"{max_owned} jobs of this key are not finished yet")
            insert_job(db, new, self._clock())
            return get_job(db, new.id)

    def cancel(self, job_id: str) -> Job:
        """Stop a job: at once if it waits, by its worker if it runs, nothing if it was canceled.

        Raises:
            JobNotFound: No such job.
            JobConflict: It has succeeded or failed.
        """
        with self._database.write() as db:
            job = get_job(db, job_id)
            if job.status in ("succeeded", "failed"):
                raise JobConflict(f"the job has {job.status} already")
            if job.status == "queued":
                finish_job(db, job, "canceled", self._clock())
            elif job.status == "running":
                update_job(db, job_id, {"is_cancel_requested": 1})
            return get_job(db, job_id)

    def delete(self, job_id: str) -> bool:
        """Forget a job, whatever its state; its worker is told to stop by the next heartbeat."""
        with self._database.write() as db:
            return db.execute("DELETE FROM jobs WHERE id = ?", [job_id]).rowcount == 1

    def claim(self, worker_id: str, kinds: Iterable[Kind], lease_s: float = LEASE_S) -> Job | None:
        """Take the next job: highest priority, then oldest; None if there is none to take.

        While draining only jobs are given whose client holds a connection open.
        """
        query = """SELECT * FROM jobs WHERE status = 'queued' AND is_sync >= ?
            AND kind IN (SELECT value FROM json_each(?)) ORDER BY priority DESC, seq LIMIT 1"""
        if self.n_queued() == 0:
            return None  # an idle worker takes no write lock
        now = self._clock()
        with self._database.write() as db:
            needed = [int(self._is_draining(db)), json.dumps(list(kinds))]
            row = db.execute(query, needed).fetchone()
            if row is None:
                return None
            job = job_of(row)
            changes = {
                "status": "running",
                "worker_id": worker_id,
                "lease_until_s": now + lease_s,
                "attempts": job.attempts + 1,
                "started_s": now,
            }
            update_job(db, job.id, changes)
            if job.attempts == 0:
                waited_s = max(0.0, now - job.created_s)
                put_observation(db, Observation("avse_queue_wait_seconds", waited_s))
            return get_job(db, job.id)

    def heartbeat(self, worker_id: str, lease_s: float = LEASE_S) -> list[str]:
        """Renew the leases of a worker.

        Returns:
            Ids of its jobs that it should cancel. A job that was deleted is not among them:
            compare with `held`.
        """
        with self._database.write() as db:
            until = self._clock() + lease_s
            where = "worker_id = ? AND status = 'running'"
            db.execute(f"UPDATE jobs SET lease_until_s = ? WHERE {where}", [until, worker_id])
            query = f"SELECT id FROM jobs WHERE {where} AND is_cancel_requested = 1"
            return [row[0] for row in db.execute(query, [worker_id])]

    def set_progress(self, job_id: str, worker_id: str, stage: str, fraction: float) -> bool:
        """Note how far a job is; steps under one percent of the same stage are not kept.

        Args:
            job_id: The job.
            worker_id: Who holds it.
            stage: One of `STAGES`.
            fraction: 0.0 to 1.0 over the whole job.

        Returns:
            False if the worker does not hold the job any more.
        """
        with self._database.write() as db:
            job = held_job(db, job_id, worker_id)
            if job is None:
                return False
            is_small = fraction - job.progress < _MIN_STEP
            if job.stage == stage and is_small:
                return True
            progress = min(1.0, max(job.progress, fraction))
            update_job(db, job_id, {"stage": stage, "progress": progress})
            put_event(db, job_id, "progress", {"stage": stage, "progress": round(progress, 4)})
            return True

    def warn(self, job_id: str, worker_id: str, message: str) -> bool:
        """Add a warning for the user; False if the worker does not hold the job any more."""
        with self._database.write() as db:
            job = held_job(db, job_id, worker_id)
            if job is None:
                return False
            if message not in job.warnings:
                update_job(db, job_id, {"warnings": json.dumps([*job.warnings, message])})
                put_event(db, job_id, "warning", {"message": message})
            return True

    def succeed(
        self, job_id: str, worker_id: str, outputs: Mapping[str, str], result: Mapping[str, Any]
    ) -> bool:
        """End a job with its results.

        Args:
            job_id: The job.
            worker_id: Who holds it.
            outputs: Variant to file name in the job's folder, all in place already.
            result: Report, faces or scores: JSON values.

        Returns:
            False if the worker does not hold the job any more: its results are void.
        """
        with self._database.write() as db:
            job = held_job(db, job_id, worker_id)
            if job is None:
                return False
            found = {"outputs": json.dumps(dict(outputs)), "result": json.dumps(dict(result))}
            update_job(db, job_id, {**found, "progress": 1.0})
            finish_job(db, job, "succeeded", self._clock())
            return True

    def fail(self, job_id: str, worker_id: str, code: str, detail: str) -> bool:
        """End a job with a public code and one sentence; False if it is not the worker's."""
        with self._database.write() as db:
            job = held_job(db, job_id, worker_id)
            if job is None:
                return False
            finish_job(db, job, "failed", self._clock(), (code, detail))
            return True

    def canceled(self, job_id: str, worker_id: str) -> bool:
        """Say that a running job has been stopped as asked; False if it is not the worker's."""
        with self._database.write() as db:
            job = held_job(db, job_id, worker_id)
            if job is not None:
                finish_job(db, job, "canceled", self._clock())
            return job is not None

    def give_back(self, job_id: str, worker_id: str) -> bool:
        """Put an unfinished job back at its place without counting the attempt (drain)."""
        with self._database.write() as db:
            job = held_job(db, job_id, worker_id)
            if job is not None:
                update_job(db, job_id, {**WAITING, "attempts": max(0, job.attempts - 1)})
            return job is not None

    def release_all(self) -> list[str]:
        """Put every running job back into the queue without counting the attempt.

        For the start of the API: the model process of the one before died with it.
        """
        with self._database.write() as db:
            rows = db.execute("SELECT * FROM jobs WHERE status = 'running'").fetchall()
            for job in map(job_of, rows):
                update_job(db, job.id, {**WAITING, "attempts": max(0, job.attempts - 1)})
        return [row["id"] for row in rows]

    def lose_worker(self, worker_id: str) -> list[str]:
        """Act at once on a worker known to be dead; returns the ids of its jobs."""
        return self._take_away("worker_id = ?", worker_id)

    def reap(self) -> list[str]:
        """Act on leases that were not renewed; returns the ids of those jobs."""
        query = "SELECT 1 FROM jobs WHERE status = 'running' AND lease_until_s < ? LIMIT 1"
        with self._database.read() as db:
            if db.execute(query, [self._clock()]).fetchone() is None:
                return []
        return self._take_away("lease_until_s < ?", self._clock())

    def expire(self) -> list[str]:
        """Forget jobs whose time is over; returns their ids, so that the files can go."""
        now = self._clock()
        with self._database.write() as db:
            rows = db.execute("SELECT id, owner FROM jobs WHERE expires_s < ?", [now]).fetchall()
            gone = [(row["id"], row["owner"], now) for row in rows]
            db.executemany("INSERT OR REPLACE INTO expired VALUES (?, ?, ?)", gone)
            db.executemany("DELETE FROM jobs WHERE id = ?", [(row["id"],) for row in rows])
            db.execute("DELETE FROM expired WHERE at_s < ?", [now - _TOMBSTONE_S])
        return [row["id"] for row in rows]

    def delete_sync(self) -> list[str]:
        """Forget the jobs whose client died with the API process before this one."""
        with self._database.write() as db:
            ids = [row[0] for row in db.execute("SELECT id FROM jobs WHERE is_sync = 1")]
            db.execute("DELETE FROM jobs WHERE is_sync = 1")
        return ids

    def _take_away(self, where: str, value: object) -> list[str]:
        query = f"SELECT * FROM jobs WHERE status = 'running' AND {where}"
        with self._database.write() as db:
            jobs = [job_of(row) for row in db.execute(query, [value]).fetchall()]
            for job in jobs:
                take_from_worker(db, job, self._clock())
        return [job.id for job in jobs]
