"""Where the files of jobs lie: one folder each, names made here, nothing of a user's file name."""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_JOB_ID = re.compile(r"job_[0-9a-f]{24}")
_DATABASE = "jobs.sqlite3"
INPUT = "input"
THUMBS = "thumbs"
PART_SUFFIX = ".part"
_ASIDE = ".gone."
# Files a job may hold by the name of the input they came from.
INPUT_NAMES = (INPUT, "reference", "estimate", "noisy", "skeleton")


class SpoolTaken(Exception):
    """Another server works with the same folder."""


class Spool:
    """The folder of all jobs and their database.

    Args:
        root: Made if it is not there, readable by this user only.
    """

    def __init__(self, root: Path) -> None:
        """Make the folder."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def database_path(self) -> Path:
        """The one file of all state."""
        return self.root / _DATABASE

    def folder(self, job_id: str) -> Path:
        """The job's folder, whether or not it exists.

        Raises:
            ValueError: The id is not one of ours.
        """
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError("expected a job id made by this server")
        return self.root / job_id

    def create(self, job_id: str) -> Path:
        """Make the job's folder."""
        folder = self.folder(job_id)
        folder.mkdir(mode=0o700)
        return folder

    def input_path(self, job_id: str, name: str = INPUT) -> Path:
        """Where an upload lies: a fixed name without a suffix.

        Raises:
            ValueError: The name is not one of `INPUT_NAMES`.
        """
        if name not in INPUT_NAMES:
            raise ValueError(f"expected one of {INPUT_NAMES}")
        return self.folder(job_id) / name

    def output_path(self, job_id: str, file_name: str) -> Path:
        """Where a result lies.

        Raises:
            ValueError: The name would leave the job's folder.
        """
        folder = self.folder(job_id)
        path = folder / file_name
        if path.parent not in (folder, folder / THUMBS) or path.name in ("", ".", ".."):
            raise ValueError("expected a file name inside the job's folder")
        return path

    def delete(self, job_id: str) -> None:
        """Remove the job's folder and all that is in it; fine if it is gone.

        Moved aside first, so that a worker still writing cannot put anything new into it.
        """
        aside = self.root / f"{_ASIDE}{job_id}.{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):
            os.rename(self.folder(job_id), aside)
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other API processes out; the lock ends with the process, however it ends.

        Raises:
            SpoolTaken: Another process has it.
        """
        with (self.root / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SpoolTaken("another server uses this spool folder") from error
            yield

    def job_ids(self) -> list[str]:
        """Ids of the folders that are there."""
        return sorted(path.name for path in self.root.iterdir() if _JOB_ID.fullmatch(path.name))

    def delete_all_but(self, known: Iterable[str]) -> list[str]:
        """Remove folders of jobs that are not in `known`; returns their ids."""
        orphans = sorted(set(self.job_ids()) - set(known))
        for job_id in orphans:
            self.delete(job_id)
        for aside in self.root.glob(f"{_ASIDE}*"):
            shutil.rmtree(aside, ignore_errors=True)
        return orphans

    def free_bytes(self) -> int:
        """Room left on the disk for an ordinary user."""
        return shutil.disk_usage(self.root).free

    def used_bytes(self) -> int:
        """Bytes of all jobs' files."""
        return sum(_folder_bytes(self.root / job_id) for job_id in self.job_ids())


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def part_path(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(path.name + PART_SUFFIX)


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file its name, in one step."""
    os.replace(part, path)
