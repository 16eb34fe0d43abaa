"""Dense motion from one picture to the next."""

import cv2
import numpy as np
from numpy.typing import NDArray


def farneback_flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Motion `[H, W, 2]` in pixels (x, y) from grey picture `before` `[H, W]` to `after`.

    Reference:
        Farneback, Two-frame motion estimation based on polynomial expansion, SCIA 2003.
    """
    start = np.zeros((*before.shape, 2), np.float32)
    flow = cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 3, 11, 3, 5, 1.2, 0)
    return np.asarray(flow, np.float32)
