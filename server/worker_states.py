"""What the API and the model process tell each other beside jobs: models, life, measured values."""

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Self

from server.database import Database
from server.job_rows import put_observation
from server.job_types import ModelState, ModelStatus, Observation, WorkerPhase, WorkerState

_DRAINING = "draining"
_FORGET_WORKER_S = 120.0
_MAX_OBSERVATIONS = 100_000


class WorkerStates:
    """The part of the store that is not about single jobs.

    Args:
        database: The open file.
        clock: Seconds since 1970, the same in all processes.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """Keep both."""
        self._database = database
        self._clock = clock

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def now_s(self) -> float:
        """The store's clock: seconds since 1970."""
        return self._clock()

    def set_model_status(self, model_id: str, status: ModelStatus, detail: str = "") -> None:
        """Say how a model stands (by the model process)."""
        query = """INSERT INTO models (id, status, detail, changed_s) VALUES (?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET
            status = excluded.status, detail = excluded.detail, changed_s = excluded.changed_s"""
        with self._database.write() as db:
            db.execute(query, [model_id, status, detail, self._clock()])

    def model_statuses(self) -> dict[str, ModelState]:
        """How each model stands that anyone spoke of."""
        with self._database.read() as db:
            rows = db.execute("SELECT * FROM models").fetchall()
        return {row["id"]: _model_of(row) for row in rows}

    def want_model(self, model_id: str, is_wanted: bool) -> None:
        """Ask the model process to load or unload a model."""
        query = """INSERT INTO models (id, is_wanted, changed_s) VALUES (?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET is_wanted = excluded.is_wanted"""
        with self._database.write() as db:
            db.execute(query, [model_id, int(is_wanted), self._clock()])

    def wanted_models(self) -> dict[str, bool]:
        """Models someone asked to load (True) or unload (False)."""
        with self._database.read() as db:
            rows = db.execute("SELECT id, is_wanted FROM models WHERE is_wanted IS NOT NULL")
            return {row[0]: bool(row[1]) for row in rows}

    def forget_models(self) -> None:
        """No worker lives, no model is loaded and none asked for: a fresh start of the API."""
        with self._database.write() as db:
            db.execute("DELETE FROM models")
            db.execute("DELETE FROM workers")

    def worker_state(self, worker_id: str, phase: WorkerPhase, pid: int) -> None:
        """Give a sign of life (by the model process)."""
        with self._database.write() as db:
            row = [worker_id, phase, pid, self._clock()]
            db.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?)", row)
            old = self._clock() - _FORGET_WORKER_S
            db.execute("DELETE FROM workers WHERE beat_s < ?", [old])

    def forget_worker(self, worker_id: str) -> None:
        """Remove the sign of life of a model process that has ended."""
        with self._database.write() as db:
            db.execute("DELETE FROM workers WHERE worker_id = ?", [worker_id])

    def worker_states(self) -> list[WorkerState]:
        """Signs of life, newest first."""
        with self._database.read() as db:
            rows = db.execute("SELECT * FROM workers ORDER BY beat_s DESC").fetchall()
        return [WorkerState(r["worker_id"], r["phase"], r["pid"], r["beat_s"]) for r in rows]

    def set_draining(self, is_draining: bool) -> None:
        """Say whether the service is about to end: waiting jobs then stay waiting."""
        with self._database.write() as db:
            row = [_DRAINING, str(int(is_draining))]
            db.execute("INSERT OR REPLACE INTO flags VALUES (?, ?)", row)

    def is_draining(self) -> bool:
        """Whether the service is about to end."""
        with self._database.read() as db:
            return self._is_draining(db)

    def _is_draining(self, db: sqlite3.Connection) -> bool:
        row = db.execute("SELECT value FROM flags WHERE name = ?", [_DRAINING]).fetchone()
        return row is not None and row[0] == "1"

    def observe(self, seen: Iterable[Observation]) -> None:
        """Send measured values to /metrics; in one transaction, so collect a few first."""
        with self._database.write() as db:
            for observation in seen:
                put_observation(db, observation)
            limit = "(SELECT max(seq) FROM observations)"
            db.execute(f"DELETE FROM observations WHERE seq <= {limit} - ?", [_MAX_OBSERVATIONS])

    def take_observations(self) -> list[Observation]:
        """Measured values since the last call, oldest first; each is given once."""
        with self._database.read() as db:
            if db.execute("SELECT 1 FROM observations LIMIT 1").fetchone() is None:
                return []
        with self._database.write() as db:
            rows = db.execute("SELECT * FROM observations ORDER BY seq").fetchall()
            db.execute("DELETE FROM observations")
        return [Observation(r["name"], r["value"], json.loads(r["labels"])) for r in rows]


def _model_of(row: sqlite3.Row) -> ModelState:
    is_wanted = None if row["is_wanted"] is None else bool(row["is_wanted"])
    return ModelState(row["id"], row["status"], row["detail"], is_wanted, row["changed_s"])
