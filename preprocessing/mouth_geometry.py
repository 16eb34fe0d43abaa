"""Geometry and timing of mouth crops: poses, smoothing over time, warps, the 25 fps grid."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mouth_landmarks import LEFT_EYE, N_MOUTH_POINTS, NOSE, RIGHT_EYE
from preprocessing.timeline import VIDEO_FPS

_TIE_S = 1e-4
_EYES_PER_MOUTH_DISTANCE = 0.8


def warp_affine(
    picture: NDArray[np.uint8], matrix: NDArray[np.float64], side_px: int
) -> NDArray[np.uint8]:
    """Square crop by an affine map; edges are continued, strong shrinking is averaged first.

    Args:
        picture: `[H, W]` uint8.
        matrix: `[2, 3]` from picture to crop, pixels, pixel i covering i to i + 1.
        side_px: Side of the crop.
    """
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.35 / scale), dtype=np.uint8)
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    size = (side_px, side_px)
    warped = cv2.warpAffine(
        picture, centred, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, dtype=np.uint8)


def face_pose(points_px: NDArray[Any]) -> NDArray[np.float64]:
    """Centre, size and angle of a mouth from the 25 points of its face.

    The eye distance is bounded below by the eyes-to-mouth distance, so that a head turned to the
    side is not magnified; the angle is that of the eye line and the eyes-to-mouth line together.

    Args:
        points_px: `[25, 2]` source pixels.

    Returns:
        `[4]`: mouth centroid x and y, log of the eye distance in pixels, angle in radians.
    """
    centre = points_px[:N_MOUTH_POINTS].mean(axis=0)
    eye_line = points_px[RIGHT_EYE] - points_px[LEFT_EYE]
    down = centre - (points_px[RIGHT_EYE] + points_px[LEFT_EYE]) / 2
    level = eye_line + 0.5 * np.array([down[1], -down[0]])
    eyes_px = max(float(np.hypot(*eye_line)), _EYES_PER_MOUTH_DISTANCE * float(np.hypot(*down)))
    angle = math.atan2(level[1], level[0])
    return np.array([centre[0], centre[1], math.log(max(eyes_px, 1e-3)), angle])


def head_turn(points_px: NDArray[Any]) -> float:
    """How far a head is turned to the side, from the 25 points of its face.

    Args:
        points_px: `[25, 2]` source pixels.

    Returns:
        How far the tip of the nose lies beside the line from the eyes to the mouth, in lengths of
        that line: 0 from the front, positive where the nose points to the right of the picture.
    """
    eyes = (points_px[RIGHT_EYE] + points_px[LEFT_EYE]) / 2
    down = points_px[:N_MOUTH_POINTS].mean(axis=0) - eyes
    nose = points_px[NOSE] - eyes
    return float((nose[0] * down[1] - nose[1] * down[0]) / max(float(down @ down), 1e-6))


def smoothed_value(
    times_s: NDArray[np.float64], values: NDArray[np.float64], at_s: float, sigma_s: float
) -> NDArray[np.float64]:
    """Local linear fit with Gaussian weights, so that steady motion is not delayed at an end.

    Args:
        times_s: `[N]` seconds, any spacing.
        values: `[N, D]`.
        at_s: Where the fit is read.
        sigma_s: Standard deviation of the weights; beyond three of them they are zero.

    Returns:
        `[D]`.
    """
    offset = times_s - at_s
    near = np.abs(offset) <= 3 * sigma_s
    offset, values = offset[near], values[near]
    weight = np.exp(-0.5 * (offset / sigma_s) ** 2)
    weight /= weight.sum()
    mean_offset, mean = weight @ offset, weight @ values
    spread = weight @ (offset - mean_offset) ** 2
    if spread < 1e-9:
        return np.asarray(mean)
    slope = (weight * (offset - mean_offset)) @ (values - mean) / spread
    return np.asarray(mean - slope * mean_offset)


def turned_about(centre: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """`[2, 3]` map that brings `centre` to the origin and the direction `angle` level."""
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.column_stack((turn, -turn @ centre))


def nearest_pictures(
    times_s: NDArray[np.float64], centres_s: NDArray[np.float64], max_distance_s: float
) -> NDArray[np.int64]:
    """Index of the picture on screen at each time, -1 where none is near.

    A picture is on screen from its timestamp on, so its middle is half an interval later; the
    picture with the nearest middle is taken, the later one of two equally near.

    Args:
        times_s: `[N]` increasing timestamps, N >= 1.
        centres_s: `[V]` wanted times.
        max_distance_s: Farther than this counts as absent.
    """
    interval_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / VIDEO_FPS
    middles_s = times_s + min(interval_s, 2 / VIDEO_FPS) / 2
    after = np.searchsorted(middles_s, centres_s).clip(0, len(times_s) - 1)
    before = (after - 1).clip(0)
    is_before_nearer = centres_s - middles_s[before] < np.abs(middles_s[after] - centres_s) - _TIE_S
    nearest = np.where(is_before_nearer, before, after)
    is_near = np.abs(middles_s[nearest] - centres_s) <= max_distance_s + _TIE_S
    return np.where(is_near, nearest, -1)
