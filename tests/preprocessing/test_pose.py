"""MediaPipe behind the pose protocol, with a stand-in for it: what goes in, what comes out."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from preprocessing.foreign_weights import DetectorUnavailable
from preprocessing.pose import N_LANDMARKS, MediaPipePose, PoseUnavailable, make_pose_estimator


@dataclass
class Mark:
    x: float
    y: float
    z: float
    visibility: float


def person(x: float, visibility: float = 0.9) -> list[Mark]:
    return [Mark(x, 0.5, 0.0, visibility) for _ in range(N_LANDMARKS)]


class Landmarker:
    """Gives what it was told to and remembers what it was asked."""

    def __init__(self) -> None:
        self.people: list[list[Mark]] = []
        self.asked: list[tuple[Any, int]] = []
        self.is_closed = False

    def detect_for_video(self, picture: Any, time_ms: int) -> Any:
        self.asked.append((picture, time_ms))
        return SimpleNamespace(pose_world_landmarks=self.people)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def landmarker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Landmarker:
    made = Landmarker()
    package, tasks, python, vision = (ModuleType(name) for name in ("mp", "t", "p", "v"))
    package.Image = lambda image_format, data: data  # type: ignore[attr-defined]
    package.ImageFormat = SimpleNamespace(SRGB=1)  # type: ignore[attr-defined]
    python.BaseOptions = lambda model_asset_path: model_asset_path  # type: ignore[attr-defined]
    vision.RunningMode = SimpleNamespace(VIDEO="video")  # type: ignore[attr-defined]
    vision.PoseLandmarkerOptions = lambda **options: options  # type: ignore[attr-defined]
    vision.PoseLandmarker = SimpleNamespace(  # type: ignore[attr-defined]
        create_from_options=lambda options: made
    )
    names = ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python")
    modules = zip(names, (package, tasks, python), strict=True)
    for name, module in (*modules, ("mediapipe.tasks.python.vision", vision)):
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "pose.task").write_bytes(b"weights")
    return made


def test_people_come_back_as_kinects_joints(landmarker: Landmarker, tmp_path: Path) -> None:
    landmarker.people = [person(0.25), person(-0.5)]
    pose = MediaPipePose(tmp_path / "pose.task")
    found = pose.estimate(np.zeros((4, 4, 3), np.uint8), 0.04)
    assert found.shape == (2, 20, 3)
    np.testing.assert_allclose(found[:, 0], [[-0.25, -0.5, 0.0], [0.5, -0.5, 0.0]])
    pose.close()
    assert landmarker.is_closed


def test_a_likeness_of_a_person_is_nobody(landmarker: Landmarker, tmp_path: Path) -> None:
    landmarker.people = [person(0.25, visibility=0.2)]
    found = MediaPipePose(tmp_path / "pose.task").estimate(np.zeros((4, 4, 3), np.uint8), 0.0)
    assert found.shape == (0, 20, 3)


def test_times_never_stand_still(landmarker: Landmarker, tmp_path: Path) -> None:
    pose = MediaPipePose(tmp_path / "pose.task")
    for time_s in (0.1, 0.1, 0.1004, 0.2):
        pose.estimate(np.zeros((4, 4, 3), np.uint8), time_s)
    assert [time_ms for _, time_ms in landmarker.asked] == [100, 101, 102, 200]


def test_absent_weights_are_named(landmarker: Landmarker, tmp_path: Path) -> None:
    with pytest.raises(DetectorUnavailable, match="fetch https://"):
        make_pose_estimator("mediapipe", tmp_path / "absent.task")


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(PoseUnavailable, match="pip install"):
        make_pose_estimator("mediapipe")
