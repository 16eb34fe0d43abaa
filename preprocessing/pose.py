"""Who stands how in a picture: the protocol, and the adapters behind it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class PoseEstimator(Protocol):
    """Finds people in pictures that come in the order of time."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def estimate(self, image: NDArray[np.uint8], time_s: float) -> NDArray[np.float32]:
        """`[P, J, 3]`, metres, the axes of a depth camera: x right, y up, z away from it.

        Args:
            image: `[H, W, 3]` uint8 RGB.
            time_s: When, on the clip's clock; later than the picture before.
        """
        ...
