"""What a reading process does: hash, decode, follow faces, crop mouths; one clip at a time."""

import logging
import os
import signal
import threading
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import torch

from avse.batch.work import Failure, Stamp, file_sha256, stamp_of
from models.errors import ModelError
from preprocessing.errors import MediaError
from preprocessing.pipeline import PipelineConfig, prepare
from preprocessing.types import MouthTrack, PreparedClip

logger = logging.getLogger(__name__)

BYTES_IN_MESSAGE = 16 * 2**20
"""Crops beyond this go by file, so that a long clip lies in no memory."""


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A clip to be read.

    Attributes:
        number: Of the task.
        path: The clip.
        pipeline: How it is read.
        known: Hash of the file as it was with a stamp; None: take it.
        settled_sha256: There is nothing to do if the file has this hash.
        folder: For crops that are too many for a message; None: no message is too long.
    """

    number: int
    path: Path
    pipeline: PipelineConfig
    known: tuple[Stamp, str] | None
    settled_sha256: str | None
    folder: Path | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of a task.

    Attributes:
        number: Of the task.
        stamp: Of the file; None where it is not there.
        input_sha256: Its hash.
        audio_s: Length of the clip; None where there is nothing to do or it failed.
        prepared: The clip, where it is not kept elsewhere.
        crop_files: Mouth crops by track that lie in files.
        failure: Why it failed.
    """

    number: int
    stamp: Stamp | None = None
    input_sha256: str | None = None
    audio_s: float | None = None
    prepared: PreparedClip | None = None
    crop_files: tuple[tuple[int, Path], ...] = ()
    failure: Failure | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there was nothing to do."""
        return self.audio_s is None and self.failure is None


def serve(connection: Connection) -> None:
    """Read clips until the other side is gone; the body of a reading process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        connection.send(None)
        while True:
            connection.send(read(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _end_with_parent() -> None:
    """A killed main process leaves nobody at work."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def read(task: ReadTask) -> Reading:
    """Carry out a task; whatever goes wrong becomes a failure of this clip alone."""
    stamp = digest = None
    try:
        stamp = stamp_of(task.path)
        is_known = task.known is not None and task.known[0] == stamp
        digest = task.known[1] if task.known and is_known else file_sha256(task.path)
        if digest == task.settled_sha256:
            return Reading(task.number, stamp, digest)
        prepared = prepare(task.path, task.pipeline)
        if stamp_of(task.path) != stamp:
            failure = Failure("input_changed", "the file changed while it was read")
            return Reading(task.number, failure=failure)
        audio_s = prepared.audio.duration_s
        prepared, files = _without_large_crops(prepared, task)
        return Reading(task.number, stamp, digest, audio_s, prepared, files)
    except Exception as error:
        return Reading(task.number, stamp, digest, failure=failure_of(error))


def failure_of(error: BaseException) -> Failure:
    """What went wrong with a clip, as it is put down."""
    if isinstance(error, MediaError):
        return Failure(error.code, f"expected {error.expected}, found {error.found}")
    if isinstance(error, ModelError):
        return Failure(error.code, str(error))
    if isinstance(error, FileNotFoundError):
        return Failure("not_found", "no such file")
    if isinstance(error, OSError):
        return Failure("undecodable", f"cannot be read: {error.strerror or error}")
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return Failure("no_memory", "not enough memory")
    logger.info("a fault of avse:", exc_info=error)
    return Failure("internal", f"a fault of avse: {type(error).__name__}: {error}")


def _without_large_crops(
    prepared: PreparedClip, task: ReadTask
) -> tuple[PreparedClip, tuple[tuple[int, Path], ...]]:
    """The clip with large crops put into files."""
    mouths = dict(prepared.mouths)
    files = []
    for track_id, mouth in prepared.mouths.items():
        if task.folder is not None and mouth.crops.nbytes > BYTES_IN_MESSAGE:
            path = task.folder / f"{task.number}.{track_id}.npy"
            np.save(path, mouth.crops)
            files.append((track_id, path))
            mouths[track_id] = _with_crops(mouth, np.zeros((len(mouth.crops), 0, 0), np.uint8))
    return replace(prepared, mouths=mouths), tuple(files)


def with_large_crops(reading: Reading) -> PreparedClip | None:
    """The clip with its crops mapped from their files, which lose their names."""
    if reading.prepared is None:
        return None
    mouths = dict(reading.prepared.mouths)
    for track_id, path in reading.crop_files:
        crops = np.load(path, mmap_mode="c")
        path.unlink()
        mouths[track_id] = _with_crops(mouths[track_id], crops)
    return replace(reading.prepared, mouths=mouths)


def _with_crops(mouth: MouthTrack, crops: np.ndarray) -> MouthTrack:
    return replace(mouth, crops=crops)
