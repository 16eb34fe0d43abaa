"""A media file -> sound, face tracks and mouth crops, in one pass over the pictures."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mouth_clarity import MouthClarityNet
from models.mouth_landmarks import MouthLandmarksNet
from preprocessing.faces import FaceDetector, make_detector
from preprocessing.media import MediaLimits, open_clip
from preprocessing.mouth import CropConfig, MouthCropper, load_mouth_landmarks
from preprocessing.mouth_clarity import load_mouth_clarity
from preprocessing.stillness import Span, StillPictures
from preprocessing.timeline import n_video_frames
from preprocessing.tracking import FaceTracker, TrackedFrame, TrackingConfig
from preprocessing.types import (
    Clip,
    FaceTrack,
    Frame,
    FrameStream,
    MouthTrack,
    PreparedClip,
    Progress,
    no_progress,
)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """How files become arrays.

    Attributes:
        detector: Name of the face detector.
        detector_options: Its keyword arguments, as pairs.
        tracking: How faces are followed.
        crops: How mouths are cut out.
        limits: What a media file may ask for.
        audio_track: Which sound stream is read.
        ignores_video: Read the sound only.
        thumbnail_px: Long side of the tracks' thumbnails, see `prepare_faces_only`.
    """

    detector: str = "embedded"
    detector_options: tuple[tuple[str, Any], ...] = ()
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    limits: MediaLimits = field(default_factory=MediaLimits)
    audio_track: int = 0
    ignores_video: bool = False
    thumbnail_px: int = 320


@dataclass(frozen=True, slots=True)
class Tools:
    """The small networks of the preprocessing, opened once.

    Attributes:
        detector: Finds faces.
        landmarks: Finds their mouths.
        clarity: Tells whether lips are to be seen there; None: everywhere.
    """

    detector: FaceDetector
    landmarks: MouthLandmarksNet
    clarity: MouthClarityNet | None = None


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture that shows who a track is.

    Attributes:
        track_id: The track.
        time_s: When the picture was on screen.
        image: `[H, W, 3]` uint8 RGB, the whole picture made small.
        box_xyxy: `[4]` the face in `image`.
    """

    track_id: int
    time_s: float
    image: NDArray[np.uint8]
    box_xyxy: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FacesOnly:
    """The tracks of a clip with a picture of each.

    Attributes:
        tracks: Every face that was followed.
        thumbnails: By track id.
        n_video_frames: Pictures decoded.
        n_damaged: Packets skipped.
    """

    tracks: tuple[FaceTrack, ...]
    thumbnails: dict[int, Thumbnail]
    n_video_frames: int
    n_damaged: int


def open_tools(detector: str = "embedded", **options: Any) -> Tools:
    """Open the detector, with its options, and the networks that look at mouths.

    Raises:
        ModelError: One of them is not there or does not fit.
    """
    clarity = load_mouth_clarity()
    return Tools(make_detector(detector, **options), load_mouth_landmarks(), clarity)


@lru_cache(maxsize=2)
def _shared_tools(detector: str, options: tuple[tuple[str, Any], ...]) -> Tools:
    return open_tools(detector, **dict(options))


def prepare(
    path: Path,
    config: PipelineConfig | None = None,
    progress: Progress = no_progress,
    *,
    tools: Tools | None = None,
) -> PreparedClip:
    """Read a clip: its sound, every face and every mouth.

    Args:
        path: Any container FFmpeg reads; without a moving picture there are no tracks.
        config: How.
        progress: Called with the stages "decode" (sound) and "faces" (pictures), in seconds.
        tools: Opened networks; by default they are opened once and kept.

    Returns:
        The clip, its pictures gone, with the seconds spent in each stage.

    Raises:
        MediaError: The file cannot be used.
        ModelError: A network is not there.
    """
    config = config or PipelineConfig()
    start = time.perf_counter()
    clip = open_clip(path, limits=config.limits, audio_track=config.audio_track, progress=progress)
    audio_s = time.perf_counter() - start
    if clip.video is None or config.ignores_video:
        return PreparedClip(clip.audio, (), {}, clip.source, stage_s={"audio": audio_s})
    tools = tools or _shared_tools(config.detector, config.detector_options)
    return _with_faces(clip, clip.video, config, progress, tools, audio_s)


