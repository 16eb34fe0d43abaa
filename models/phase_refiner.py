"""From a ratio mask to a complex one of the lowest bins: the voice's own phase."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.bin_refiner import BinRefiner
from models.sound_tower import SpectrumBlock

FOLD = BinRefiner.FOLD
"""Neighbouring bins that become channels, so that the convolutions stay small."""
NEIGHBOURS = (
    (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1),
)  # fmt: skip
"""Frames and bins from a point to those whose phase it is told."""
QUIETEST = 1e-6
START_SCALE = 0.3
SURE = 0.2
"""Share of a bin's magnitude taken away from which on its phase may be another; below, less so."""


class PhaseRefiner(nn.Module):
    """Adds to a ratio mask `M` what makes it a complex ratio mask in the lowest `n_bins` bins.

    `S = (M + C) X`, `C` complex. Where two voices meet in one bin neither has the phase of the sum
    `X`, and below 1 kHz, where a voice has most of its power, that costs more than all that a ratio
    mask still has wrong. Which phase a voice has shows in how the sum turns from frame to frame and
    from bin to bin. So the network is told no phase, only those between neighbours, of which the
    turn of a steady tone in the middle of the bin is taken out: what it finds does not depend on
    when the sound began. Besides, it is told the features from which the mask was made.

    Reference:
        Williamson, Wang and Wang, Complex ratio masking for monaural speech separation, 2016.
    """

    def __init__(self, n_bins: int, n_channels: int, dilations: tuple[int, ...]) -> None:
        """Build so that the mask stays as it is; a residual block each dilation.

        Raises:
            ValueError: `n_bins` is not a multiple of `FOLD`.
        """
        super().__init__()
        if n_bins % FOLD:
            raise ValueError(f"n_bins: expected a multiple of {FOLD}, found {n_bins}")
        self.n_bins = n_bins
        n_told = (2 * len(NEIGHBOURS) + 6) * FOLD + BinRefiner.N_FEATURES
        self.into = nn.Sequential(
            nn.Conv2d(n_told, n_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_channels),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(SpectrumBlock(n_channels, d) for d in dilations))
        for block in self.blocks:
            assert isinstance(block, SpectrumBlock)
            nn.init.constant_(block.norm2.weight, START_SCALE)
        self.out_of = nn.Conv2d(n_channels, 2 * FOLD, 1)
        nn.init.zeros_(self.out_of.weight)
        assert self.out_of.bias is not None
        nn.init.zeros_(self.out_of.bias)

    def forward(self, mask: Tensor, spectrum: Tensor, features: Tensor) -> Tensor:
        """The complex mask.

        Args:
            mask: `[B, T, F]` in 0..1.
            spectrum: `[B, T, F]` complex, of the mixture, at any level.
            features: `[B, N_FEATURES, T, F / FOLD]`, behind the mask, from `BinRefiner`.

        Returns:
            `[B, T, F]` complex; above the lowest bins it is the mask that was given.
        """
        told = self._told(mask[..., : self.n_bins], spectrum)
        known = rearrange(features[..., : self.n_bins // FOLD], "b c t g -> b t g c")
        parts = [rearrange(told, "c b t (g k) -> b t g (c k)", k=FOLD), known.float()]
        x = rearrange(torch.cat(parts, 3), "b t g c -> b c t g")  # channels last in memory
        y = self.out_of(self.blocks(self.into(x)))
        y = rearrange(y.float(), "b (r k) t g -> r b t (g k)", k=FOLD)
        added = torch.complex(y[0], y[1]) * freedom(mask[..., : self.n_bins])
        return mask + F.pad(added, (0, mask.shape[2] - self.n_bins))

    def _told(self, mask: Tensor, spectrum: Tensor) -> Tensor:
        """What the sound tells of each bin, `[C, B, T, n_bins]`."""
        low = spectrum[..., : self.n_bins]
        loudness = low.abs().square().mean((1, 2), keepdim=True).sqrt() + QUIETEST
        level = low.abs() / loudness
        turn = (low / loudness / (level + 1e-4)).conj()
        near = beside(spectrum[..., : self.n_bins + 1] / loudness)  # [N, B, T, n_bins]
        near = near / near.abs().clamp_min(1e-8).sqrt() * turn
        place = torch.linspace(-1, 1, self.n_bins, device=mask.device).expand_as(mask)
        parts = (level, level * mask, level * (1 - mask))
        levels = [(torch.log(part + 1e-2) + 1) / 2 for part in parts]
        points = torch.stack([*levels, 2 * mask - 1, level.sqrt(), place])
        return torch.cat([near.real, near.imag, points])


def freedom(mask: Tensor) -> Tensor:
    """How far a phase may differ from the mixture's: not at all where nothing is taken away."""
    return ((1 - mask) / SURE).clamp(0, 1)


def beside(spectrum: Tensor) -> Tensor:
    """The neighbours of each point of `[B, T, K + 1]`, as `[N, B, T, K]`.

    Each is turned as a steady tone of the bin's own frequency would have turned on the way, so that
    all points of such a tone have one phase.
    """
    n_frames, n_bins = spectrum.shape[1], spectrum.shape[2] - 1
    padded = F.pad(spectrum, (1, 0, 2, 2))
    quarters = torch.tensor([1, 1j, -1, -1j], device=spectrum.device)
    bins = torch.arange(n_bins, device=spectrum.device)
    found = []
    for frames, steps in NEIGHBOURS:
        part = padded[:, 2 + frames : 2 + frames + n_frames, 1 + steps : 1 + steps + n_bins]
        # a frame is 10 ms, a bin 25 Hz: a quarter of a turn each; a frame's middle is half of it
        found.append(part * quarters[(-bins * frames + 2 * steps) % 4])
    return torch.stack(found)
