"""The data that flows through the product; validated once, never changed in place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from preprocessing.timeline import VIDEO_FPS

Progress = Callable[[str, float, float], None]


def no_progress(stage: str, done: float, total: float) -> None:
    """Ignore progress; the default of every long call."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono sound on the clip's clock.

    Attributes:
        samples: `[L]` float32, nominal +-1, finite.
        sample_rate_hz: Samples per second.
        start_s: Time of the first sample on the clip's clock, seconds.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    start_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: The samples are not one-dimensional float32, or the rate is not positive.
        """
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            found = f"{self.samples.dtype} of shape {self.samples.shape}"
            raise ValueError(f"Waveform.samples: expected float32 [L], found {found}")
        if self.sample_rate_hz <= 0:
            raise ValueError(f"Waveform.sample_rate_hz: expected > 0, found {self.sample_rate_hz}")

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.samples.shape[0])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture.

    Attributes:
        index: Position in decoding order, from 0.
        time_s: Presentation time on the clip's clock, seconds.
        image: `[H, W, 3]` uint8 RGB, rotation applied.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]


class FrameStream(Protocol):
    """Pictures of one clip in presentation order; iterating again starts again."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height after rotation."""
        ...

    @property
    def n_damaged(self) -> int:
        """Packets that could not be decoded in the last full iteration."""
        ...

    @property
    def duration_s(self) -> float:
        """Expected length in seconds (0.0 where the container does not say)."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Decode from the start."""
        ...


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What the container said.

    Attributes:
        path: The file that was read.
        container: FFmpeg's name of the demuxer.
        audio_rate_hz: The sound's own rate.
        n_audio_channels: The sound's own channel count.
        n_audio_tracks: How many sound streams there are.
        has_video: Whether there is a moving picture (attached pictures do not count).
        fps: Average frame rate, 0.0 where unknown.
        warnings: Sentences about what was mended while reading.
    """

    path: Path
    container: str
    audio_rate_hz: int
    n_audio_channels: int
    n_audio_tracks: int
    has_video: bool
    fps: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clip:
    """One media file on one clock; each stream keeps its own start."""

    audio: Waveform
    video: FrameStream | None
    source: SourceInfo


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces in one picture.

    Attributes:
        boxes_xyxy: `[N, 4]` float32, source pixels, half-open.
        scores: `[N]` float32 in 0..1.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: The shapes disagree.
        """
        n_faces = self.scores.shape[0]
        if self.boxes_xyxy.shape != (n_faces, 4) or self.scores.ndim != 1:
            found = f"boxes {self.boxes_xyxy.shape}, scores {self.scores.shape}"
            raise ValueError(f"Detections: expected [N, 4] and [N], found {found}")


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face followed over time.

    Attributes:
        track_id: 1, 2, ... in order of first appearance.
        frame_indices: `[N]` int64, increasing, without holes inside the track.
        times_s: `[N]` float64, clip clock.
        boxes_xyxy: `[N, 4]` float32, source pixels, half-open.
        scores: `[N]` float32; 0.0 where the box was bridged between detections.
    """

    track_id: int
    frame_indices: NDArray[np.int64]
    times_s: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: The lengths disagree or the track is empty.
        """
        n_frames = self.frame_indices.shape[0]
        lengths = {n_frames, self.times_s.shape[0], self.boxes_xyxy.shape[0], self.scores.shape[0]}
        if n_frames == 0 or len(lengths) != 1 or self.boxes_xyxy.shape[1:] != (4,):
            raise ValueError(f"FaceTrack {self.track_id}: lengths disagree or zero: {lengths}")


@dataclass(frozen=True, slots=True)
class MouthTrack:
    """Mouth crops of one face at 25 fps, frame v at `start_s + v / 25`.

    Attributes:
        crops: `[V, H, W]` uint8 grey.
        is_visible: `[V]` bool; False = absent and the crop is zero.
        start_s: Time of frame 0 on the clip's clock: the start of the sound.
        landmarks_px: `[V, 20, 2]` float32 mouth points (iBUG 48-67), source pixels; NaN if absent.
        is_turned: `[V]` bool, or empty for nowhere: the mouth is absent because the head is turned
            away, and not seen from the front around then either.
        is_obscured: Likewise: because something is before it, or it is too dark.
        lag_frames: Part of a frame by which the picture still comes late, -1..1, which no crop is
            moved by: features of neighbouring frames are mixed instead.
    """

    crops: NDArray[np.uint8]
    is_visible: NDArray[np.bool_]
    start_s: float
    landmarks_px: NDArray[np.float32]
    is_turned: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    is_obscured: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    lag_frames: float = 0.0

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: The lengths disagree, or the lag is more than a frame.
        """
        if abs(self.lag_frames) > 1:
            raise ValueError(f"MouthTrack: expected lag_frames -1..1, found {self.lag_frames}")
        n_frames = self.crops.shape[0]
        if self.is_visible.shape != (n_frames,) or self.landmarks_px.shape != (n_frames, 20, 2):
            raise ValueError(
                f"MouthTrack: expected {n_frames} frames everywhere, found is_visible "
                f"{self.is_visible.shape}, landmarks {self.landmarks_px.shape}"
            )
        for name in ("is_turned", "is_obscured"):
            shape = getattr(self, name).shape
            if shape not in ((0,), (n_frames,)):
                raise ValueError(f"MouthTrack: {name}: {shape} for {n_frames} frames")

    @property
    def turned_s(self) -> float:
        """Seconds for which the head is turned away."""
        return float(self.is_turned.sum()) / VIDEO_FPS

    @property
    def obscured_s(self) -> float:
        """Seconds for which something is before the mouth, or it is too dark."""
        return float(self.is_obscured.sum()) / VIDEO_FPS


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """What `pipeline.prepare` gives to the `Enhancer`.

    Attributes:
        audio: 16 kHz mono.
        tracks: Every face that was followed.
        mouths: Mouth crops by track id.
        source: What the container said.
        n_video_frames: Pictures decoded.
        n_damaged: Packets skipped.
        stage_s: Seconds spent by stage.
        still_s: Seconds in which the picture stood still; no mouth is visible there.
    """

    audio: Waveform
    tracks: tuple[FaceTrack, ...]
    mouths: dict[int, MouthTrack]
    source: SourceInfo
    n_video_frames: int = 0
    n_damaged: int = 0
    stage_s: dict[str, float] = field(default_factory=dict)
    still_s: float = 0.0
