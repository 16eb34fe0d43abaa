"""From mel bands to a mask of every bin, with the magnitude itself as a guide."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.mel_bands import mel_to_bins
from models.sound_tower import SpectrumBlock


class BinRefiner(nn.Module):
    """Decoder features `[B, C, T, M]` and the magnitude `[B, T, F]` to the mask `[B, T, F]`.

    Four neighbouring bins are folded into channels, so that the convolutions stay small. The
    features behind the mask, `[B, N_FEATURES, T, F / FOLD]`, are given back with it.
    """

    FOLD = 4
    N_FEATURES = 32

    def __init__(
        self,
        n_mels: int,
        n_bins: int,
        sample_rate_hz: int,
        n_in: int,
        dilations: tuple[int, ...] = (),
    ) -> None:
        """Build with fresh weights for `n_in` channels of the decoder; a block each dilation."""
        super().__init__()
        n_folded = -(-n_bins // self.FOLD) * self.FOLD
        spread = mel_to_bins(n_mels, n_bins, sample_rate_hz)
        spread = F.pad(spread, (0, n_folded - n_bins))
        grouped = rearrange(spread, "m (g k) -> m g k", k=self.FOLD).mean(2)
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("grouped", grouped, persistent=False)
        self.fine = nn.Conv2d(n_in, 2, 1)
        self.coarse = nn.Conv2d(n_in, 12, 1)
        self.refine = nn.Sequential(
            nn.Conv2d(3 * self.FOLD + 12, self.N_FEATURES, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.N_FEATURES, self.FOLD, 3, padding=1),
        )
        self.blocks = nn.Sequential(*(SpectrumBlock(self.N_FEATURES, d) for d in dilations))
        self.spread: Tensor
        self.grouped: Tensor

    def forward(self, x: Tensor, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Mask and features; see the class."""
        n_bins = magnitude.shape[2]
        fine = self.fine(x) @ self.spread  # [B, 2, T, 4 G]
        level = torch.log(magnitude.unsqueeze(1) + 1e-4) / 4 + 1
        level = F.pad(level, (0, fine.shape[3] - n_bins))
        coarse = self.coarse(x) @ self.grouped  # [B, 12, T, G]
        parts = [self._fold(fine), self._fold(level), rearrange(coarse, "b c t g -> b t g c")]
        y = self.refine[:2](rearrange(torch.cat(parts, 3), "b t g c -> b c t g"))
        features = self.blocks(y)
        y = self.refine[2](features)
        y = rearrange(y, "b k t g -> b t (g k)") + fine[:, 0]
        return torch.sigmoid(y[..., :n_bins]), features

    def _fold(self, x: Tensor) -> Tensor:
        """Channels last in memory, where convolutions and this folding are cheapest."""
        return rearrange(x, "b c t (g k) -> b t g (c k)", k=self.FOLD)
