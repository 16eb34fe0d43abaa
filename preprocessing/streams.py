"""From a clip to the streams that a recognition head looks at: pictures, depth, flow, skeleton."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import MediaError, TooLong
from preprocessing.media import MediaLimits, open_frames
from preprocessing.motion import farneback_flow
from preprocessing.people import bridged
from preprocessing.picture_store import PictureStore
from preprocessing.pose import PoseEstimator
from preprocessing.skeleton_file import read_skeleton
from preprocessing.stream_config import StreamConfig
from preprocessing.types import Frame, FrameStream, Progress, no_progress

PictureKind = Literal["auto", "depth", "colour"]

HEAD_LIMITS = MediaLimits(max_duration_s=1800.0)
FLOW_STEPS = 127
GREY_CHROMA = 2.0
BLACK_LEVEL = 8
MIN_BACKGROUND_SHARE = 0.3
PICTURES_FOR_KIND = 32

_GRID_TOLERANCE_S = 1e-6

Bytes = NDArray[np.uint8]
People = tuple[NDArray[np.float32], NDArray[np.float64]]


class NoStream(MediaError):
    """Nothing in the clip is what the head looks at."""

    code = "undecodable"


@dataclass(frozen=True, slots=True)
class StreamSources:
    """Where streams come from that the pictures alone do not give.

    Attributes:
        skeleton: `.npy` or `.npz`, `[T, J, 3]` or `[T, P, J, 3]` in metres over the whole clip.
        pose: Finds skeletons in the pictures where no file is given.
        picture: What the pictures are; `auto` tells depth by its missing colour and background.
    """

    skeleton: Path | None = None
    pose: PoseEstimator | None = None
    picture: PictureKind = "auto"


@dataclass(frozen=True, slots=True)
class PreparedStreams:
    """A clip as a head takes it, before it is cut into windows.

    Attributes:
        times_s: `[N]` float64, instants of the pictures on the clip's clock, `1 / fps` apart.
        duration_s: Length of the clip's pictures.
        arrays: By stream: `rgb` `[N, S, S, 3]` and `depth` `[N, S, S]` uint8; `flow`
            `[N, S, S, 2]` int8, 127 = the limit, from the picture before (none in the first);
            `skeleton` `[M, P, J, 3]` float32, metres, zeros for a person who is not there.
        skeleton_times_s: `[M]` float64; the skeleton keeps its own rate.
        notes: Sentences about what was missing or stands in for something else.
    """

    times_s: NDArray[np.float64]
    duration_s: float
    arrays: dict[str, NDArray[Any]]
    skeleton_times_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: There is no stream or no picture, or lengths disagree.
        """
        if not self.arrays or not len(self.times_s):
            raise ValueError("PreparedStreams: expected a stream and a picture, found none")
        for name, array in self.arrays.items():
            times_s = self.skeleton_times_s if name == "skeleton" else self.times_s
            if len(array) != len(times_s):
                found = f"{len(array)} frames and {len(times_s)} times"
                raise ValueError(f"PreparedStreams.{name}: {found}")

    @property
    def streams(self) -> tuple[str, ...]:
        """What is there to look at."""
        return tuple(self.arrays)


