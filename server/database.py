"""One SQLite file in WAL mode: the schema, and connections lent to one thread at a time."""

import queue
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_BUSY_TIMEOUT_S = 10.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued',
    options TEXT NOT NULL,
    stage TEXT,
    progress REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    is_sync INTEGER NOT NULL,
    created_s REAL NOT NULL,
    started_s REAL,
    finished_s REAL,
    expires_s REAL,
    ttl_s REAL NOT NULL,
    owner TEXT NOT NULL,
    code TEXT,
    detail TEXT,
    warnings TEXT NOT NULL DEFAULT '[]',
    outputs TEXT NOT NULL DEFAULT '{}',
    result TEXT NOT NULL DEFAULT '{}',
    source_name TEXT NOT NULL,
    webhook_url TEXT,
    webhook_due_s REAL,
    webhook_attempts INTEGER NOT NULL DEFAULT 0,
    metadata TEXT NOT NULL,
    is_cancel_requested INTEGER NOT NULL DEFAULT 0,
    worker_id TEXT,
    lease_until_s REAL,
    version INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS jobs_by_turn ON jobs (status, priority DESC, seq);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, seq DESC);
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (expires_s) WHERE expires_s IS NOT NULL;
CREATE TABLE IF NOT EXISTS events (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS expired (id TEXT PRIMARY KEY, owner TEXT NOT NULL, at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS models (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL DEFAULT 'available',
    detail TEXT NOT NULL DEFAULT '',
    is_wanted INTEGER,
    changed_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS workers (
    worker_id TEXT PRIMARY KEY, phase TEXT NOT NULL, pid INTEGER NOT NULL, beat_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS flags (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS observations (
    seq INTEGER PRIMARY KEY, name TEXT NOT NULL, value REAL NOT NULL, labels TEXT NOT NULL
);
"""


class Database:
    """Connections to one file; safe between threads and between processes.

    Args:
        path: The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and make what is missing in it."""
        self.path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with self.read() as connection:
            connection.executescript(SCHEMA)

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own, to be closed by who asked for it."""
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        # WAL with NORMAL survives kill -9 of any process; a power cut may lose the last writes.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; each statement stands alone."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self.connect()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside one transaction: all of it happens, or nothing."""
        with self.read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # a full disk has rolled back already
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def changes(self) -> Iterator[Callable[[], int]]:
        """Lend a function whose number changes whenever anyone has written; it takes no time."""
        with closing(self.connect()) as connection:
            yield lambda: int(connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close the connections that are not lent."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return
