"""Followed faces as the interface shows them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from preprocessing.types import FaceTrack, PreparedClip
from server.face_pictures import best_view

BOX_STEP_S = 0.2
MAX_BOXES = 300
_ROUNDING_S = 1e-6


def described_tracks(
    clip: PreparedClip, scores: Mapping[int, float | None], thumbnails: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Tracks as JSON values.

    Args:
        clip: Where they come from.
        scores: How well each mouth moves with the sound.
        thumbnails: File names by track id.

    Returns:
        For each: `id`, `start` and `end` in seconds, `bbox` (x, y, width, height of the best view,
        source pixels) on screen at `time`, so that `face=x,y,w,h@time` means it, and its way
        through the picture, `boxes`.
    """
    return [_described(track, scores, thumbnails) for track in clip.tracks]


def _described(
    track: FaceTrack, scores: Mapping[int, float | None], thumbnails: Mapping[str, str]
) -> dict[str, Any]:
    best = best_view(track)
    seen = track.scores[track.scores > 0]
    speaking = scores.get(track.track_id)
    return {
        "id": track.track_id,
        "start": round(float(track.times_s[0]), 3),
        "end": round(float(track.times_s[-1]), 3),
        "bbox": _box(track, best),
        "time": round(float(track.times_s[best]), 3),
        "score": round(float(seen.mean()) if seen.size else 0.0, 4),
        "speaking_score": None if speaking is None else round(speaking, 4),
        "thumbnail": thumbnails.get(str(track.track_id)),
        "boxes": _way(track),
    }


def _box(track: FaceTrack, index: int) -> list[float]:
    """`[x, y, width, height]`, source pixels."""
    x0, y0, x1, y1 = (float(edge) for edge in track.boxes_xyxy[index])
    return [round(value, 1) for value in (x0, y0, x1 - x0, y1 - y0)]


def _way(track: FaceTrack) -> list[list[float]]:
    """`[time, x, y, width, height]` at even steps, first and last picture included."""
    first_s, last_s = float(track.times_s[0]), float(track.times_s[-1])
    n_boxes = min(MAX_BOXES, round((last_s - first_s) / BOX_STEP_S) + 1, track.times_s.size)
    wanted_s = np.linspace(first_s, last_s, max(1, n_boxes))
    found = np.searchsorted(track.times_s, wanted_s - _ROUNDING_S)
    chosen = np.unique(found.clip(max=track.times_s.size - 1))
    return [[round(float(track.times_s[i]), 3), *_box(track, int(i))] for i in chosen]
