"""Which pictures of a turned head are read: those beside others that show it from the front."""

import numpy as np
from numpy.typing import NDArray

from preprocessing.timeline import VIDEO_FPS


def seen_in_profile_alone(
    is_present: NDArray[np.bool_],
    is_turned: NDArray[np.bool_],
    reach_s: float,
    least_front: float,
) -> NDArray[np.bool_]:
    """Pictures `[V]` of a turned head with too few pictures from the front around them.

    A profile says too little of a voice to choose by; beside a front it says enough to follow.

    Args:
        is_present: `[V]` whether there is a picture.
        is_turned: `[V]` whether it shows the head turned to profile.
        reach_s: Seconds before and after a picture that are looked at.
        least_front: Least share of the pictures in there that must show the front.
    """
    front = _sum_around(is_present & ~is_turned, reach_s)
    present = _sum_around(is_present, reach_s)
    return is_present & is_turned & (front < least_front * present)


def _sum_around(flags: NDArray[np.bool_], reach_s: float) -> NDArray[np.int64]:
    reach = round(reach_s * VIDEO_FPS)
    total = np.concatenate([[0], np.cumsum(flags)])
    places = np.arange(len(flags))
    last = np.minimum(places + reach + 1, len(flags))
    return np.asarray(total[last] - total[np.maximum(places - reach, 0)], np.int64)
