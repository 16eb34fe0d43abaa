"""What a mask takes away less of: a little everywhere, all where a voice is next to alone."""

import torch
from torch import Tensor

from models.agreement import between

LEAST_POWER = 1e-12
LEAST = 1e-9
"""Below every mask that is heard; a power below one is infinitely steep at 0."""


def softened(mask: Tensor, power: float) -> Tensor:
    """The mask `[B, T, F]` in 0..1 to a power; below one it takes less away."""
    return mask.clamp_min(LEAST) ** power


def as_heard(
    mask: Tensor, magnitude: Tensor, power: float, levels_db: tuple[float, float]
) -> Tensor:
    """The mask `softened`, and `spared` where levels are given (both zero: none)."""
    opened = softened(mask.float(), power)
    return spared(opened, magnitude, levels_db) if any(levels_db) else opened


def spared(mask: Tensor, magnitude: Tensor, levels_db: tuple[float, float]) -> Tensor:
    """The mask, opened where what it takes away lies far below what it keeps.

    A clean recording has nothing in it to take away, and whatever a mask takes there is the voice.

    Args:
        mask: `[B, T, F]` in 0..1.
        magnitude: `[B, T, F]` linear, of the mixture.
        levels_db: How far what is kept of a window has to lie above what is taken away for the mask
            to begin to open, and to be open wholly; the second is the greater one.

    Returns:
        `[B, T, F]` in 0..1; what it was where next to nothing is kept, in silence too.
    """
    kept, taken = ((x * magnitude).square().sum((1, 2)) for x in (mask, 1 - mask))
    level_db = 10 * torch.log10(kept.clamp_min(LEAST_POWER) / taken.clamp_min(LEAST_POWER))
    share = between(level_db, *levels_db)
    return torch.lerp(mask, torch.ones_like(mask), share[:, None, None])
