"""Geometry of boxes: xyxy, pixels, half-open."""

import numpy as np
from numpy.typing import NDArray


def area_px(box_xyxy: NDArray[np.float32]) -> float:
    """Area of one box `[4]`, square pixels."""
    return float((box_xyxy[2] - box_xyxy[0]) * (box_xyxy[3] - box_xyxy[1]))


def pairwise_iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union `[N, M]` of boxes `[N, 4]` and `[M, 4]`, xyxy."""
    upper = np.maximum(one[:, None, :2], other[None, :, :2])
    lower = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(lower - upper, 0, None).prod(2)
    area_one = (one[:, 2:] - one[:, :2]).prod(1)
    area_other = (other[:, 2:] - other[:, :2]).prod(1)
    union = area_one[:, None] + area_other[None] - common
    return (common / np.maximum(union, 1e-9)).astype(np.float32)  # type: ignore[no-any-return]
