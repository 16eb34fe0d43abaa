"""Faces painted on made pictures, followed through motion, gaps and cuts."""

import numpy as np
import pytest

from preprocessing.cuts import CutDetector
from preprocessing.tracking import FaceTracker, TrackingConfig, track_faces
from tests.preprocessing.scripted_faces import PaintedStream, ScriptedDetector, paint, scenery


def moving(n_frames, start=(40, 60), step=(2.0, 1.0), side=50):
    boxes = []
    for index in range(n_frames):
        x, y = round(start[0] + index * step[0]), round(start[1] + index * step[1])
        boxes.append((x, y, x + side, y + side))
    return boxes


def stream(*faces, **options):
    """One list of boxes (or None) a face."""
    frames = [[box for box in seen if box is not None] for seen in zip(*faces, strict=True)]
    return PaintedStream(frames, **options)


def test_one_face_is_followed_through_every_picture_with_few_detections():
    boxes = moving(50)
    detector = ScriptedDetector()
    (track,) = track_faces(stream(boxes), detector)
    assert track.track_id == 1
    assert track.frame_indices.tolist() == list(range(50))
    assert np.abs(track.boxes_xyxy - np.array(boxes)).max() <= 1.0
    assert detector.n_images <= 13
    assert (track.scores > 0).sum() == detector.n_images
    np.testing.assert_allclose(track.times_s, np.arange(50) / 25)


def test_boxes_between_detections_lie_on_a_straight_line():
    (track,) = track_faces(stream(moving(21, step=(3, 0))), ScriptedDetector())
    assert np.abs(np.diff(track.boxes_xyxy[:, 0]) - 3).max() < 0.4


def test_two_people_keep_their_numbers_when_they_pass_at_some_distance():
    left = moving(60, (10, 20), (4, 0))
    right = moving(60, (250, 150), (-4, 0))
    tracks = track_faces(stream(left, right), ScriptedDetector())
    assert [track.track_id for track in tracks] == [1, 2]
    for track, boxes in zip(tracks, (left, right), strict=True):
        assert np.abs(track.boxes_xyxy - np.array(boxes)).max() <= 1.5


def test_a_short_gap_is_bridged_and_its_boxes_have_score_zero():
    boxes = moving(50)
    gap = [None if 20 <= i < 29 else box for i, box in enumerate(boxes)]
    (track,) = track_faces(stream(gap), ScriptedDetector())
    assert track.frame_indices.tolist() == list(range(50))
    assert not track.scores[21:29].any()
    assert np.abs(track.boxes_xyxy - np.array(boxes)).max() <= 1.0


def test_a_long_gap_makes_two_tracks():
    boxes = [None if 20 <= i < 40 else box for i, box in enumerate(moving(70, step=(1, 1)))]
    first, second = track_faces(stream(boxes), ScriptedDetector())
    assert first.frame_indices[-1] <= 20
    assert second.frame_indices[0] >= 40
    assert second.frame_indices[0] < 46


def test_a_cut_ends_every_track_even_where_the_faces_stand_alike():
    still = moving(60, step=(0, 0))
    cut_at = 33
    seeds = [1 if i < cut_at else 2 for i in range(60)]
    first, second = track_faces(stream(still, seeds=seeds), ScriptedDetector())
    assert first.frame_indices.tolist() == list(range(cut_at))
    assert second.frame_indices.tolist() == list(range(cut_at, 60))


def test_a_fast_face_is_followed_by_looking_at_the_pictures_in_between():
    boxes = moving(30, (5, 50), (9, 0), side=48)
    detector = ScriptedDetector()
    (track,) = track_faces(stream(boxes), detector)
    assert track.frame_indices.tolist() == list(range(30))
    assert detector.largest_batch > 1


