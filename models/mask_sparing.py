"""A voice that is next to alone is left as it is."""

import torch
from torch import Tensor

from models.agreement import between

LEAST_POWER = 1e-12


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
