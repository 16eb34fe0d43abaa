"""What can be asked of the jobs without changing them."""

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from server.job_rows import count_jobs, event_of, find_job, idempotent_job, job_of
from server.job_types import Event, Job, Kind, Status
from server.worker_states import WorkerStates


class JobQueries(WorkerStates):
    """The part of the store that asks."""

    def idempotency(self, key: str, owner: str, request_hash: str) -> Job | None:
        """The job an earlier request with this key made, None if there was none.

        Raises:
            IdempotencyMismatch: That request was another one.
        """
        with self._database.read() as db:
            return idempotent_job(db, key, owner, request_hash)

    def get(self, job_id: str) -> Job | None:
        """The job, None if there is none of that id."""
        with self._database.read() as db:
            return find_job(db, job_id)

    def page(
        self,
        owner: str | None = None,
        status: Status | None = None,
        kind: Kind | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> list[Job]:
        """Jobs that outlive their request, newest first.

        Args:
            owner: None for those of every key.
            status: Only these.
            kind: Only these.
            limit: How many at most.
            after: Id of the last job of the page before.
        """
        conditions: dict[str, Any] = {"owner = ?": owner, "status = ?": status, "kind = ?": kind}
        conditions["seq < (SELECT seq FROM jobs WHERE id = ?)"] = after
        asked = {text: value for text, value in conditions.items() if value is not None}
        where = " AND ".join(["is_sync = 0", *asked])
        query = f"SELECT * FROM jobs WHERE {where} ORDER BY seq DESC LIMIT ?"
        with self._database.read() as db:
            return [job_of(row) for row in db.execute(query, [*asked.values(), limit])]

    def n_queued(self) -> int:
        """Jobs that wait."""
        with self._database.read() as db:
            return count_jobs(db, "status = 'queued'")

    def n_running(self) -> int:
        """Jobs that a worker holds."""
        with self._database.read() as db:
            return count_jobs(db, "status = 'running'")

    def queue_position(self, job_id: str) -> int | None:
        """Jobs that come before this one; None if it does not wait."""
        query = """SELECT (SELECT count(*) FROM jobs AS other WHERE other.status = 'queued' AND
            (other.priority > jobs.priority
             OR other.priority = jobs.priority AND other.seq < jobs.seq))
            FROM jobs WHERE id = ? AND status = 'queued'"""
        with self._database.read() as db:
            row = db.execute(query, [job_id]).fetchone()
        return None if row is None else int(row[0])

    def versions(self, job_ids: Iterable[str]) -> dict[str, int]:
        """Version of each job that exists; it grows with every change."""
        query = "SELECT id, version FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
        with self._database.read() as db:
            return {row[0]: row[1] for row in db.execute(query, [json.dumps(list(job_ids))])}

    def changes(self) -> AbstractContextManager[Callable[[], int]]:
        """Lend a function whose number is another one after anything has changed."""
        return self._database.changes()

    def held(self, worker_id: str) -> list[str]:
        """Ids of the running jobs of a worker; one it works on that is not here was taken away."""
        query = "SELECT id FROM jobs WHERE worker_id = ? AND status = 'running'"
        with self._database.read() as db:
            return [row[0] for row in db.execute(query, [worker_id])]

    def is_expired(self, job_id: str, owner: str | None) -> bool:
        """Whether the job was there and its time was over; `owner` None asks for any key."""
        query = "SELECT 1 FROM expired WHERE id = ? AND (? IS NULL OR owner = ?)"
        with self._database.read() as db:
            return db.execute(query, [job_id, owner, owner]).fetchone() is not None

    def all_ids(self) -> set[str]:
        """Ids of every job there is."""
        with self._database.read() as db:
            return {row[0] for row in db.execute("SELECT id FROM jobs")}

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """What happened to a job after event number `after`, oldest first."""
        query = "SELECT * FROM events WHERE job_id = ? AND number > ? ORDER BY number"
        with self._database.read() as db:
            rows = db.execute(query, [job_id, after]).fetchall()
        return [event_of(row) for row in rows]

    def recent_run_s(self, kind: Kind, n_last: int = 10) -> float | None:
        """Mean seconds the last jobs of a kind took from start to success; None without any."""
        query = """SELECT avg(run_s) FROM (SELECT finished_s - started_s AS run_s FROM jobs
            WHERE status = 'succeeded' AND kind = ? ORDER BY finished_s DESC LIMIT ?)"""
        with self._database.read() as db:
            mean = db.execute(query, [kind, n_last]).fetchone()[0]
        return None if mean is None else float(mean)

    def due_webhooks(self) -> list[tuple[Job, int]]:
        """Ended jobs whose end is still to be told, and how often that was tried."""
        query = "SELECT * FROM jobs WHERE webhook_due_s <= ? ORDER BY webhook_due_s LIMIT 10"
        with self._database.read() as db:
            rows = db.execute(query, [self._clock()]).fetchall()
        return [(job_of(row), row["webhook_attempts"]) for row in rows]

    def webhook_tried(self, job_id: str, next_in_s: float | None) -> None:
        """Note a delivery: done or given up with None, otherwise when to try again."""
        due_s = None if next_in_s is None else self._clock() + next_in_s
        query = """UPDATE jobs SET webhook_due_s = ?, webhook_attempts = webhook_attempts + 1
            WHERE id = ?"""
        with self._database.write() as db:
            db.execute(query, [due_s, job_id])
