"""How late a picture still is behind its sound, and its features at the sound's moment."""

import torch
from torch import Tensor

MOST_FRAMES = 1.0
"""Farthest that a picture is moved, pictures at 25 fps."""
STEP_FRAMES = 0.125
USUAL_FRAMES = 1.5
"""Standard deviation of what may be left of a lateness that was measured on the mixture."""
EVIDENCE = 2.0
"""Weight of a picture's agreement, a cosine, against that."""


def lateness(agreement: Tensor, lags: tuple[int, ...]) -> Tensor:
    """By how much pictures come late, as a mean over what agreement and habit make likely.

    `p(lag) ~ exp(EVIDENCE c(lag) - lag^2 / (2 USUAL_FRAMES^2))`, where `c` is the sum of cosines.

    Args:
        agreement: `[B, V, len(lags)]` cosines of each picture, 0 for hidden ones, with the sound
            so many pictures earlier.
        lags: Whole numbers of pictures that rise by one and reach to `MOST_FRAMES` on both sides.

    Returns:
        `[B]` pictures; negative where they come early, 0 where none is visible.
    """
    sums = agreement.float().sum(1)  # [B, K]
    n_steps = round(MOST_FRAMES / STEP_FRAMES)
    away = torch.arange(-n_steps, n_steps + 1, device=sums.device) * STEP_FRAMES
    place = away - lags[0]
    below = place.floor().long().clamp(max=len(lags) - 2)
    between = torch.lerp(sums[:, below], sums[:, below + 1], (place - below)[None])
    weights = (EVIDENCE * between - away.square() / (2 * USUAL_FRAMES**2)).softmax(1)
    return (weights * away).sum(1)


def in_step(features: Tensor, is_visible: Tensor, late: Tensor) -> Tensor:
    """Features of pictures that come late by a frame at most, at the time of the sound.

    Each is mixed with the next one, or the one before, by the lateness's share of a frame, where
    both pictures are visible.

    Args:
        features: `[B, V, C]`.
        is_visible: `[B, V]` bool.
        late: `[B]` in -1..1 pictures.
    """
    n_frames = features.shape[1]
    places = torch.arange(n_frames, device=features.device)
    beside = (places + late.sign().long()[:, None]).clamp(0, n_frames - 1)  # [B, V]
    both = is_visible & is_visible.gather(1, beside)
    share = (late.abs()[:, None] * both).to(features.dtype)[..., None]
    index = beside[..., None].expand_as(features)
    return torch.lerp(features, features.gather(1, index), share)
