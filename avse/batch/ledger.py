"""The record of a batch: which result belongs to which input, what is finished, who is at work.

SQLite and not a list of lines: a claim has to be one step that either happened or did not, for two
runs at once and for a run that is killed in the middle. The old rollback journal is used, which
also works on network folders, where the write-ahead log does not.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avse.batch.errors import LedgerInvalid
from avse.batch.work import TRANSIENT, Failure, Stamp, Work, Written, plain, stamp_of

VERSION = 1
BUSY_S = 60.0
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS clips (
    output TEXT PRIMARY KEY, source TEXT NOT NULL, is_for_all INTEGER NOT NULL,
    input_sha256 TEXT, settings TEXT, status TEXT NOT NULL DEFAULT 'new',
    code TEXT, reason TEXT, n_tries INTEGER NOT NULL DEFAULT 0, files TEXT, report TEXT,
    duration_s REAL, ended_s REAL, run TEXT)""",
    """CREATE TABLE IF NOT EXISTS inputs (
    source TEXT PRIMARY KEY, n_bytes INTEGER, mtime_ns INTEGER, sha256 TEXT)""",
)

State = Literal["todo", "done", "failed", "held"]
IsAlive = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a piece of work stands.

    Attributes:
        state: `held` = another run is at it.
        known: Stamp and hash of the input, where its size and time are as when it was hashed.
        settled_sha256: The work is settled if the input has this hash; None where it is not.
        settled_as: How, if it is.
    """

    state: State
    known: tuple[Stamp, str] | None = None
    settled_sha256: str | None = None
    settled_as: State = "todo"


@dataclass(frozen=True, slots=True)
class FailedClip:
    """A line of `failures.jsonl`."""

    input: str
    output: str
    code: str
    reason: str
    n_tries: int
    ended_s: float


class Ledger:
    """The record, in one file; for one thread.

    Args:
        path: The file.
        out_dir: Where the results are.
        retries_failed: Whether what failed is to be done again.
        is_trial: Work on a copy in memory; nothing is written.
    """

    def __init__(
        self, path: Path, out_dir: Path, *, retries_failed: bool = False, is_trial: bool = False
    ) -> None:
        """Open it, or make it.

        Raises:
            LedgerInvalid: The file is no such record.
        """
        self.out_dir = out_dir
        self._retries_failed = retries_failed
        name = ":memory:" if is_trial else path
        self._database = sqlite3.connect(name, timeout=BUSY_S, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        try:
            if is_trial and path.is_file():
                with closing(sqlite3.connect(path, timeout=BUSY_S)) as stored:
                    stored.backup(self._database)
            self._prepare()
        except (sqlite3.DatabaseError, LedgerInvalid) as error:
            self._database.close()
            raise LedgerInvalid(f"{path}: expected the record of a batch: {error}") from error

    def _prepare(self) -> None:
        self._database.execute("PRAGMA synchronous=NORMAL")
        with self.transaction():
            found = self._database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise LedgerInvalid(f"expected version {VERSION}, found {found}")
            for statement in _SCHEMA:
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; other runs wait."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def owner(self, output: str) -> str | None:
        """The input this name belongs to."""
        row = self._row(output)
        return None if row is None else str(row["source"])

    def has_numbered(self, output: str) -> bool:
        """Whether `voice.1.wav` or the like belongs to someone, for `voice.wav`."""
        stem, dot, suffix = plain(output).rpartition(".")
        pattern = stem.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
        query = "SELECT 1 FROM clips WHERE output GLOB ?"
        return self._one(query, f"{pattern}.[0-9]*{dot}{suffix}") is not None

    def is_for_all(self, output: str) -> bool:
        """Whether this name stands for one result for each face."""
        row = self._row(output)
        return row is not None and bool(row["is_for_all"])

    def reserve(self, output: str, source: Path, *, is_for_all: bool) -> None:
        """Give a name to an input; within a transaction."""
        self._database.execute(
            "INSERT INTO clips (output, source, is_for_all) VALUES (?, ?, ?) ON CONFLICT (output) "
            "DO UPDATE SET source=excluded.source, is_for_all=excluded.is_for_all",
            (plain(output), plain(source), is_for_all),
        )

    def standing(self, work: Work) -> Standing:
        """How a piece of work stands, without reading the input."""
        row = self._row(work.output)
        known = self._known(work.source)
        if row is None or row["settings"] != work.settings:
            return Standing("todo", known)
        state = self._settled(row)
        if state == "todo":
            return Standing("todo", known)
        settled = row["input_sha256"]
        is_settled = known is not None and known[1] == settled
        return Standing(state if is_settled else "todo", known, settled, state)

    def _settled(self, row: sqlite3.Row) -> State:
        """What the record says of the work, if its input is still the same."""
        if row["status"] == "done" and self._is_there(row):
            return "done"
        is_left = row["status"] == "failed" and row["code"] not in TRANSIENT
        return "failed" if is_left and not self._retries_failed else "todo"

    def _is_there(self, row: sqlite3.Row) -> bool:
        """Whether the files of a result are as they were written."""
        for name, n_bytes in json.loads(row["files"]):
            try:
                if stamp_of(self.out_dir / name).n_bytes != n_bytes:
                    return False
            except OSError:
                return False
        return True

    def _known(self, source: Path) -> tuple[Stamp, str] | None:
        row = self._one("SELECT * FROM inputs WHERE source=?", plain(source))
        if row is None:
            return None
        stamp = Stamp(row["n_bytes"], row["mtime_ns"])
        try:
            return (stamp, str(row["sha256"])) if stamp_of(source) == stamp else None
        except OSError:
            return None

    def claim(self, work: Work, run: str, is_alive: IsAlive) -> Standing:
        """Take a piece of work, unless it is settled or another living run is at it."""
        if self._is_held(work, run, is_alive):  # without keeping others from writing
            return Standing("held")
        with self.transaction():
            if self._is_held(work, run, is_alive):
                return Standing("held")
            standing = self.standing(work)
            if standing.state == "todo":
                self._database.execute(
                    "UPDATE clips SET run=? WHERE output=?", (run, plain(work.output))
                )
            return standing

    def _is_held(self, work: Work, run: str, is_alive: IsAlive) -> bool:
        row = self._row(work.output)
        held_by = None if row is None else row["run"]
        return held_by not in (None, run) and is_alive(held_by)

    def remember(self, source: Path, stamp: Stamp, sha256: str) -> None:
        """Keep the hash of an input, so that it need not be read to be known."""
        self._database.execute(
            "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?)",
            (plain(source), stamp.n_bytes, stamp.mtime_ns, sha256),
        )

    def drop(self, work: Work) -> None:
        """Give back a piece of work as it was."""
        self._database.execute("UPDATE clips SET run=NULL WHERE output=?", (plain(work.output),))

    def finish(
        self, work: Work, sha256: str, files: Sequence[Written], report: str, duration_s: float
    ) -> list[str]:
        """Put down a result that is in its place.

        Returns:
            Files of the result before it that are no longer part of it.
        """
        with self.transaction():
            row = self._row(work.output)
            before = json.loads(row["files"] or "[]") if row is not None else []
            named = json.dumps([[file.name, file.n_bytes] for file in files])
            self._end(work, sha256, status="done", code=None, reason=None, n_tries=0, files=named,
                      report=report, duration_s=duration_s)  # fmt: skip
        kept = {file.name for file in files}
        return [name for name, _ in before if name not in kept]

    def fail(self, work: Work, sha256: str | None, failure: Failure) -> None:
        """Put down why there is no result; what a former run wrote is no longer counted as one."""
        with self.transaction():
            row = self._row(work.output)
            n_tries = 1 + (row["n_tries"] if row is not None else 0)
            self._end(work, sha256, status="failed", code=failure.code,
                      reason=plain(failure.reason), n_tries=n_tries)  # fmt: skip

    def _end(self, work: Work, sha256: str | None, **values: Any) -> None:
        values |= {"input_sha256": sha256, "settings": work.settings, "run": None}
        values["ended_s"] = time.time()
        columns = ", ".join(f"{name}=?" for name in values)
        self._database.execute(
            f"UPDATE clips SET {columns} WHERE output=?", (*values.values(), plain(work.output))
        )

    def release(self, run: str) -> None:
        """Give back everything a run holds."""
        self._database.execute("UPDATE clips SET run=NULL WHERE run=?", (run,))

    def failures(self) -> list[FailedClip]:
        """Every clip that failed, by name of its output."""
        query = (
            "SELECT source, output, code, reason, n_tries, ended_s FROM clips "
            "WHERE status='failed' ORDER BY output"
        )
        return [FailedClip(*row) for row in self._database.execute(query)]

    def _row(self, output: str) -> sqlite3.Row | None:
        return self._one("SELECT * FROM clips WHERE output=?", plain(output))

    def _one(self, query: str, *values: Any) -> sqlite3.Row | None:
        found: sqlite3.Row | None = self._database.execute(query, values).fetchone()
        return found
