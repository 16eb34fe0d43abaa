"""Skeletons as the action head reads them: origin in the torso, a fixed number of frames."""

import numpy as np
from numpy.typing import NDArray

COORDINATES = 3


def centre_skeleton(skeleton: NDArray[np.float32], torso_joint: int) -> NDArray[np.float32]:
    """`[T, J, 3]` with the origin in a joint of the torso, frame by frame.

    Raises:
        ValueError: The array has another shape or no such joint.
    """
    if skeleton.ndim != 3 or skeleton.shape[2] != COORDINATES or not len(skeleton):
        raise ValueError(f"skeleton: expected [T, J, 3], found {skeleton.shape}")
    if not 0 <= torso_joint < skeleton.shape[1]:
        raise ValueError(f"skeleton: no joint {torso_joint} among {skeleton.shape[1]}")
    centred: NDArray[np.float32] = skeleton - skeleton[:, torso_joint : torso_joint + 1]
    return centred


def stretch_skeleton(
    skeleton: NDArray[np.float32], n_frames: int, start: float = 0.0, length: float = 1.0
) -> NDArray[np.float32]:
    """Part of a movement, resampled linearly to `[n_frames, J, 3]`.

    Args:
        skeleton: `[T, J, 3]`.
        n_frames: Frames wanted.
        start: Where the part begins, 0..1 of the movement.
        length: How much of the movement it takes, 0..1.
    """
    last = len(skeleton) - 1
    places = np.linspace(start * last, min(start + length, 1.0) * last, n_frames)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, last)
    share = (places - below)[:, None, None]
    between = (1 - share) * skeleton[below] + share * skeleton[above]
    return np.asarray(between, np.float32)


def skeleton_input(
    skeleton: NDArray[np.float32], n_frames: int, torso_joint: int
) -> NDArray[np.float32]:
    """`[3, n_frames, J, 1]`, what `models.hcn.HCN` takes for one person."""
    stretched = stretch_skeleton(centre_skeleton(skeleton, torso_joint), n_frames)
    return np.ascontiguousarray(stretched.transpose(2, 0, 1)[..., None])
