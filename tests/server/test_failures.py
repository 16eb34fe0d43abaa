"""Every exception has a public code that the API knows, and says no path."""

import errno
from pathlib import Path

import pytest

from models.errors import BundleNotFound
from preprocessing import errors as media
from preprocessing.target import FaceChoiceInvalid
from server.errors import CODES
from server.failures import JobFailed, failure_of

PATH = Path("/spool/job_1/input")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobFailed("too_long", "x"), "too_long"),
        (media.NoAudioStream(PATH, "a sound", "none"), "no_audio"),
        (media.MissingFile(PATH, "a file", "none"), "internal"),
        (media.OutputError(PATH, "a picture to put the sound under", "none"), "invalid_request"),
        (media.OutputError(PATH, "a picture codec that .mp4 can hold", "x"), "unsupported_codec"),
        (media.OutputError(PATH, "a file that can be written", "x"), "internal"),
        (BundleNotFound("x"), "model_not_found"),
        (MemoryError(), "undecodable"),
        (FaceChoiceInvalid("x"), "invalid_request"),
        (OSError(errno.ENOSPC, "full", str(PATH)), "insufficient_storage"),
        (RuntimeError(str(PATH)), "internal"),
    ],
)
def test_codes(error: Exception, code: str) -> None:
    failure = failure_of(error)
    assert failure.code == code
    assert failure.code in CODES
    assert "/spool" not in failure.detail


def test_every_media_error_has_a_known_code() -> None:
    for kind in vars(media).values():
        if isinstance(kind, type) and issubclass(kind, media.MediaError):
            assert failure_of(kind(PATH, "this", "that")).code in CODES


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "insufficient_storage"), (errno.EFBIG, "insufficient_storage")],
)
def test_what_the_system_said_below_counts(number: int, code: str) -> None:
    error = media.OutputError(PATH, "a file that can be written", "no")
    error.__cause__ = OSError(number, "no")
    assert failure_of(error).code == code
