"""Any exception of a job -> public code and one sentence without paths."""

import errno
import logging
from dataclasses import dataclass
from pathlib import Path

from models.errors import BundleNotFound
from preprocessing.errors import MediaError, MissingFile, OutputError
from preprocessing.target import FaceChoiceInvalid

logger = logging.getLogger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_INTERNAL_DETAIL = "something went wrong here; the log has it under the job's id"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, as its user sees it."""

    code: str
    detail: str


class JobFailed(Exception):
    """A step of a job failed in a way that has a public code."""

    def __init__(self, code: str, detail: str) -> None:
        """Keep both."""
        super().__init__(f"{code}: {detail}")
        self.failure = Failure(code, detail)


class JobCanceled(Exception):
    """The job was canceled or taken away; its results are void."""


def failure_of(error: BaseException) -> Failure:
    """The public side of an exception; an unknown one is logged with its traceback."""
    if isinstance(error, JobFailed):
        return error.failure
    if has_no_room(error):
        return Failure("insufficient_storage", "the disk of the server is full")
    if isinstance(error, MediaError):
        return _of_media(error)
    if isinstance(error, FaceChoiceInvalid):
        return Failure("invalid_request", str(error))
    for kind, failure in _KNOWN.items():
        if isinstance(error, kind):
            return failure
    logger.error("a job failed", exc_info=error)
    return Failure("internal", _INTERNAL_DETAIL)


_KNOWN: dict[type[BaseException], Failure] = {
    BundleNotFound: Failure("model_not_found", "the model's files are not on this server"),
    MemoryError: Failure("undecodable", "reading the file takes more memory than is allowed"),
}


def _of_media(error: MediaError) -> Failure:
    if isinstance(error, OutputError):
        return _of_output(error)
    if isinstance(error, MissingFile):
        logger.error("an input is gone: %s", error.found)
        return Failure("internal", _INTERNAL_DETAIL)
    return Failure(error.code, f"expected {error.expected}, found {error.found}")


def _of_output(error: OutputError) -> Failure:
    """A result that the chosen kind of file cannot hold is the request's fault, not ours."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EFBIG:
        return Failure("insufficient_storage", "the result is larger than is allowed")
    if "picture" in error.expected:
        code = "unsupported_codec" if "codec" in error.expected else "invalid_request"
        suffix = Path(error.source).suffix
        return Failure(code, f"output {suffix}: expected {error.expected}, found {error.found}")
    logger.error("a result could not be written", exc_info=error)
    return Failure("internal", _INTERNAL_DETAIL)


def has_no_room(error: BaseException | None) -> bool:
    """Whether a full disk lies somewhere below."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False
