"""Whose voice is wanted: `auto | largest | all | <track> | x,y,w,h@t`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from preprocessing.boxes import pairwise_iou
from preprocessing.errors import FaceNotFound
from preprocessing.types import FaceTrack

SYNTAX = "auto, largest, all, a track number or x,y,w,h@seconds"
MIN_BOX_IOU = 0.1
MAX_TIME_ERROR_S = 0.5

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_BOX = re.compile(rf"{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}@(\d+(?:\.\d+)?)")


class FaceChoiceInvalid(ValueError):
    """The words that should say which face is wanted cannot be read."""

    code = "face_choice_invalid"


@dataclass(frozen=True, slots=True)
class FaceChoice:
    """Which face is wanted.

    Attributes:
        kind: What the other fields mean.
        track_id: The number of a track (`kind == "track"`).
        box_xyxy: A box in source pixels (`kind == "box"`).
        time_s: The clip's time at which the box holds (`kind == "box"`).
    """

    kind: Literal["auto", "largest", "all", "track", "box"]
    track_id: int = 0
    box_xyxy: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    time_s: float = 0.0


def parse_choice(text: str) -> FaceChoice:
    """Read a choice.

    >>> parse_choice("10,20,30,40@1.5").box_xyxy
    (10.0, 20.0, 40.0, 60.0)

    Raises:
        FaceChoiceInvalid: The text is none of the five forms.
    """
    word = text.strip().lower()
    if word in ("auto", "largest", "all"):
        return FaceChoice(word)  # type: ignore[arg-type]
    if word.isascii() and word.isdigit() and int(word) > 0:
        return FaceChoice("track", track_id=int(word))
    match = _BOX.fullmatch(word.replace(" ", ""))
    if match is None:
        raise FaceChoiceInvalid(f"face: expected {SYNTAX}, found {text!r}")
    x, y, width, height, time_s = (float(group) for group in match.groups())
    if width <= 0 or height <= 0:
        raise FaceChoiceInvalid(f"face: expected a box with w > 0 and h > 0, found {text!r}")
    return FaceChoice("box", box_xyxy=(x, y, x + width, y + height), time_s=time_s)


def choose_tracks(
    tracks: Sequence[FaceTrack],
    choice: FaceChoice | str,
    scores: Mapping[int, float] | None = None,
) -> list[int]:
    """Track ids that the choice means, best first.

    Args:
        tracks: Every track of the clip.
        choice: Which face is wanted.
        scores: How well each mouth moves with the sound; without it `auto` means `largest`.

    Returns:
        No id where `auto`, `largest` or `all` meets a clip without faces; one id otherwise, and
        every id for `all`.

    Raises:
        FaceChoiceInvalid: The choice cannot be read.
        FaceNotFound: The track or the box that was asked for is not there.
    """
    wanted = parse_choice(choice) if isinstance(choice, str) else choice
    if wanted.kind == "track":
        return [_numbered(tracks, wanted.track_id)]
    if wanted.kind == "box":
        return [_in_box(tracks, wanted)]
    by_size = sorted(tracks, key=screen_presence, reverse=True)
    if wanted.kind == "all":
        return [track.track_id for track in tracks]
    if wanted.kind == "auto" and scores:
        by_size = sorted(by_size, key=lambda t: scores.get(t.track_id, -np.inf), reverse=True)
    return [track.track_id for track in by_size[:1]]


def choose_track(
    tracks: Sequence[FaceTrack],
    choice: FaceChoice | str,
    scores: Mapping[int, float] | None = None,
) -> int | None:
    """The first of `choose_tracks`, None where there is none."""
    return next(iter(choose_tracks(tracks, choice, scores)), None)


def screen_presence(track: FaceTrack) -> float:
    """Seconds on screen times mean height in pixels: what is watched most has most."""
    heights = track.boxes_xyxy[:, 3] - track.boxes_xyxy[:, 1]
    return float(heights.mean()) * float(track.times_s[-1] - track.times_s[0] + 1e-3)


def _numbered(tracks: Sequence[FaceTrack], track_id: int) -> int:
    found = [track.track_id for track in tracks]
    if track_id not in found:
        raise FaceNotFound("face", f"track {track_id}", f"tracks {found}" if found else "no face")
    return track_id


def _in_box(tracks: Sequence[FaceTrack], wanted: FaceChoice) -> int:
    """The track whose box overlaps most with the wanted one at that time."""
    overlaps = {track.track_id: _overlap(track, wanted) for track in tracks}
    best = max(overlaps, key=lambda track_id: overlaps[track_id], default=0)
    if overlaps.get(best, 0.0) < MIN_BOX_IOU:
        x0, y0, x1, y1 = wanted.box_xyxy
        raise FaceNotFound(
            "face",
            f"a face in {x0:g},{y0:g},{x1 - x0:g},{y1 - y0:g} at {wanted.time_s:g} s",
            _seen_at(tracks, wanted.time_s),
        )
    return best


def _nearest(track: FaceTrack, time_s: float) -> int | None:
    """Position of the picture nearest to that time, None where it is too far."""
    position = int(np.abs(track.times_s - time_s).argmin())
    is_near = abs(float(track.times_s[position]) - time_s) <= MAX_TIME_ERROR_S
    return position if is_near else None


def _overlap(track: FaceTrack, wanted: FaceChoice) -> float:
    position = _nearest(track, wanted.time_s)
    if position is None:
        return 0.0
    box = np.array([wanted.box_xyxy], np.float32)
    return float(pairwise_iou(box, track.boxes_xyxy[position : position + 1])[0, 0])


def _seen_at(tracks: Sequence[FaceTrack], time_s: float) -> str:
    seen = []
    for track in tracks:
        position = _nearest(track, time_s)
        if position is not None:
            x0, y0, x1, y1 = track.boxes_xyxy[position]
            seen.append(f"track {track.track_id} at {x0:.0f},{y0:.0f},{x1 - x0:.0f},{y1 - y0:.0f}")
    return "; ".join(seen) or "no face at that time"
