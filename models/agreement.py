"""Whether what a mask keeps, or what it takes away, moves with the lips."""

from dataclasses import dataclass
from typing import Self

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.lip_sync import LipSyncConfig, SoundTower, TemporalHead
from models.mel_bands import bins_to_mel

LAGS = (-2, -1, 0, 1, 2)
"""Pictures by which the lips may come late, or early."""
LOG_FLOOR = 1e-4
LEAST_FRAMES = 12
"""Visible pictures below which agreement says nothing: half a second."""
SILENT, HEARD = 0.02, 0.12
"""Share of the energy that is kept of a voice that is silent, and of one that is not."""
LITTLE, MUCH = 0.1, 0.4
"""Share of the energy without which the voice wanted can hardly be, and with which it may be."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a network makes of a mixture.

    Attributes:
        mask: `[B, T, F]` in 0..1, or complex: what the spectrum is to be multiplied by.
        doubt: `[B]` in 0..1: how far the mask gave way to that of every voice, for what lips and
            sound told did not agree.
    """

    mask: Tensor
    doubt: Tensor

    @classmethod
    def surely(cls, mask: Tensor) -> Self:
        """A mask that nothing speaks against."""
        return cls(mask, mask.new_zeros(len(mask)))


class Agreement(nn.Module):
    """Compares lips with both halves of a mixture, as a first mask parts it.

    Over a second or so the contrastive towers tell which of two clean voices moves the lips in
    nearly every clip, while a mask that was made from lips and mixture in one go at times follows
    the other voice throughout. The towers here are those of `LipSync` and stay as they are.

    Reference:
        Chung and Zisserman, Out of time, 2016, for the comparison.
    """

    def __init__(self, config: LipSyncConfig, n_bins: int, sample_rate_hz: int) -> None:
        """Build the sound's half of the towers; the lips' half is the caller's.

        Args:
            config: The shape of the towers.
            n_bins: STFT bins of magnitudes.
            sample_rate_hz: Rate the bins belong to.
        """
        super().__init__()
        self.tower = SoundTower(config)
        self.head = TemporalHead(self.tower.n_features, config.n_embedding)
        bands = bins_to_mel(config.n_mels, n_bins, sample_rate_hz)
        self.register_buffer("bands", bands, persistent=False)
        self.bands: Tensor
        self.n_evidence = 2 * (config.n_embedding + len(LAGS))

    @torch.no_grad()
    def forward(
        self, mask: Tensor, magnitude: Tensor, lips: Tensor, is_visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both halves as they sound, and how each agrees with the lips.

        Args:
            mask: `[B, T, F]` in 0..1.
            magnitude: `[B, T, F]` linear, of the mixture at the level the networks know.
            lips: `[B, V, D]` embeddings of unit length.
            is_visible: `[B, V]` bool; without lips there is no evidence.

        Returns:
            Log-mel `[B, 2, T, M]`, at about -1 to 1, and evidence `[B, n_evidence, V]`: for each
            half the products of both embeddings, and their sums at several lags. Nothing is learned
            through it.
        """
        halves = torch.stack([mask * magnitude, (1 - mask) * magnitude], 1)  # [B, 2, T, F]
        sounds = torch.log(halves @ self.bands + LOG_FLOOR) / 4 + 1  # [B, 2, T, M]
        level = magnitude.square().sum((1, 2)).clamp_min(1e-8)[:, None]
        power = halves.square().sum((2, 3)).clamp_min(1e-8)
        # a half that is all but silent is not blown up
        gain = (level / power).clamp(max=1e3).sqrt()[..., None, None]
        loud = torch.log((halves * gain) @ self.bands + LOG_FLOOR)
        heard = F.normalize(self.head(self.tower(rearrange(loud, "b h t m -> (b h) t m"))), dim=2)
        heard = rearrange(heard, "(b h) v d -> b h v d", h=2)
        shown = lips * is_visible.unsqueeze(2)
        products = heard * shown.unsqueeze(1)  # [B, 2, V, D]
        n_frames, most = lips.shape[1], max(LAGS)
        late = F.pad(heard, (0, 0, most, most))
        cosines = [
            (late[:, :, most - lag : most - lag + n_frames] * shown.unsqueeze(1)).sum(3)
            for lag in LAGS
        ]
        scale = lips.shape[2] ** 0.5
        evidence = torch.cat([products * scale, torch.stack(cosines, 3)], 3)
        return sounds, rearrange(evidence, "b h v c -> b (h c) v")


def doubt(
    evidence: Tensor,
    kept: Tensor,
    magnitude: Tensor,
    is_visible: Tensor,
    trust: tuple[float, float],
) -> Tensor:
    """How far a mask is not to be trusted, for what it keeps moves with the lips too little.

    A mouth that stands still is no reason to doubt a silence, nor is there one where next to
    nothing was taken away.

    Args:
        evidence: `[B, n_evidence, V]` of the mask, from `Agreement`.
        kept: `[B, T, F]`, magnitudes behind the mask.
        magnitude: `[B, T, F]`, before it.
        is_visible: `[B, V]` bool.
        trust: How much better what is kept has to agree than what is taken away, each at its best
            lag, to be trusted not at all and wholly.

    Returns:
        `[B]` in 0..1; 0 where fewer than `LEAST_FRAMES` pictures are visible.
    """
    n_shown = is_visible.sum(1)  # [B]
    cosines = rearrange(evidence, "b (h c) v -> b h c v", h=2)[:, :, -len(LAGS) :]
    best = (cosines.sum(3) / n_shown.clamp(min=1)[:, None, None]).amax(2)  # [B, 2]
    low, high = trust
    margin = best[:, 0] - best[:, 1]
    doubted = 1 - between(margin, low, high)
    energy = magnitude.square().sum((1, 2)).clamp_min(1e-12)
    kept_share, taken_share = (x.square().sum((1, 2)) / energy for x in (kept, magnitude - kept))
    doubted = doubted * between(kept_share, SILENT, HEARD) * between(taken_share, LITTLE, MUCH)
    return torch.where(n_shown >= LEAST_FRAMES, doubted, 0.0)


def between(x: Tensor, low: float, high: float) -> Tensor:
    """0 up to `low`, 1 from `high` on; a step where both are one."""
    return ((x - low) / max(high - low, 1e-6)).clamp(0, 1)
