"""A square part of every picture, at one size: where the head looks."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SquareView:
    """A square in the picture, in parts of its size, so that any resolution will do.

    Attributes:
        centre_x: 0 left edge .. 1 right edge.
        centre_y: 0 top edge .. 1 bottom edge.
        side: In parts of the shorter edge.
    """

    centre_x: float = 0.5
    centre_y: float = 0.5
    side: float = 1.0

    def __post_init__(self) -> None:
        """Check the side.

        Raises:
            ValueError: It is not above 0.
        """
        if self.side <= 0:
            raise ValueError(f"SquareView: expected a side above 0, found {self.side}")

    def cut(self, image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
        """The square `[size_px, size_px]` or `[.., 3]` of a picture; 0 beyond its edges."""
        height, width = image.shape[:2]
        side_px = self.side * min(height, width)
        scale = size_px / side_px
        left_px = self.centre_x * width - side_px / 2
        top_px = self.centre_y * height - side_px / 2
        # Pixel centres lie at halves: x_out + .5 = (x_in + .5 - left) * scale.
        matrix = np.array(
            [
                [scale, 0, (0.5 - left_px) * scale - 0.5],
                [0, scale, (0.5 - top_px) * scale - 0.5],
            ]
        )
        if scale < 1:
            return self._shrink(image, matrix, size_px, scale)
        cut = cv2.warpAffine(image, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR)
        return np.asarray(cut, np.uint8)

    @staticmethod
    def _shrink(
        image: NDArray[np.uint8], matrix: NDArray[np.float64], size_px: int, scale: float
    ) -> NDArray[np.uint8]:
        """Cut at full size first, then average: large pictures do not alias."""
        side_px = max(1, round(size_px / scale))
        full = matrix / scale
        full[:, 2] = (matrix[:, 2] + 0.5) / scale - 0.5
        square = cv2.warpAffine(image, full, (side_px, side_px), flags=cv2.INTER_LINEAR)
        small = cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)
