"""Detections -> face tracks, in one pass: a few pictures are held back, none is decoded twice.

Faces are looked for in every fifth picture or so. When a face is seen again its boxes in between
are interpolated, and the pictures that all faces have passed are let go, with their boxes, to
whoever crops the mouths.
"""

import math
import time
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from preprocessing.boxes import area_px, pairwise_iou
from preprocessing.close_look import look_close
from preprocessing.cuts import CutConfig, CutDetector
from preprocessing.face_path import Box, FacePath
from preprocessing.faces import FaceDetector
from preprocessing.types import (
    Detections,
    FaceTrack,
    Frame,
    FrameStream,
    Progress,
    no_progress,
)

_CLOCK_SLACK_S = 0.006


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """How faces are followed.

    Attributes:
        detect_interval_s: Time between detections; 5 pictures at 25 fps.
        search_interval_s: Time between looks at the whole picture; in between, detections look only
            around the known faces, and no new face is found.
        max_close_faces: With more faces than this the whole picture is looked at every time.
        retry_interval_s: Time between detections at a start, after a cut and while a face is lost.
        max_gap_s: Longest gap in which a face may be lost and still be the same track.
        max_held_frames: Most pictures held back at once; bounds memory, and the gap at high rates.
        min_iou: Least overlap of one face in two detections.
        min_score: Least score that starts a track; weaker detections only continue one.
        min_mean_score: Least mean score of a track that is kept.
        min_face_px: Least short side of a box that starts a track.
        min_track_s: Shorter tracks are dropped.
        max_faces: Most faces of one picture that are passed on, the largest first.
        max_tracks: Most tracks of the clip, those with the most face on screen first.
        cuts: When a new shot starts; it ends all tracks.
    """

    detect_interval_s: float = 0.2
    search_interval_s: float = 0.6
    max_close_faces: int = 3
    retry_interval_s: float = 0.08
    max_gap_s: float = 0.5
    max_held_frames: int = 13
    min_iou: float = 0.25
    min_score: float = 0.7
    min_mean_score: float = 0.85
    min_face_px: float = 24.0
    min_track_s: float = 0.3
    max_faces: int = 6
    max_tracks: int = 64
    cuts: CutConfig = field(default_factory=CutConfig)


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """A picture whose faces are settled.

    Attributes:
        frame: The picture.
        boxes: `[4]` xyxy source pixels by running number of the track; see `FaceTracker.tracks`.
    """

    frame: Frame
    boxes: dict[int, Box]


