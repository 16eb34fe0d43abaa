"""Who stands how in a picture: the protocol, and MediaPipe behind it."""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from preprocessing.foreign_weights import WeightFile

POSE_ESTIMATORS = ("mediapipe",)

MEDIAPIPE_WEIGHTS = WeightFile(
    "mediapipe",
    "pose_landmarker_full.task",
    "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_full/"
    "float16/latest/pose_landmarker_full.task",
)
"""Published by Google under Apache-2.0; 9 MB."""

# Kinect's 20 joints as means of BlazePose's 33 landmarks: head, shoulder centre, spine, hip
# centre, then shoulder, elbow, wrist and hand left and right, hip, knee, ankle and foot likewise.
_SPINE = (11, 12, 23, 24, 23, 24, 23, 24, 23, 24)
KINECT_JOINTS: tuple[tuple[int, ...], ...] = (
    (7, 8), (11, 12), _SPINE, (23, 24),
    (11,), (13,), (15,), (17, 19), (12,), (14,), (16,), (18, 20),
    (23,), (25,), (27,), (31,), (24,), (26,), (28,), (32,),
)  # fmt: skip
N_LANDMARKS = 33
TRUNK = (11, 12, 23, 24)
MIN_VISIBILITY = 0.5
"""Of shoulders and hips on average; below, the person is a likeness of one."""


class PoseUnavailable(ModelError):
    """The package of a pose estimator is not installed."""

    code = "pose_unavailable"


class PoseEstimator(Protocol):
    """Finds people in pictures that come in the order of time."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def estimate(self, image: NDArray[np.uint8], time_s: float) -> NDArray[np.float32]:
        """`[P, 20, 3]`, Kinect's joints in metres, axes as in `to_kinect`; P may be 0.

        Args:
            image: `[H, W, 3]` uint8 RGB.
            time_s: When, on the clip's clock; later than the picture before.
        """
        ...

    def close(self) -> None:
        """Let go of the network."""
        ...


class MediaPipePose:
    """MediaPipe's pose landmarker in its video mode.

    Args:
        weights: The `.task` file; None: in the torch hub cache.
        max_people: More than so many are not looked for.

    Raises:
        PoseUnavailable: MediaPipe is not installed.
        DetectorUnavailable: Its weights are absent; the message says what to fetch.
    """

    name = "mediapipe"

    def __init__(self, weights: Path | None = None, max_people: int = 2) -> None:
        """Open the network."""
        try:
            self._package: Any = import_module("mediapipe")
        except ImportError as error:
            raise PoseUnavailable(
                "mediapipe: expected the package, found none; pip install 'avse[pose]'"
            ) from error
        path = MEDIAPIPE_WEIGHTS.locate(weights)
        vision = import_module("mediapipe.tasks.python.vision")
        base = import_module("mediapipe.tasks.python").BaseOptions
        options = vision.PoseLandmarkerOptions(
            base_options=base(model_asset_path=str(path)),
            running_mode=vision.RunningMode.VIDEO,
            num_poses=max_people,
        )
        self._landmarker = vision.PoseLandmarker.create_from_options(options)
        self._last_ms = -1

    def estimate(self, image: NDArray[np.uint8], time_s: float) -> NDArray[np.float32]:
        """People of one picture, nearest to the picture before; `[0, 20, 3]` where nobody is."""
        self._last_ms = max(self._last_ms + 1, round(1000 * time_s))
        pixels = np.ascontiguousarray(image)
        picture = self._package.Image(image_format=self._package.ImageFormat.SRGB, data=pixels)
        found = self._landmarker.detect_for_video(picture, self._last_ms)
        people = [
            [(mark.x, mark.y, mark.z) for mark in person]
            for person in found.pose_world_landmarks
            if sum(person[place].visibility for place in TRUNK) >= MIN_VISIBILITY * len(TRUNK)
        ]
        return to_kinect(np.array(people, np.float32).reshape(-1, N_LANDMARKS, 3))

    def close(self) -> None:
        """Let go of the network; MediaPipe complains where that is left to the interpreter."""
        self._landmarker.close()


def to_kinect(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Kinect's joints `[P, 20, 3]` from BlazePose's world landmarks `[P, 33, 3]`, in metres.

    BlazePose: x to the picture's right, y down, z away from the camera. Kinect: x to the
    picture's left (a person who faces the camera has the own right hand at positive x), y up, z
    away from the camera.
    """
    joints = [landmarks[:, list(indices)].mean(1) for indices in KINECT_JOINTS]
    flipped = np.stack(joints, 1) * np.array([-1, -1, 1], np.float32)
    return np.ascontiguousarray(flipped, np.float32)


def make_pose_estimator(name: str, weights: Path | None = None) -> PoseEstimator:
    """The estimator of that name.

    Raises:
        ValueError: The name is unknown.
        ModelError: Its package or weights are not there.
    """
    if name not in POSE_ESTIMATORS:
        raise ValueError(f"pose: expected one of {POSE_ESTIMATORS}, found {name!r}")
    return MediaPipePose(weights)
