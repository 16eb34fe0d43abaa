"""`avse gestures|actions`, `avse models import-kinetics`: tables, JSON, pictures, wrong usage."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from avse.cli import run
from avse.recognition import Recognition, Segment
from avse.recognition.plot import N_TILES, colours_of, pick_tiles, segment_at
from preprocessing.media import open_frames
from preprocessing.pose import KINECT_JOINTS, N_LANDMARKS, make_pose_estimator, to_kinect
from tests.avse.test_recognition import write_clip
from tests.avse.tiny_heads import LABELS, N_JOINTS, write_head


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_clip(folder / "clip.mp4")
    for task in ("gesture", "action"):
        write_head(folder, task)
    np.save(folder / "bones.npy", np.random.default_rng(0).normal(size=(30, N_JOINTS, 3)))
    return folder


def call(place: Path, command: str, *options: str) -> list[str]:
    task = command.removesuffix("s")
    model = str(place / f"{task}-mmtm")
    return [command, str(place / "clip.mp4"), "--model", model, "--device", "cpu", *options]


def test_gestures_are_a_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(call(place, "gestures")) == 0
    captured = capsys.readouterr()
    assert "gesture-mmtm, by depth and flow" in captured.out
    assert any(label in captured.out for label in LABELS)
    assert captured.err == ""


def test_actions_are_json_and_a_picture(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "p.png"
    bones = str(place / "bones.npy")
    arguments = call(place, "actions", "--json", "--plot", str(picture), "--skeleton", bones)
    assert run([*arguments, "--window", "0.6", "--top-k", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["streams"] == ["depth", "skeleton"]
    assert found["segments"][-1]["end"] == pytest.approx(found["duration"])
    assert len(found["segments"][0]["top_k"]) == 2
    image = cv2.imread(str(picture))
    assert image is not None
    assert image.shape[0] > 300
    assert image.std() > 10


def test_what_is_missing_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(call(place, "actions")) == 0
    assert "no skeleton was given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--top-k", "0"), "--top-k"),
        (("--threshold", "2"), "--threshold"),
        (("--window", "1", "--stride", "2"), "stride within the window"),
        (("--plot", "p.jpg"), "expected a name that ends in .png"),
        (("--picture", "x-ray"), "--picture"),
    ],
)
def test_wrong_usage_is_2(
    options: tuple[str, ...], words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(call(place, "gestures", *options)) == 2
    assert words in capsys.readouterr().err


def test_an_unknown_pose_estimator_is_wrong_usage(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(call(place, "actions", "--pose", "guess")) == 2
    assert "expected one of" in capsys.readouterr().err


def test_a_head_of_another_task_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["gestures", str(place / "clip.mp4"), "--model", str(place / "action-mmtm")]
    assert run(arguments) == 3
    assert "expected a head for gestures" in capsys.readouterr().err


def test_a_file_that_is_not_the_published_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights.ckpt").write_bytes(b"others")
    out = tmp_path / "bundle"
    file = str(tmp_path / "weights.ckpt")
    assert run(["models", "import-kinetics", file, "--out", str(out)]) == 3
    assert "expected i3d-kinetics-400.ckpt of sha256" in capsys.readouterr().err
    assert not out.exists()


def test_tiles_are_spread_over_the_clip(place: Path) -> None:
    tiles = pick_tiles(open_frames(place / "clip.mp4"), 1.5)
    assert len(tiles) == N_TILES
    assert tiles[0][0] < 0.2
    assert tiles[-1][0] > 1.3


def test_instants_without_a_segment_have_no_label() -> None:
    segments = (Segment(0.0, 1.0, "wave", 0.9, ()), Segment(2.0, 3.0, "clap", 0.8, ()))
    found = Recognition("m", 3.0, ("flow",), (), segments)
    named = [segment_at(found.segments, time_s) for time_s in (0.5, 1.5, 2.5)]
    assert [None if segment is None else segment.label for segment in named] == [
        "wave", None, "clap",
    ]  # fmt: skip
    assert len(set(colours_of(segments).values())) == 2


def test_blazepose_becomes_kinect() -> None:
    landmarks = np.zeros((1, N_LANDMARKS, 3), np.float32)
    landmarks[0, 16] = (-0.4, -0.2, 0.1)  # right wrist: left in the picture, above the hips
    landmarks[0, 12] = (-0.2, -0.5, 0.0)
    landmarks[0, 11] = (0.2, -0.5, 0.0)
    joints = to_kinect(landmarks)
    assert joints.shape == (1, len(KINECT_JOINTS), 3)
    np.testing.assert_allclose(joints[0, 10], (0.4, 0.2, 0.1), atol=1e-6)
    np.testing.assert_allclose(joints[0, 1], (0.0, 0.5, 0.0), atol=1e-6)
    assert to_kinect(landmarks[:0]).shape == (0, 20, 3)
    with pytest.raises(ValueError, match="expected one of"):
        make_pose_estimator("guess")
