"""Bad sight: what each disturbance does to crops, and its curves."""

from pathlib import Path

import numpy as np
import pytest

from avse.evaluation import EvaluateOptions, run_evaluation
from avse.evaluation.disturbances import DISTURBANCES, disturbed, robustness_controls
from avse.evaluation.errors import InvalidOptions
from avse.evaluation.lips import mouth_track
from preprocessing.types import MouthTrack
from tests.avse.test_evaluation_run import FAST, Fake, corpus_dir, crops_for

__all__ = ["corpus_dir"]
N_FRAMES = 40


def numbered_track() -> MouthTrack:
    """Each picture a gradient of its own, so that order, blur and turns can be seen."""
    ramp = np.linspace(0, 100, 24)[None, :] + np.linspace(0, 60, 24)[:, None]
    crops = np.stack([ramp + 2 * index for index in range(N_FRAMES)]).astype(np.uint8)
    return mouth_track(crops, np.ones(N_FRAMES))


@pytest.mark.parametrize("name", DISTURBANCES)
def test_without_strength_nothing_happens(name: str) -> None:
    track = numbered_track()
    same = disturbed(track, f"{name}:{DISTURBANCES[name].none}", 0, "clip")
    assert np.array_equal(same.crops, track.crops)
    assert same.is_visible.all()


@pytest.mark.parametrize("control", robustness_controls())
def test_every_strength_changes_the_crops_the_same_way_each_time(control: str) -> None:
    track = numbered_track()
    first, again = (disturbed(track, control, 3, "clip") for _ in range(2))
    assert np.array_equal(first.crops, again.crops)
    assert first.crops.shape == track.crops.shape
    assert first.crops.dtype == np.uint8
    assert not np.array_equal(first.crops, track.crops)
    assert np.array_equal(track.crops, numbered_track().crops)


def test_hidden_is_one_stretch_of_zeros_and_a_hand_stays_visible() -> None:
    hidden = disturbed(numbered_track(), "hidden:0.25", 1, "clip")
    places = np.flatnonzero(~hidden.is_visible)
    assert len(places) == N_FRAMES // 4
    assert np.all(np.diff(places) == 1)
    assert not hidden.crops[places].any()
    covered = disturbed(numbered_track(), "covered:1", 1, "clip")
    assert covered.is_visible.all()


def test_late_and_slow_pictures() -> None:
    shown = numbered_track().crops[:, 0, 0]
    late = disturbed(numbered_track(), "late:2", 0, "clip").crops[:, 0, 0]
    assert np.array_equal(late[2:], shown[:-2])
    early = disturbed(numbered_track(), "late:-3", 0, "clip").crops[:, 0, 0]
    assert np.array_equal(early[:-3], shown[3:])
    slow = disturbed(numbered_track(), "fps:5", 0, "clip").crops[:, 0, 0]
    assert np.array_equal(slow, np.repeat(shown[::5], 5))
    uneven = disturbed(numbered_track(), "fps:12", 0, "clip").crops[:25, 0, 0]
    assert len(np.unique(uneven)) == 12
    assert np.all(uneven <= shown[:25])  # never a picture of the future


@pytest.mark.parametrize("wrong", ["hidden", "hidden:2", "late:x", "fps:0", "sneeze:1", ":"])
def test_unknown_or_out_of_range(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions, match="lips: expected"):
        EvaluateOptions(tmp_path, tmp_path, lips=("own", wrong))


def test_curves_of_an_evaluation(corpus_dir: Path, tmp_path: Path) -> None:
    lips = ("own", "none", "hidden:0.5", "late:2")
    options = EvaluateOptions(
        tmp_path / "out", corpus_dir, conditions=("two_0db",), lips=lips, metrics=FAST, n_workers=1
    )
    evaluation = run_evaluation(options, systems=[Fake()], crops_for=crops_for)
    lines = {line.cell.lips: line for line in evaluation.summary.lines}
    assert set(lips) <= set(lines)
    assert lines["hidden:0.5"].means["stoi"].n == 2  # the third clip has no crops
    picture = evaluation.files["robustness-test-two_0db.png"].read_bytes()
    assert picture.startswith(b"\x89PNG")
