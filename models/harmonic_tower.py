"""The bins of a voice's harmonics, two by two: what mel bands are too coarse for."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.mel_bands import mel_to_bins
from models.sound_tower import SpectrumBlock

FOLD = 2
"""Neighbouring bins that become channels of one group."""


class HarmonicTower(nn.Module):
    """Corrects the logits of the mask of the lowest bins.

    Blocks of two paths each: convolutions see the neighbours in time and frequency, a map over all
    groups sees a whole comb of harmonics at once. A fresh tower corrects nothing, so that it can be
    put into a trained network.

    Reference:
        Quan and Li, SpatialNet, 2024, for blocks within and across frequencies in turn.
    """

    def __init__(
        self,
        bins: tuple[int, int, int],
        n_lowest: int,
        inputs: tuple[int, int],
        n_channels: int,
        dilations: tuple[int, ...],
    ) -> None:
        """Build with fresh weights, one block each for `dilations`.

        Args:
            bins: Mel bands, STFT bins and the rate in Hz they belong to.
            n_lowest: How many bins from 0 Hz on, even.
            inputs: Channels of the decoder, and of the bottleneck.
            n_channels: Channels of the tower.
            dilations: In time.
        """
        super().__init__()
        self.n_lowest = n_lowest
        spread = mel_to_bins(*bins)[:, :n_lowest]
        grouped = rearrange(spread, "m (g k) -> m g k", k=FOLD).mean(2)
        self.register_buffer("grouped", grouped, persistent=False)
        self.grouped: Tensor
        n_decoded, n_deep = inputs
        self.into = nn.Conv2d(4 * FOLD + n_decoded, n_channels, 3, padding=1)
        self.deep = nn.Conv1d(n_deep, n_channels, 1)
        self.blocks = nn.ModuleList(SpectrumBlock(n_channels, d) for d in dilations)
        self.combs = nn.ModuleList(CombBlock(n_channels, n_lowest // FOLD) for _ in dilations)
        self.out_of = nn.Conv2d(n_channels, FOLD, 3, padding=1)
        nn.init.zeros_(self.out_of.weight)
        assert self.out_of.bias is not None
        nn.init.zeros_(self.out_of.bias)

    def forward(
        self,
        logits: Tensor,
        magnitude: Tensor,
        decoded: Tensor,
        deep: Tensor,
        guess: Tensor | None,
    ) -> Tensor:
        """The same logits, those of the lowest bins corrected.

        Args:
            logits: `[B, T, F]` of the mask.
            magnitude: `[B, T, F]` linear, of the mixture.
            decoded: `[B, C, T, M]`, what the decoder gave.
            deep: `[B, D, V]`, T = 4 V, the bottleneck: there lips and sound were joined.
            guess: `[B, T, F]`, the mask of the first time, or None.
        """
        low, loud = logits[..., : self.n_lowest], magnitude[..., : self.n_lowest]
        share = torch.sigmoid(low)
        told = torch.zeros_like(share) if guess is None else guess[..., : self.n_lowest] - 0.5
        levels = [torch.log(x + 1e-4) / 4 + 1 for x in (loud, share * loud, (1 - share) * loud)]
        fine = [rearrange(x, "b t (g k) -> b t g k", k=FOLD) for x in (*levels, told)]
        coarse = rearrange(decoded @ self.grouped, "b c t g -> b t g c")
        y = self.into(rearrange(torch.cat([*fine, coarse], 3), "b t g c -> b c t g"))
        y = F.relu(y + self.deep(deep).repeat_interleave(4, 2)[..., None])
        for block, comb in zip(self.blocks, self.combs, strict=True):
            y = comb(block(y))
        added = rearrange(self.out_of(y), "b k t g -> b t (g k)")
        return logits + F.pad(added, (0, logits.shape[2] - self.n_lowest))


class CombBlock(nn.Module):
    """Residual map over all frequencies of a frame, `[B, C, T, G]` to the same.

    A fresh block changes nothing.
    """

    N_MAPS = 16

    def __init__(self, n_channels: int, n_groups: int) -> None:
        """One `[G, G]` map each for a few mixtures of the channels."""
        super().__init__()
        self.squeeze = nn.Conv2d(n_channels, self.N_MAPS, 1)
        self.maps = nn.Parameter(torch.randn(self.N_MAPS, n_groups, n_groups) / n_groups**0.5)
        self.norm = nn.BatchNorm2d(self.N_MAPS)
        self.spread = nn.Conv2d(self.N_MAPS, n_channels, 1)
        nn.init.zeros_(self.spread.weight)
        assert self.spread.bias is not None
        nn.init.zeros_(self.spread.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the other frequencies say."""
        y = F.relu(self.squeeze(x))
        n_time = y.shape[2]
        y = rearrange(y, "b m t g -> m (b t) g") @ self.maps
        y = self.norm(rearrange(y, "m (b t) g -> b m t g", t=n_time))
        added: Tensor = self.spread(F.relu(y))
        return x + added
