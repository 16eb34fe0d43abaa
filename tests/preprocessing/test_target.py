"""Which face the user means."""

import numpy as np
import pytest

from preprocessing.errors import FaceNotFound
from preprocessing.target import FaceChoiceInvalid, choose_track, choose_tracks, parse_choice
from preprocessing.types import FaceTrack


def track(track_id, box, n_frames=50, start_s=0.0):
    times = start_s + np.arange(n_frames) / 25
    boxes = np.tile(np.array(box, np.float32), (n_frames, 1))
    indices = np.arange(n_frames, dtype=np.int64)
    return FaceTrack(track_id, indices, times, boxes, np.ones(n_frames, np.float32))


TRACKS = [
    track(1, (10, 10, 60, 70)),
    track(2, (200, 20, 300, 140)),
    track(3, (100, 10, 130, 40), n_frames=20, start_s=4.0),
]


@pytest.mark.parametrize("text", ["auto", "largest", "ALL", " 12 ", "1,2,3,4@5", "1.5,2,3,4@0.25"])
def test_the_five_forms_are_read(text):
    parse_choice(text)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "biggest", "1,2,3@4", "1,2,3,4", "1,2,0,4@1", "1,2,3,4@-1", "²"]
)
def test_anything_else_is_refused_with_the_syntax(text):
    with pytest.raises(FaceChoiceInvalid, match="expected"):
        parse_choice(text)


def test_largest_all_and_a_number():
    assert choose_tracks(TRACKS, "largest") == [2]
    assert choose_tracks(TRACKS, "all") == [1, 2, 3]
    assert choose_tracks(TRACKS, "3") == [3]


def test_auto_takes_the_best_score_and_without_scores_the_largest():
    assert choose_track(TRACKS, "auto", {1: 0.3, 2: 0.1}) == 1
    assert choose_track(TRACKS, "auto") == 2


def test_a_box_means_the_track_that_overlaps_it_at_that_time():
    assert choose_track(TRACKS, "15,15,40,50@1") == 1
    assert choose_track(TRACKS, "100,10,30,30@4.5") == 3


def test_what_is_not_there_is_an_error_that_says_what_is():
    with pytest.raises(FaceNotFound, match="track 9"):
        choose_tracks(TRACKS, "9")
    with pytest.raises(FaceNotFound, match="track 1 at 10,10,50,60"):
        choose_tracks(TRACKS, "100,10,30,30@1")
    with pytest.raises(FaceNotFound, match="no face at that time"):
        choose_tracks(TRACKS, "100,10,30,30@9")
    with pytest.raises(FaceNotFound, match="no face"):
        choose_tracks([], "1")


@pytest.mark.parametrize("choice", ["auto", "largest", "all"])
def test_no_face_is_no_error_unless_one_was_named(choice):
    assert choose_tracks([], choice) == []
    assert choose_track([], choice) is None
