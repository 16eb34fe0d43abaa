"""Faces as the interface shows them: the best view, and the way through the picture."""

import numpy as np

from preprocessing.types import FaceTrack
from server.face_tracks import BOX_STEP_S, MAX_BOXES, _described


def moving_track(n_frames: int, fps: float = 25.0) -> FaceTrack:
    """A face of 40x60 pixels that goes right by one pixel a picture and is bridged at times."""
    x = np.arange(n_frames, dtype=np.float32)
    boxes = np.stack([x, np.full_like(x, 10.0), x + 40.0, np.full_like(x, 70.0)], axis=1)
    scores = np.where(np.arange(n_frames) % 3 == 1, 0.0, 0.9).astype(np.float32)
    return FaceTrack(4, np.arange(n_frames), np.arange(n_frames) / fps, boxes, scores)


def test_a_track_tells_its_way_in_even_steps():
    found = _described(moving_track(51), {4: 0.25}, {"4": "thumbs/4.jpg"})
    assert found["id"] == 4
    assert found["bbox"] == [0.0, 10.0, 40.0, 60.0]
    assert (found["start"], found["end"], found["time"]) == (0.0, 2.0, 0.0)
    times = [box[0] for box in found["boxes"]]
    assert (times[0], times[-1]) == (0.0, 2.0)
    assert np.allclose(np.diff(times), BOX_STEP_S, atol=0.02)
    assert all(np.isclose(box[1], 25 * box[0], atol=0.05) for box in found["boxes"])


def test_a_long_track_stays_short_and_a_short_one_whole():
    assert len(_described(moving_track(25 * 300), {}, {})["boxes"]) == MAX_BOXES
    assert len(_described(moving_track(1), {}, {})["boxes"]) == 1
    assert _described(moving_track(1), {}, {})["speaking_score"] is None
