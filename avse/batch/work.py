"""One clip to be done: the file, what is wanted of it and the name of its result."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from avse.types import EnhanceOptions

SUFFIXES = (".wav", ".flac", ".mp3", ".opus", ".mp4", ".mkv", ".webm")
TRANSIENT = frozenset({"input_changed", "no_memory", "not_found", "output_error", "worker_lost"})
"""Failures that may be gone next time: the next run tries these clips again by itself."""

_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a file is known without reading it.

    Attributes:
        n_bytes: Its size.
        mtime_ns: When it was last written.
    """

    n_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Work:
    """One clip to be done.

    Attributes:
        source: The input, absolute.
        output: Name of the result below the output folder; the suffix says what is written.
        options: What the user chose.
        settings: Hash of bundle and options: with the input's own, the key of the result.
    """

    source: Path
    output: str
    options: EnhanceOptions
    settings: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a clip has no result.

    Attributes:
        code: Stable; as the service names it.
        reason: One sentence.
    """

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Written:
    """One file of a result.

    Attributes:
        name: Below the output folder.
        n_bytes: Its size.
    """

    name: str
    n_bytes: int


def settings_hash(bundle: str, detector: str, suffix: str, options: EnhanceOptions) -> str:
    """What, beside the input, a result depends on.

    Args:
        bundle: Name and sha256 of the weights.
        detector: Name of the face detector.
        suffix: Of the output.
        options: The user's choices.
    """
    chosen = {"bundle": bundle, "detector": detector, "suffix": suffix, **asdict(options)}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def stamp_of(path: Path) -> Stamp:
    """The file's size and time.

    Raises:
        OSError: It is not there.
    """
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def plain(name: str | Path) -> str:
    """A file name as text that can be stored: bytes that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
