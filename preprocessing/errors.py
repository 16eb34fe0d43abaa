"""Errors about media files: each names the file, what was expected and what was found."""

from pathlib import Path


class MediaError(Exception):
    """A media file that cannot be used as asked.

    Args:
        source: The file (or a short name of it) the error is about.
        expected: What the caller needed, in words.
        found: What was there instead, in words.
    """

    code = "undecodable"

    def __init__(self, source: Path | str, expected: str, found: str) -> None:
        """Keep the three parts and build the one-line message."""
        self.source = str(source)
        self.expected = expected
        self.found = found
        super().__init__(f"{self.source}: expected {expected}, found {found}")


class MissingFile(MediaError):
    """The path does not exist or is not a regular file."""

    code = "not_found"


class Unreadable(MediaError):
    """FFmpeg could not open or decode the file."""

    code = "undecodable"


class UnsupportedContainer(MediaError):
    """The container is not on the list of accepted demuxers."""

    code = "unsupported_container"


class UnsupportedCodec(MediaError):
    """A stream uses a codec that is not accepted."""

    code = "unsupported_codec"


class NoAudioStream(MediaError):
    """There is no sound to enhance."""

    code = "no_audio"


class TooShort(MediaError):
    """The sound is shorter than one analysis window."""

    code = "too_short"


class TooLong(MediaError):
    """The clip is longer than the limit."""

    code = "too_long"


class ResolutionLimit(MediaError):
    """A picture is larger than the limit."""

    code = "resolution_limit"


class FrameRateLimit(MediaError):
    """The frame rate is above the limit."""

    code = "frame_rate_limit"


class TooManyStreams(MediaError):
    """The container holds more streams than the limit."""

    code = "too_many_streams"


class TooDamaged(MediaError):
    """More packets were undecodable than the budget allows."""

    code = "undecodable"


class FaceNotFound(MediaError):
    """The face that was asked for is not in the picture."""

    code = "face_not_found"


class OutputError(MediaError):
    """The result could not be written."""

    code = "output_error"
