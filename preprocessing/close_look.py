"""A cheap second look at faces whose place is known: small crops instead of the whole picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.faces import FaceDetector
from preprocessing.types import Detections

CROP_PX = 128
CROP_PER_BOX = 2.2


def look_close(
    detector: FaceDetector, image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]
) -> Detections:
    """Faces around known places, all crops in one call of the detector.

    A face near two places is found twice, and one at the edge of a crop is cut short: the result
    is good for following faces, not for finding new ones.

    Args:
        detector: Any backend.
        image: `[H, W, 3]` uint8 RGB.
        boxes_xyxy: `[N, 4]` where the faces were, N >= 1.

    Returns:
        Boxes in the whole picture's pixels.
    """
    windows = [_window(box, image.shape) for box in boxes_xyxy]
    crops = [_crop(image, window) for window in windows]
    found = detector.detect(crops)
    boxes = [
        seen.boxes_xyxy * np.float32((window[2] - window[0]) / crop.shape[1])
        + np.array([window[0], window[1]] * 2, np.float32)
        for seen, window, crop in zip(found, windows, crops, strict=True)
    ]
    scores = [seen.scores for seen in found]
    return Detections(np.concatenate(boxes).astype(np.float32), np.concatenate(scores))


def _window(box: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A square around the box, pushed into the picture; cut where the picture is smaller."""
    side_px = max(16, round(CROP_PER_BOX * float(max(box[2] - box[0], box[3] - box[1]))))
    x0, x1 = _span(float(box[0] + box[2]) / 2, side_px, shape[1])
    y0, y1 = _span(float(box[1] + box[3]) / 2, side_px, shape[0])
    return x0, y0, x1, y1


def _span(centre_px: float, side_px: int, limit_px: int) -> tuple[int, int]:
    side_px = min(side_px, limit_px)
    start = min(max(0, round(centre_px - side_px / 2)), limit_px - side_px)
    return start, start + side_px


def _crop(image: NDArray[np.uint8], window: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = window
    scale = CROP_PX / max(x1 - x0, y1 - y0)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image[y0:y1, x0:x1], size, interpolation=method), np.uint8)