class FaceTracker:
    """Follows the faces of a stream of pictures.

    `push` each picture in order, then `finish`; both return the pictures that are settled.

    Attributes:
        detect_s: Seconds spent in the detector so far.
        n_detected: Whole pictures given to the detector so far.
        n_close_looks: Looks around known faces so far.
    """

    def __init__(self, detector: FaceDetector, config: TrackingConfig | None = None) -> None:
        """Start before the first picture."""
        self._detector = detector
        self._config = config or TrackingConfig()
        self._cuts = CutDetector(self._config.cuts)
        self._held: list[Frame] = []
        self._live: list[FacePath] = []
        self._leaving: list[FacePath] = []
        self._paths: list[FacePath] = []
        self._last_look: Frame | None = None
        self._last_search_s = -math.inf
        self._is_alert = True
        self._n_paths = 0
        self.detect_s = 0.0
        self.n_detected = 0
        self.n_close_looks = 0

    def push(self, frame: Frame) -> list[TrackedFrame]:
        """Take the next picture; return those that are settled, in order."""
        settled = self._close_shot() if self._cuts.is_cut(frame.image) else []
        self._held.append(frame)
        if self._is_due(frame):
            self._look(frame)
            settled += self._release()
        return settled

    def finish(self) -> list[TrackedFrame]:
        """Say that there are no more pictures; return those still held."""
        return self._close_shot()

    def tracks(self) -> dict[int, FaceTrack]:
        """The tracks worth keeping, by running number, numbered anew from 1."""
        config = self._config
        kept = [
            path
            for path in self._paths
            if path.duration_s >= config.min_track_s and path.mean_score >= config.min_mean_score
        ]
        kept.sort(key=lambda path: path.screen_presence, reverse=True)
        in_order = sorted(kept[: config.max_tracks], key=lambda p: (p.times_s[0], p.number))
        return {path.number: path.finished(i) for i, path in enumerate(in_order, start=1)}

    @property
    def _last_index(self) -> int:
        return self._last_look.index if self._last_look else -1

    def _is_due(self, frame: Frame) -> bool:
        last = self._last_look
        if last is None:
            return True
        config = self._config
        interval_s = config.retry_interval_s if self._is_alert else config.detect_interval_s
        n_since = frame.index - last.index
        if n_since >= config.max_held_frames // 2 or len(self._held) > config.max_held_frames:
            return True
        return frame.time_s - last.time_s >= interval_s - _CLOCK_SLACK_S

    def _look(self, frame: Frame) -> None:
        """Detect in a held picture."""
        if not self._has_followed(frame):
            self._search(frame)
        self._is_alert = self._last_look is None or any(
            path.frame_indices[-1] != frame.index or not path.is_confirmed for path in self._live
        )
        self._last_look = frame

    def _has_followed(self, frame: Frame) -> bool:
        """Look around the known faces; whether that was enough."""
        config = self._config
        self._end_lost(frame)
        is_searched = self._last_search_s > frame.time_s - config.search_interval_s + _CLOCK_SLACK_S
        is_lost = any(path.frame_indices[-1] != self._last_index for path in self._live)
        if is_lost or not is_searched or not 0 < len(self._live) <= config.max_close_faces:
            return False
        start = time.perf_counter()
        known = np.stack([path.boxes[-1] for path in self._live])
        found = look_close(self._detector, frame.image, known)
        self.detect_s += time.perf_counter() - start
        self.n_close_looks += 1
        pairs = self._match(found)
        if len(pairs) < len(self._live):
            return False
        for path, index in pairs:
            self._continue(path, frame, found, index)
        return True

    def _search(self, frame: Frame) -> None:
        """Look at the whole picture; where a face is lost, also at those since the last look."""
        (found,) = self._detect([frame])
        skipped = self._since(self._last_look)[:-1]
        if skipped and self._has_lost(found):
            for passed, seen in zip(skipped, self._detect(skipped), strict=True):
                self._observe(passed, seen)
        self._observe(frame, found)
        self._last_search_s = frame.time_s

    def _detect(self, frames: list[Frame]) -> list[Detections]:
        start = time.perf_counter()
        found = self._detector.detect([frame.image for frame in frames])
        self.detect_s += time.perf_counter() - start
        self.n_detected += len(frames)
        return found

    def _since(self, frame: Frame | None) -> list[Frame]:
        """Held pictures after that one."""
        return [held for held in self._held if frame is None or held.index > frame.index]

    def _has_lost(self, found: Detections) -> bool:
        """Whether a face that was seen at the last look is missing where it was."""
        matched = {path.number for path, _ in self._match(found)}
        return any(
            path.number not in matched and path.frame_indices[-1] == self._last_index
            for path in self._live
        )

    def _match(self, found: Detections) -> list[tuple[FacePath, int]]:
        """Pairs of a live path and a detection, by the largest sum of overlaps."""
        if not self._live or not len(found.scores):
            return []
        overlap = pairwise_iou(np.stack([path.boxes[-1] for path in self._live]), found.boxes_xyxy)
        rows, columns = linear_sum_assignment(-overlap)
        return [
            (self._live[row], int(column))
            for row, column in zip(rows, columns, strict=True)
            if overlap[row, column] >= self._config.min_iou
        ]

    def _observe(self, frame: Frame, found: Detections) -> None:
        """Continue, start and end paths with what was seen in one picture."""
        self._end_lost(frame)
        pairs = self._match(found)
        for path, index in pairs:
            self._continue(path, frame, found, index)
        taken = {index for _, index in pairs}
        for index in set(range(len(found.scores))) - taken:
            self._start(frame, found.boxes_xyxy[index], float(found.scores[index]))

    def _continue(self, path: FacePath, frame: Frame, found: Detections, index: int) -> None:
        between = [f for f in self._held if path.frame_indices[-1] < f.index < frame.index]
        path.see(between, frame, found.boxes_xyxy[index], float(found.scores[index]))

    def _start(self, frame: Frame, box: Box, score: float) -> None:
        side_px = min(box[2] - box[0], box[3] - box[1])
        if score < self._config.min_score or side_px < self._config.min_face_px:
            return
        self._n_paths += 1
        path = FacePath(self._n_paths, [frame.index], [frame.time_s], [box], [score])
        self._live.append(path)

    def _end_lost(self, frame: Frame) -> None:
        """End the paths whose gap has become too long to bridge."""
        config = self._config

        def is_lost(path: FacePath) -> bool:
            n_since = frame.index - path.frame_indices[-1]
            gap_s = frame.time_s - path.times_s[-1]
            too_long = gap_s > config.max_gap_s + _CLOCK_SLACK_S
            return n_since > 1 and (too_long or n_since > config.max_held_frames)

        self._end([path for path in self._live if is_lost(path)])

    def _end(self, paths: list[FacePath]) -> None:
        """Take paths out of the live ones; those seen only once were false alarms."""
        numbers = {path.number for path in paths}
        confirmed = [path for path in paths if path.is_confirmed]
        self._live = [path for path in self._live if path.number not in numbers]
        self._leaving += confirmed
        self._paths += confirmed

    def _close_shot(self) -> list[TrackedFrame]:
        """Look at the last held picture, end all paths and let all pictures go."""
        if self._since(self._last_look):
            self._look(self._held[-1])
        self._end(list(self._live))
        settled = self._release()
        self._last_look, self._is_alert = None, True
        self._last_search_s = -math.inf
        return settled

    def _release(self) -> list[TrackedFrame]:
        """Let go the pictures in which every live path is settled."""
        newest = self._held[-1].index if self._held else 0
        bound = min((path.settled_index for path in self._live), default=newest)
        ready = [frame for frame in self._held if frame.index <= bound]
        self._held = [frame for frame in self._held if frame.index > bound]
        settled = [TrackedFrame(frame, self._boxes_at(frame.index)) for frame in ready]
        self._leaving = [path for path in self._leaving if path.frame_indices[-1] > bound]
        return settled

    def _boxes_at(self, frame_index: int) -> dict[int, Box]:
        """Boxes of the largest faces in that picture."""
        seen = {path.number: path.box_at(frame_index) for path in self._live + self._leaving}
        boxes = {number: box for number, box in seen.items() if box is not None}
        largest = sorted(boxes, key=lambda number: -area_px(boxes[number]))
        return {number: boxes[number] for number in sorted(largest[: self._config.max_faces])}


def track_faces(
    video: FrameStream,
    detector: FaceDetector,
    config: TrackingConfig | None = None,
    progress: Progress = no_progress,
) -> list[FaceTrack]:
    """Follow the faces of a whole stream.

    Args:
        video: The pictures.
        detector: Any backend.
        config: How to follow.
        progress: Called as `("faces", seconds, seconds of the clip)`.

    Returns:
        The tracks in order of first appearance.
    """
    tracker = FaceTracker(detector, config)
    for frame in video:
        tracker.push(frame)
        progress("faces", frame.time_s, video.duration_s)
    tracker.finish()
    return list(tracker.tracks().values())
