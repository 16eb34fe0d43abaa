"""One bad or odd media file: how it is made and what must come of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocessing import errors
from preprocessing.errors import MediaError
from preprocessing.media_limits import MediaLimits
from preprocessing.types import PreparedClip

SERVICE_LIMITS = MediaLimits(
    max_pixels=9_400_000, max_duration_s=60.0, max_streams=8, max_fps=120.0
)
"""What the synchronous call of the service accepts."""

FINE = "fine"
UNREADABLE = (errors.Unreadable, errors.UnsupportedContainer)
DAMAGED = (*UNREADABLE, errors.TooDamaged, errors.TooShort, errors.NoAudioStream)
ANY_REFUSAL = (
    *DAMAGED,
    errors.UnsupportedCodec,
    errors.TooLong,
    errors.ResolutionLimit,
    errors.FrameRateLimit,
    errors.TooManyStreams,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case is built, and what it may try to reach.

    Attributes:
        path: The file to write.
        url: A web address on this machine that must see no request.
        udp_port: A port on this machine that must see no packet.
        neighbour: A good sound file beside it that must not be opened.
        marker: A file that appears where a pickle is loaded.
    """

    path: Path
    url: str = "http://127.0.0.1:9/a.ts"
    udp_port: int = 9
    neighbour: Path = Path("/dev/null")
    marker: Path = Path("/dev/null/marker")


Build = Callable[[Place], object]
Check = Callable[[PreparedClip], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A named file with its documented outcome.

    Attributes:
        name: Unique name.
        suffix: Suffix of the name a client would give it.
        build: Writes it.
        errors: Classes of the refusals that are right; empty where it must be read.
        is_fine: Whether reading it is right too.
        has_video: Whether it has a moving picture, None where both are right.
        duration_s: Length of its sound, to 60 ms; None where any is right.
        n_pictures: Pictures that come out of it, None where any number is right.
        warning: Part of a warning that must be given.
        audio_track: The sound track to ask for.
        check: More that must hold of what was read.
    """

    name: str
    suffix: str
    build: Build
    errors: tuple[type[MediaError], ...]
    is_fine: bool
    has_video: bool | None = None
    duration_s: float | None = None
    n_pictures: int | None = None
    warning: str = ""
    audio_track: int = 0
    check: Check | None = None

    @property
    def codes(self) -> frozenset[str]:
        """Codes of the problems that are right."""
        return frozenset(error.code for error in self.errors)


CASES: dict[str, Case] = {}
"""Every case by name, in the order of the files."""


def add(name: str, suffix: str, build: Build, *outcomes: object, **expected: object) -> None:
    """Register one case."""
    if name in CASES:
        raise ValueError(f"case {name} is there twice")
    refusals = tuple(outcome for outcome in outcomes if outcome != FINE)
    CASES[name] = Case(name, suffix, build, refusals, FINE in outcomes, **expected)  # type: ignore[arg-type]


def case(name: str, suffix: str, *outcomes: object, **expected: object) -> Callable[[Build], Build]:
    """Register the function below as the builder of a case."""

    def register(build: Build) -> Build:
        add(name, suffix, build, *outcomes, **expected)
        return build

    return register


def written(content: bytes | str) -> Build:
    """A builder that writes these bytes."""
    body = content.encode() if isinstance(content, str) else content
    return lambda place: place.path.write_bytes(body)