def test_a_false_alarm_seen_once_makes_no_track_and_passes_no_box_on():
    boxes = [None] * 40
    boxes[10] = (50, 50, 90, 90)
    tracker = FaceTracker(ScriptedDetector(), TrackingConfig(detect_interval_s=0.04))
    passed = [t for frame in stream(boxes) for t in tracker.push(frame)] + tracker.finish()
    assert tracker.tracks() == {}
    assert all(not tracked.boxes for tracked in passed)


def test_short_tracks_small_faces_and_weak_detections_are_dropped():
    short = [box if i < 5 else None for i, box in enumerate(moving(40))]
    assert track_faces(stream(short), ScriptedDetector()) == []
    assert track_faces(stream(moving(40, side=14)), ScriptedDetector()) == []
    assert track_faces(stream(moving(40)), ScriptedDetector(score=0.3)) == []


@pytest.mark.parametrize("fps", [1.0, 8.0, 25.0, 29.97, 60.0])
def test_every_picture_comes_out_once_in_order_and_few_are_held(fps):
    boxes = [None if 30 <= i < 44 else box for i, box in enumerate(moving(70, step=(0.5, 0.5)))]
    seeds = [0] * 50 + [5] * 20
    tracker = FaceTracker(ScriptedDetector(), config := TrackingConfig())
    out, n_most = [], 0
    for frame in stream(boxes, fps=fps, seeds=seeds):
        out += tracker.push(frame)
        n_most = max(n_most, frame.index + 1 - len(out))
    out += tracker.finish()
    assert [tracked.frame.index for tracked in out] == list(range(70))
    assert n_most <= config.max_held_frames + 1


def test_the_boxes_passed_on_are_those_of_the_tracks():
    left, right = moving(60, (10, 20), (1, 0)), moving(60, (200, 120), (-1, 0))
    left = [None if 25 <= i < 32 else box for i, box in enumerate(left)]
    tracker = FaceTracker(ScriptedDetector())
    out = [t for frame in stream(left, right) for t in tracker.push(frame)] + tracker.finish()
    for number, track in tracker.tracks().items():
        for index, box in zip(track.frame_indices, track.boxes_xyxy, strict=True):
            np.testing.assert_array_equal(out[index].boxes[number], box)


def test_only_the_largest_faces_are_passed_on_and_only_the_longest_tracks_kept():
    faces = [moving(30, (10 + 90 * k, 10), (0, 0), side=30 + 15 * k) for k in range(3)]
    config = TrackingConfig(max_faces=2, max_tracks=1)
    tracker = FaceTracker(ScriptedDetector(), config)
    out = [t for frame in stream(*faces) for t in tracker.push(frame)] + tracker.finish()
    assert max(len(tracked.boxes) for tracked in out) == 2
    (track,) = tracker.tracks().values()
    assert track.track_id == 1
    assert track.boxes_xyxy[0, 2] - track.boxes_xyxy[0, 0] == 60


def test_no_pictures_and_one_picture():
    tracker = FaceTracker(ScriptedDetector())
    assert tracker.finish() == []
    assert tracker.tracks() == {}
    assert track_faces(stream(moving(1)), ScriptedDetector()) == []


def test_progress_counts_seconds():
    seen = []
    track_faces(stream(moving(4)), ScriptedDetector(), progress=lambda *call: seen.append(call))
    assert seen[0] == ("faces", 0.0, 0.16)
    assert seen[-1][1] == pytest.approx(0.12)


def test_cuts_are_seen_and_motion_flashes_and_fades_are_not():
    cuts = CutDetector()
    place, other = scenery(320, 240, 3), scenery(320, 240, 4)
    assert not any(cuts.is_cut(paint(place, (20 + 6 * i, 50, 140 + 6 * i, 220))) for i in range(9))
    assert cuts.is_cut(other)
    flash = (other // 2 + 120).astype(np.uint8)
    assert not cuts.is_cut(flash)
    assert not cuts.is_cut(other)
    assert not any(cuts.is_cut((other * (1 - i / 8)).astype(np.uint8)) for i in range(8))