def prepare_streams(
    path: Path | str,
    config: StreamConfig,
    sources: StreamSources = StreamSources(),
    *,
    limits: MediaLimits = HEAD_LIMITS,
    progress: Progress = no_progress,
) -> PreparedStreams:
    """Decode a clip once, as a stream, into what a head looks at.

    Args:
        path: Any file with pictures; sound is not needed.
        config: The head's.
        sources: Skeletons, and what the pictures are.
        limits: The longest and largest clip that is taken.
        progress: Called as `("decode", seconds done, seconds)`.

    Raises:
        MediaError: The pictures cannot be read, or the skeleton does not fit them.
        NoStream: Nothing in the clip is what the head looks at.
    """
    path = Path(path)
    video = open_frames(path, limits=limits)
    gathered = _Gathered(config, sources, limits.max_duration_s)
    gathered.read(path, video, progress)
    notes = [*gathered.notes()]
    arrays, standing_in = _choose(gathered)
    skeleton_times_s = np.zeros(0)
    if "skeleton" in config.streams:
        found, note = _skeleton(gathered, path)
        notes += [note] if note else []
        if found is not None:
            arrays["skeleton"], skeleton_times_s = found
    if not set(arrays) - set(standing_in):
        notes += standing_in.values()
    else:
        notes += [_LEFT_OUT[name] for name in standing_in]
        arrays = {name: array for name, array in arrays.items() if name not in standing_in}
    if config.is_mirrored and not gathered.is_depth and set(arrays) - {"skeleton"}:
        arrays = {name: mirrored(name, array) for name, array in arrays.items()}
        notes.append("the pictures were mirrored, as those are that the head learned from")
    if not arrays:
        raise NoStream(path, f"one of {', '.join(config.streams)}", "none of them")
    ordered = {name: arrays[name] for name in config.streams if name in arrays}
    times_s = np.array(gathered.times_s)
    return PreparedStreams(times_s, gathered.duration_s, ordered, skeleton_times_s, tuple(notes))


def mirrored(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """A picture stream `[N, H, W, ...]` with left and right exchanged; skeletons stay."""
    if name == "skeleton":
        return array
    flipped = PictureStore()
    for picture in array:
        turned = picture[:, ::-1].copy()
        if name == "flow":
            turned[..., 0] *= -1  # within -127..127, so that int8 holds it
        flipped.append(turned)
    return flipped.array()


_LEFT_OUT = {
    "depth": "the pictures are not depth: the depth stream is left out",
    "rgb": "the pictures have no colour: the colour stream is left out",
}
_STANDS_IN = {
    "depth": "the pictures are not depth: their brightness stands in for it, expect little",
    "rgb": "the pictures have no colour: they stand in for colour, expect little",
}


class _Gathered:
    """What one pass over the pictures leaves behind."""

    def __init__(self, config: StreamConfig, sources: StreamSources, max_duration_s: float) -> None:
        self.config, self.sources = config, sources
        self.times_s: list[float] = []
        self.duration_s = 0.0
        self.grey, self.colour, self.flow = PictureStore(), PictureStore(), PictureStore()
        self.people: list[NDArray[np.float32]] = []
        self.source_fps = 0.0
        self._max_duration_s = max_duration_s
        self.last_s = 0.0
        self._n_colourful = 0
        self._background_shares: list[float] = []

    def read(self, path: Path, video: FrameStream, progress: Progress) -> None:
        """Decode; keep a small picture for each instant.

        Raises:
            TooLong: There are more pictures than the limit allows.
        """
        self.source_fps = float(getattr(video, "fps_nominal", self.config.fps))
        n_max = self._max_duration_s * self.config.fps + 1
        for time_s, frame, is_new in on_grid(self._watched(video), self.config.fps):
            if len(self.times_s) > n_max:
                raise TooLong(path, f"at most {self._max_duration_s:g} s of pictures", "more")
            self.times_s.append(time_s)
            self._add(frame, is_new)
            progress("decode", time_s - self.times_s[0], video.duration_s)
        self.duration_s = self.last_s - self.times_s[0] + 1.0 / max(self.source_fps, 1e-3)

    def _watched(self, video: FrameStream) -> Iterator[Frame]:
        for frame in video:
            self.last_s = frame.time_s
            yield frame

    @property
    def is_depth(self) -> bool:
        """Whether the pictures are depth: grey all along, much of them background."""
        if self.sources.picture != "auto":
            return self.sources.picture == "depth"
        share = float(np.mean(self._background_shares))
        return self._n_colourful == 0 and share >= MIN_BACKGROUND_SHARE

    def notes(self) -> Iterator[str]:
        """What a low rate does to the flow."""
        if "flow" in self.config.streams and self.source_fps < 0.9 * self.config.fps:
            rates = f"{self.source_fps:g} pictures a second, fewer than {self.config.fps:g}"
            yield f"{rates}: the flow is poor"

    def _add(self, frame: Frame, is_new: bool) -> None:
        size_px, view = self.config.size_px, self.config.view
        image = frame.image
        if len(self._background_shares) < PICTURES_FOR_KIND:
            self._background_shares.append(float((image < BLACK_LEVEL).mean()))
            self._n_colourful += chroma(image) > GREY_CHROMA
        grey = view.cut(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8), size_px)
        if "flow" in self.config.streams:
            self.flow.append(self._motion(grey))
        if "rgb" in self.config.streams:
            self.colour.append(view.cut(image, size_px))
        if self._wants_pose:
            assert self.sources.pose is not None
            people = self.sources.pose.estimate(image, frame.time_s) if is_new else self.people[-1]
            self.people.append(people)
        self.grey.append(grey)

    @property
    def _wants_pose(self) -> bool:
        sources = self.sources
        is_wanted = "skeleton" in self.config.streams
        return is_wanted and sources.pose is not None and sources.skeleton is None

    def _motion(self, grey: Bytes) -> NDArray[np.int8]:
        if self.grey.last is None:
            return np.zeros((*grey.shape, 2), np.int8)
        flow = farneback_flow(self.grey.last, grey) / self.config.normalisation.flow.limit_px
        steps = np.round(np.clip(flow, -1, 1) * FLOW_STEPS)
        return np.asarray(steps, np.int8)


