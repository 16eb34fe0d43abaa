"""Recognition: bundles, windows, segments that tile the clip, options, pictures of the result."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avse.recognition import (
    Recogniser,
    Recognition,
    RecognitionOptions,
    StreamSources,
    load_head,
)
from avse.recognition.segments import merged, over_time, without_slivers
from models.errors import BundleInvalid, BundleNotFound
from preprocessing.errors import MediaError
from tests.avse.tiny_heads import LABELS, N_JOINTS, write_head
from tests.media_factory import ClipSpec, make_clip
from tests.preprocessing.test_streams import coloured, moving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("heads")
    for task in ("gesture", "action"):
        write_head(place, task)
    return place


@pytest.fixture(scope="module")
def gestures(folder: Path) -> Recogniser:
    return Recogniser(folder / "gesture-mmtm", device="cpu")


@pytest.fixture(scope="module")
def actions(folder: Path) -> Recogniser:
    return Recogniser(folder / "action-mmtm", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def write_clip(path: Path, picture: Any = moving, duration_s: float = 1.5) -> Path:
    spec = ClipSpec(picture=picture, duration_s=duration_s, fps=Fraction(20), size_px=(96, 96))
    return make_clip(path, spec)


def assert_tiles(found: Recognition) -> None:
    """Segments follow each other from 0 to the end, no two neighbours alike."""
    ends = [0.0, *(segment.end_s for segment in found.segments)]
    assert [segment.start_s for segment in found.segments] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(found.duration_s)
    labels = [segment.label for segment in found.segments]
    assert all(one != other for one, other in pairwise(labels))


def test_a_short_clip_is_one_segment(gestures: Recogniser, clip: Path) -> None:
    found = gestures.recognise_file(clip)
    assert found.model == "gesture-mmtm"
    assert found.streams == ("depth", "flow")
    assert found.notes == ()
    (segment,) = found.segments
    assert_tiles(found)
    assert segment.top_k[0] == (segment.label, segment.score)
    assert {label for label, _ in segment.top_k} == set(LABELS)
    assert sum(score for _, score in segment.top_k) == pytest.approx(1, abs=1e-4)
    scores = [score for _, score in segment.top_k]
    assert scores == sorted(scores, reverse=True)


def test_a_long_clip_is_read_in_windows(gestures: Recogniser, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.mp4", duration_s=2.4)
    stages: list[tuple[str, float, float]] = []
    found = gestures.recognise_file(path, progress=lambda *step: stages.append(step))
    assert_tiles(found)
    assert ("infer", 4.0, 4.0) in stages
    assert "decode" in {stage for stage, _, _ in stages}


def test_windows_may_be_asked_for(gestures: Recogniser, clip: Path) -> None:
    prepared = gestures.prepare(clip)
    options = RecognitionOptions(window_s=0.5, stride_s=0.2)
    assert_tiles(gestures.recognise(prepared, options))
    assert_tiles(gestures.recognise(prepared, RecognitionOptions(window_s=60.0)))
    assert_tiles(gestures.recognise(prepared, RecognitionOptions(stride_s=0.3)))


def test_batches_change_nothing(folder: Path, gestures: Recogniser, clip: Path) -> None:
    prepared = gestures.prepare(clip)
    windows = [(0, 5), (3, 9), (5, 14)]
    many = Recogniser(folder / "gesture-mmtm", device="cpu", batch_windows=2)
    expected = gestures.probabilities(prepared, windows)
    np.testing.assert_allclose(many.probabilities(prepared, windows), expected, atol=1e-5)


def test_an_action_runs_with_and_without_a_skeleton(
    actions: Recogniser, clip: Path, tmp_path: Path
) -> None:
    alone = actions.recognise_file(clip)
    assert alone.streams == ("depth",)
    assert "no skeleton was given" in alone.notes[0]
    movement = np.random.default_rng(0).normal(size=(30, 2, N_JOINTS, 3))
    np.save(tmp_path / "two.npy", movement)
    both = actions.recognise_file(clip, sources=StreamSources(skeleton=tmp_path / "two.npy"))
    assert both.streams == ("depth", "skeleton")
    assert both.notes == ()
    assert both.segments[0].score != pytest.approx(alone.segments[0].score)


def test_a_colour_clip_is_read_by_its_motion(gestures: Recogniser, tmp_path: Path) -> None:
    found = gestures.recognise_file(write_clip(tmp_path / "colour.mp4", coloured))
    assert found.streams == ("flow",)
    assert any("depth stream is left out" in note for note in found.notes)


def test_a_threshold_leaves_out_what_scores_less(gestures: Recogniser, clip: Path) -> None:
    assert not gestures.recognise_file(clip, RecognitionOptions(threshold=0.999)).segments
    assert len(gestures.recognise_file(clip, RecognitionOptions(top_k=2)).segments[0].top_k) == 2


def test_json_has_the_shape_of_the_service(gestures: Recogniser, clip: Path) -> None:
    shown = json.loads(gestures.recognise_file(clip).to_json())
    assert set(shown) == {"model", "duration", "segments", "streams", "notes"}
    segment = shown["segments"][0]
    assert set(segment) == {"start", "end", "label", "score", "top_k"}
    assert set(segment["top_k"][0]) == {"label", "score"}


def test_overlapping_windows_are_averaged_with_their_middles_heaviest() -> None:
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    scores = over_time([(0, 10), (5, 15)], probabilities, 15)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)
    assert (scores[:5, 0] == 1).all()
    assert (scores[10:, 1] == 1).all()
    assert (np.diff(scores[:, 1]) >= -1e-6).all()
    assert scores[:7].argmax(1).max() == 0
    assert scores[8:].argmax(1).min() == 1


def test_a_moment_between_two_labels_goes_to_the_likelier_of_them() -> None:
    scores = np.full((9, 3), 0.1, np.float32)
    scores[:4, 0] = scores[4, 1] = scores[5:, 2] = 0.8
    scores[4, 2] = 0.3
    assert without_slivers(scores, 1).tolist() == [0, 0, 0, 0, 1, 2, 2, 2, 2]
    assert without_slivers(scores, 2).tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 2]
    assert len(set(without_slivers(scores, 9).tolist())) == 1
    assert without_slivers(scores[:1], 4).tolist() == [0]


def test_neighbours_with_one_label_are_one_segment() -> None:
    best = [0, 0, 1, 1, 1, 0]
    scores = np.where(np.eye(2)[best] > 0, 0.8, 0.2).astype(np.float32)
    found = merged(scores, scores.argmax(1), ("a", "b"), 0.1, 0.65, RecognitionOptions(top_k=1))
    assert [(s.label, round(s.start_s, 3), round(s.end_s, 3)) for s in found] == [
        ("a", 0.0, 0.2), ("b", 0.2, 0.5), ("a", 0.5, 0.65),
    ]  # fmt: skip
    assert found[0].top_k == (("a", pytest.approx(0.8)),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_k": 0},
        {"threshold": 1.5},
        {"window_s": 0.0},
        {"stride_s": float("inf")},
        {"window_s": 1.0, "stride_s": 2.0},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RecognitionOptions(**wrong)


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": ["one"]},
        {"streams": ["rgb"]},
        {"streams": ["sound"]},
        {"unknown": 1},
        {"fps": 0.0},
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid):
        load_head(write_head(tmp_path, "gesture", **changed))


def test_other_bundles_and_missing_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="expected task gesture or action"):
        load_head("lip-sync")
    with pytest.raises(BundleNotFound):
        load_head(tmp_path / "none")


def test_what_is_no_clip_is_a_media_error(gestures: Recogniser, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises(MediaError):
        gestures.recognise_file(tmp_path / "clip.mp4")