def prepare_faces_only(
    path: Path,
    config: PipelineConfig | None = None,
    progress: Progress = no_progress,
    *,
    detector: FaceDetector | None = None,
) -> FacesOnly:
    """Follow the faces of a clip and keep a picture of each, for `avse faces`.

    Raises:
        MediaError: The file cannot be used.
        ModelError: The detector is not there.
    """
    config = config or PipelineConfig()
    clip = open_clip(path, limits=config.limits, audio_track=config.audio_track, progress=progress)
    if clip.video is None:
        return FacesOnly((), {}, 0, 0)
    detector = detector or make_detector(config.detector, **dict(config.detector_options))
    tracker = FaceTracker(detector, config.tracking)
    gallery = _Gallery(config.thumbnail_px)
    frames = _Timed(clip.video, progress)
    for tracked in _follow(frames, tracker):
        gallery.add(tracked)
    tracks = tracker.tracks()
    thumbnails = gallery.thumbnails({number: t.track_id for number, t in tracks.items()})
    return FacesOnly(tuple(tracks.values()), thumbnails, frames.n_frames, clip.video.n_damaged)


class _Timed:
    """Pictures of a stream; counts them and the seconds spent in decoding."""

    def __init__(self, video: FrameStream, progress: Progress) -> None:
        self._video = video
        self._progress = progress
        self.n_frames = 0
        self.decode_s = 0.0

    def __iter__(self) -> Iterator[Frame]:
        frames = iter(self._video)
        while True:
            start = time.perf_counter()
            frame = next(frames, None)
            self.decode_s += time.perf_counter() - start
            if frame is None:
                return
            self.n_frames += 1
            self._progress("faces", frame.time_s, self._video.duration_s)
            yield frame


def _follow(frames: _Timed, tracker: FaceTracker) -> Iterator[TrackedFrame]:
    for frame in frames:
        yield from tracker.push(frame)
    yield from tracker.finish()


def _with_faces(
    clip: Clip,
    video: FrameStream,
    config: PipelineConfig,
    progress: Progress,
    tools: Tools,
    audio_s: float,
) -> PreparedClip:
    """One pass: decode, detect and track, crop."""
    start = time.perf_counter()
    frames = _Timed(video, progress)
    tracker = FaceTracker(tools.detector, config.tracking)
    cropper = MouthCropper(tools.landmarks, config.crops, tools.clarity)
    still = StillPictures()
    mouth_s = 0.0
    for tracked in _follow(frames, tracker):
        still.add(tracked.frame)
        mouth_start = time.perf_counter()
        for number, box in tracked.boxes.items():
            cropper.add(number, tracked.frame, box)
        mouth_s += time.perf_counter() - mouth_start
    mouth_start = time.perf_counter()
    tracks = tracker.tracks()
    still_s = still.spans_s()
    mouths = _numbered_anew(clip, cropper, tracks, still_s)
    mouth_s += time.perf_counter() - mouth_start
    stages = {
        "audio": audio_s,
        "decode": frames.decode_s,
        "detect": tracker.detect_s,
        "mouth": mouth_s,
    }
    stages["track"] = time.perf_counter() - start + audio_s - sum(stages.values())
    return PreparedClip(
        clip.audio,
        tuple(tracks.values()),
        mouths,
        clip.source,
        n_video_frames=frames.n_frames,
        n_damaged=video.n_damaged,
        still_s=sum(last_s - first_s for first_s, last_s in still_s),
        stage_s=stages,
    )


def _numbered_anew(
    clip: Clip, cropper: MouthCropper, tracks: dict[int, FaceTrack], still_s: Sequence[Span]
) -> dict[int, MouthTrack]:
    """Mouths of the kept tracks that were ever among the largest faces, by track id."""
    mouths = cropper.finish(clip.audio.start_s, n_video_frames(clip.audio.n_samples), still_s)
    return {t.track_id: mouths[number] for number, t in tracks.items() if number in mouths}


class _Gallery:
    """The largest view of each face, as a small picture."""

    def __init__(self, long_side_px: int) -> None:
        self._long_side_px = long_side_px
        self._best: dict[int, tuple[float, Thumbnail]] = {}

    def add(self, tracked: TrackedFrame) -> None:
        for number, box in tracked.boxes.items():
            height_px = float(box[3] - box[1])
            if height_px > 1.1 * self._best.get(number, (0.0,))[0]:
                self._best[number] = (height_px, self._thumbnail(number, tracked.frame, box))

    def _thumbnail(self, number: int, frame: Frame, box: NDArray[np.float32]) -> Thumbnail:
        height, width = frame.image.shape[:2]
        scale = min(1.0, self._long_side_px / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)
        return Thumbnail(number, frame.time_s, small, box * np.float32(scale))

    def thumbnails(self, track_ids: dict[int, int]) -> dict[int, Thumbnail]:
        """Thumbnails of the kept tracks, by their ids."""
        found = {}
        for number, track_id in track_ids.items():
            if number in self._best:
                best = self._best[number][1]
                found[track_id] = Thumbnail(track_id, best.time_s, best.image, best.box_xyxy)
        return found