def on_grid(frames: Iterable[Frame], fps: float) -> Iterator[tuple[float, Frame, bool]]:
    """Instants `1 / fps` apart from the first picture on, each with the picture nearest to it.

    Yields:
        The instant in seconds, its picture, and whether it is another than before.
    """
    before: Frame | None = None
    given = -1
    start_s, n_given = 0.0, 0
    for frame in frames:
        if before is None:
            start_s = frame.time_s
        while (instant_s := start_s + n_given / fps) <= frame.time_s + _GRID_TOLERANCE_S:
            is_before = before is not None and instant_s - before.time_s < frame.time_s - instant_s
            nearest = before if before is not None and is_before else frame
            yield instant_s, nearest, nearest.index != given
            given, n_given = nearest.index, n_given + 1
        before = frame


def chroma(image: Bytes) -> float:
    """Mean difference between the colours of a picture, in levels; 0 for grey."""
    small = image[::4, ::4].astype(np.int16)
    return float((small.max(2) - small.min(2)).mean())


def _choose(gathered: _Gathered) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Picture streams that are wanted, and notes for those that are not what they are called."""
    wanted, is_depth = gathered.config.streams, gathered.is_depth
    arrays: dict[str, NDArray[Any]] = {}
    standing_in: dict[str, str] = {}
    if "flow" in wanted and len(gathered.flow) > 1:
        arrays["flow"] = gathered.flow.array()
    if "depth" in wanted:
        arrays["depth"] = gathered.grey.array()
        if not is_depth:
            standing_in["depth"] = _STANDS_IN["depth"]
    if "rgb" in wanted:
        arrays["rgb"] = gathered.colour.array()
        if is_depth:
            standing_in["rgb"] = _STANDS_IN["rgb"]
    return arrays, standing_in


def _skeleton(gathered: _Gathered, path: Path) -> tuple[People | None, str]:
    """People `[M, P, J, 3]` with their times, and what is to be said about them."""
    config, sources = gathered.config.skeleton, gathered.sources
    if sources.skeleton is not None:
        people = read_skeleton(sources.skeleton, path.stem, config.n_joints)[:, : config.max_people]
        times_s = np.linspace(gathered.times_s[0], gathered.last_s, len(people))
        return (people, times_s), ""
    if sources.pose is None:
        return None, "no skeleton was given and no pose estimator asked for: it is left out"
    people = bridged(gathered.people, config.n_joints, config.max_people)
    if not people.shape[1]:
        return None, f"{sources.pose.name} found nobody: the skeleton is left out"
    n_seen, n_all = sum(len(found) > 0 for found in gathered.people), len(gathered.people)
    note = f"{sources.pose.name} found somebody in {n_seen} of {n_all} pictures"
    return (people, np.array(gathered.times_s)), note if n_seen < n_all else ""
