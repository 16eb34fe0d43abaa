"""The grey surroundings of one face in one picture: all that is kept of the picture."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.types import Frame

_MAX_BOX_PER_PICTURE = 2.0


@dataclass(frozen=True, slots=True)
class FacePatch:
    """Grey surroundings of one face; `scale` patch pixels a source pixel from `corner_px`."""

    track_id: int
    time_s: float
    grey: NDArray[np.uint8]
    corner_px: NDArray[np.float64]
    scale: float
    face_centre_px: NDArray[np.float64]
    face_side_px: float


def cut_patch(
    track_id: int, frame: Frame, box: NDArray[Any], patch_boxes: float, patch_px: int
) -> FacePatch:
    """The patch around a box `[4]`: `patch_boxes` longer edges wide, at most `patch_px` pixels."""
    longer_px = float(max(box[2] - box[0], box[3] - box[1]))
    centre_px = np.array([box[0] + box[2], box[1] + box[3]], dtype=np.float64) / 2
    side_px = max(8, round(longer_px * patch_boxes))
    left, top = np.floor(centre_px - side_px / 2).astype(int)
    height, width = frame.image.shape[:2]
    if left >= 0 and top >= 0 and left + side_px <= width and top + side_px <= height:
        region = frame.image[top : top + side_px, left : left + side_px]
    else:
        rows = np.arange(top, top + side_px).clip(0, height - 1)
        columns = np.arange(left, left + side_px).clip(0, width - 1)
        region = frame.image[rows[:, None], columns]
    grey = cv2.cvtColor(region, cv2.COLOR_RGB2GRAY)
    if side_px > patch_px:
        size = (patch_px, patch_px)
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    corner_px = np.array([left, top], dtype=np.float64)
    scale = grey.shape[0] / side_px
    patch = np.asarray(grey, dtype=np.uint8)
    return FacePatch(track_id, frame.time_s, patch, corner_px, scale, centre_px, longer_px)


def check_box(box: NDArray[Any], image: NDArray[np.uint8]) -> None:
    """Nothing, if a box can be cut out.

    Raises:
        ValueError: It has no area, is not finite or is far larger than the picture.
    """
    edges = (box[2] - box[0], box[3] - box[1])
    limit_px = _MAX_BOX_PER_PICTURE * max(image.shape[:2])
    if not (np.isfinite(box).all() and min(edges) > 0 and max(edges) <= limit_px):
        raise ValueError(f"box_xyxy: expected a finite box with area, found {box.tolist()}")
