"""What one step learns from."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Training examples.

    Attributes:
        noisy: `[B, L]`.
        clean: `[B, L]`.
        features: `[B, V, D]` lip features.
        is_visible: `[B, V]` bool.
        crops: `[B, V, 112, 112]` uint8 where pictures are wanted (the end-to-end polish).
    """

    noisy: Tensor
    clean: Tensor
    features: Tensor
    is_visible: Tensor
    crops: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same examples on a device."""
        return Batch(
            self.noisy.to(device),
            self.clean.to(device),
            self.features.to(device),
            self.is_visible.to(device),
            None if self.crops is None else self.crops.to(device),
        )
