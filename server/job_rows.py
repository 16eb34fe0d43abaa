"""Rows of the job table inside one transaction of the caller."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from server.job_types import (
    Event,
    IdempotencyMismatch,
    Job,
    JobNotFound,
    NewJob,
    Observation,
    Status,
)

# What a job is again when its worker gave it back or died.
WAITING: Mapping[str, Any] = {
    "status": "queued",
    "worker_id": None,
    "lease_until_s": None,
    "stage": None,
    "progress": 0.0,
}


def job_of(row: sqlite3.Row) -> Job:
    """The job of a row."""
    return Job(
        id=row["id"],
        kind=row["kind"],
        status=row["status"],
        options=json.loads(row["options"]),
        stage=row["stage"],
        progress=row["progress"],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        priority=row["priority"],
        is_sync=bool(row["is_sync"]),
        created_s=row["created_s"],
        started_s=row["started_s"],
        finished_s=row["finished_s"],
        expires_s=row["expires_s"],
        owner=row["owner"],
        code=row["code"],
        detail=row["detail"],
        warnings=tuple(json.loads(row["warnings"])),
        outputs=json.loads(row["outputs"]),
        result=json.loads(row["result"]),
        source_name=row["source_name"],
        webhook_url=row["webhook_url"],
        metadata=json.loads(row["metadata"]),
        is_cancel_requested=bool(row["is_cancel_requested"]),
        worker_id=row["worker_id"],
        version=row["version"],
    )


def event_of(row: sqlite3.Row) -> Event:
    """The event of a row."""
    return Event(row["number"], row["name"], json.loads(row["payload"]))


def find_job(db: sqlite3.Connection, job_id: str) -> Job | None:
    """The job of that id, or None."""
    row = db.execute("SELECT * FROM jobs WHERE id = ?", [job_id]).fetchone()
    return None if row is None else job_of(row)


def get_job(db: sqlite3.Connection, job_id: str) -> Job:
    """The job of that id.

    Raises:
        JobNotFound: There is none.
    """
    job = find_job(db, job_id)
    if job is None:
        raise JobNotFound(f"no job {job_id}")
    return job


def held_job(db: sqlite3.Connection, job_id: str, worker_id: str) -> Job | None:
    """The job if this worker holds it."""
    job = find_job(db, job_id)
    is_held = job is not None and job.status == "running" and job.worker_id == worker_id
    return job if is_held else None


def count_jobs(db: sqlite3.Connection, where: str, *values: object) -> int:
    """How many jobs fulfil a condition."""
    return int(db.execute(f"SELECT count(*) FROM jobs WHERE {where}", values).fetchone()[0])


def update_job(db: sqlite3.Connection, job_id: str, changes: Mapping[str, object]) -> None:
    """Change columns of a job and let its version grow."""
    columns = ", ".join(f"{name} = ?" for name in changes)
    query = f"UPDATE jobs SET {columns}, version = version + 1 WHERE id = ?"
    db.execute(query, [*changes.values(), job_id])


def insert_job(db: sqlite3.Connection, new: NewJob, now_s: float) -> None:
    """Write the row of a new job, and its idempotency key if it has one."""
    columns = {
        "id": new.id,
        "kind": new.kind,
        "options": json.dumps(new.options, allow_nan=False),
        "max_attempts": new.max_attempts,
        "priority": new.priority,
        "is_sync": int(new.is_sync),
        "created_s": now_s,
        "ttl_s": new.ttl_s,
        "owner": new.owner,
        "source_name": new.source_name,
        "webhook_url": new.webhook_url,
        "metadata": json.dumps(new.metadata, allow_nan=False),
    }
    marks = ", ".join("?" * len(columns))
    query = f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})"
    db.execute(query, list(columns.values()))
    if new.idempotency_key is not None:
        row = [new.owner, new.idempotency_key, new.request_hash, new.id]
        db.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?)", row)


def idempotent_job(db: sqlite3.Connection, key: str, owner: str, request_hash: str) -> Job | None:
    """The job an earlier request with this key made, or None.

    Raises:
        IdempotencyMismatch: That request was another one.
    """
    query = "SELECT request_hash, job_id FROM idempotency WHERE owner = ? AND key = ?"
    row = db.execute(query, [owner, key]).fetchone()
    if row is None:
        return None
    if row["request_hash"] != request_hash:
        raise IdempotencyMismatch("this Idempotency-Key came with another request before")
    return get_job(db, row["job_id"])


def put_event(
    db: sqlite3.Connection, job_id: str, name: str, payload: Mapping[str, object]
) -> None:
    """Add the next event of a job."""
    query = """INSERT INTO events SELECT ?, coalesce(max(number), 0) + 1, ?, ?
        FROM events WHERE job_id = ?"""
    db.execute(query, [job_id, name, json.dumps(payload), job_id])


def put_observation(db: sqlite3.Connection, seen: Observation) -> None:
    """Add a measured value for /metrics."""
    query = "INSERT INTO observations (name, value, labels) VALUES (?, ?, ?)"
    db.execute(query, [seen.name, seen.value, json.dumps(dict(seen.labels), sort_keys=True)])


def finish_job(
    db: sqlite3.Connection,
    job: Job,
    status: Status,
    now_s: float,
    failure: tuple[str, str] | None = None,
) -> None:
    """End a job: state, last event, expiry, webhook and count in one go.

    Args:
        db: Inside a transaction.
        job: As it was.
        status: How it ended.
        now_s: Seconds since 1970.
        failure: Code and detail of a failure.
    """
    code, detail = failure or (None, None)
    ended: dict[str, object] = {
        "status": status,
        "finished_s": now_s,
        "lease_until_s": None,
        "code": code,
        "detail": detail,
        "webhook_due_s": now_s if job.webhook_url else None,
    }
    update_job(db, job.id, ended)
    db.execute("UPDATE jobs SET expires_s = ? + ttl_s WHERE id = ?", [now_s, job.id])
    payload = {"status": status} | ({"code": code, "detail": detail} if failure else {})
    put_event(db, job.id, status, payload)
    labels = {"kind": job.kind, "status": status, "reason": code or ""}
    put_observation(db, Observation("avse_jobs_total", 1.0, labels))


def take_from_worker(db: sqlite3.Connection, job: Job, now_s: float) -> None:
    """A job whose worker is gone: canceled if that was asked, lost after too many starts."""
    if job.is_cancel_requested:
        finish_job(db, job, "canceled", now_s)
    elif job.attempts >= job.max_attempts:
        detail = f"the model process died, {job.attempts} of {job.max_attempts} starts used"
        finish_job(db, job, "failed", now_s, ("worker_lost", detail))
    else:
        update_job(db, job.id, WAITING)
        put_event(db, job.id, "progress", {"stage": None, "progress": 0.0})
