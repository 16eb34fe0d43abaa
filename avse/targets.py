"""Whose mouth the network sees, and why it sees none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from avse.bundle import EnhancementSettings
from avse.spans import Spans, spans_s
from avse.types import EnhanceOptions, PathTaken, Reason
from preprocessing.errors import FaceNotFound
from preprocessing.timeline import VIDEO_FPS
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip

EDGE_FRAMES = 5
WORDS: dict[Reason, str] = {
    "asked": "sound alone was asked for",
    "no_video": "no moving picture",
    "no_face": "no face",
    "face_too_small": "a face too small to read its lips",
    "face_lost": "no visible mouth",
    "low_fps": "too few pictures a second to read lips",
}


class Chosen(Protocol):
    """A face somebody chose."""

    @property
    def track_id(self) -> int:
        """The face."""
        ...

    @property
    def score(self) -> float | None:
        """Agreement of its lips with the sound."""
        ...

    @property
    def offset_frames(self) -> float:
        """Video frames by which the picture comes late."""
        ...

    @property
    def why(self) -> str:
        """One sentence about the choice."""
        ...


class SpeakerChooser(Protocol):
    """Says which faces are meant and mends their timing."""

    def choose(self, prepared: PreparedClip, face: str) -> Sequence[Chosen]:
        """Faces that `face` means, best first; none where the clip has none.

        Raises:
            FaceNotFound: A track or a box was asked for and is not there.
        """
        ...

    def shift(self, mouth: MouthTrack, offset_frames: float) -> MouthTrack:
        """The mouth moved so that it agrees with the sound."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """One voice to be brought out of one clip.

    Attributes:
        prepared: The clip.
        track_id: The face that is listened to, None for sound alone.
        mouth: Its mouth as the network sees it, None for sound alone.
        reason: Why some or all of it goes by sound alone; None where none does.
        score: Agreement of lips and sound.
        offset_frames: Video frames by which the picture came late; mended in `mouth`.
        why: Why this face.
    """

    prepared: PreparedClip
    track_id: int | None = None
    mouth: MouthTrack | None = None
    reason: Reason | None = None
    score: float | None = None
    offset_frames: float = 0.0
    why: str | None = None

    @property
    def path(self) -> PathTaken:
        """Whether lips were used all along, in parts or not at all."""
        if self.mouth is None:
            return "audio_only"
        return "av" if self.reason is None else "mixed"


def choose_targets(
    prepared: PreparedClip,
    options: EnhanceOptions,
    settings: EnhancementSettings,
    speaker: SpeakerChooser,
) -> list[Target]:
    """The voices that the options mean: one, or one for each visible face.

    Raises:
        FaceNotFound: The face that was asked for is not there, or `mode="av"` and no mouth is.
    """
    reason = _why_not_look(prepared, options, settings)
    chosen = [] if reason else speaker.choose(prepared, options.face)
    targets = [_target(prepared, face, settings, speaker) for face in chosen]
    if not targets:
        targets = [Target(prepared, reason=reason or "no_face")]
    if options.mode == "av":
        _insist(targets)
    return targets


def audio_only_spans_s(mouth: MouthTrack | None, duration_s: float) -> Spans:
    """Seconds from the start of the sound in which no mouth is visible."""
    if mouth is None:
        return ((0.0, round(duration_s, 3)),)
    return spans_s(~mouth.is_visible, VIDEO_FPS, duration_s)


def _insist(targets: list[Target]) -> None:
    """Raise where not one target has a mouth."""
    if all(target.mouth is None for target in targets):
        first = targets[0]
        found = WORDS[first.reason or "no_face"]
        raise FaceNotFound(first.prepared.source.path, "a visible mouth (mode av)", found)


def _why_not_look(
    prepared: PreparedClip, options: EnhanceOptions, settings: EnhancementSettings
) -> Reason | None:
    if options.mode == "audio_only":
        return "asked"
    if not prepared.source.has_video:
        return "no_video"
    if not prepared.tracks:
        return None  # the chooser says so, or raises where a certain face was asked for
    fps = prepared.source.fps or prepared.n_video_frames / max(prepared.audio.duration_s, 1e-3)
    return "low_fps" if 0 < fps < settings.min_fps else None


def _target(
    prepared: PreparedClip,
    face: Chosen,
    settings: EnhancementSettings,
    speaker: SpeakerChooser,
) -> Target:
    track = next(track for track in prepared.tracks if track.track_id == face.track_id)
    target = Target(prepared, face.track_id, score=face.score, why=face.why)
    if median_width_px(track) < settings.min_face_px:
        return replace(target, reason="face_too_small")
    mouth = prepared.mouths.get(face.track_id)
    if mouth is None or not mouth.is_visible.any():
        return replace(target, reason="face_lost")
    reason: Reason | None = None if is_seen_all_along(mouth) else "face_lost"
    if face.offset_frames:
        mouth = speaker.shift(mouth, face.offset_frames)
    return replace(target, mouth=mouth, reason=reason, offset_frames=face.offset_frames)


def is_seen_all_along(mouth: MouthTrack) -> bool:
    """Whether the mouth is visible throughout, but for a moment at the ends.

    Pictures hardly ever end with the sound to the frame; `audio_only_spans_s` tells it exactly.
    """
    if mouth.is_visible.shape[0] <= 2 * EDGE_FRAMES:
        return bool(mouth.is_visible.all())
    return bool(mouth.is_visible[EDGE_FRAMES:-EDGE_FRAMES].all())


def median_width_px(track: FaceTrack) -> float:
    """Median width of a face."""
    return float(np.median(track.boxes_xyxy[:, 2] - track.boxes_xyxy[:, 0]))
