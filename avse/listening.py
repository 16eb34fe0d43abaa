"""A sound heard at every pace of the network: one mask."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.agreement import Heard
from models.avse_net import AvseNet
from models.sound_net import SoundNet
from preprocessing.pace import Pace
from preprocessing.spectral import DEFAULT_STFT, StftConfig, log_mel
from preprocessing.timeline import STFT_FRAMES_PER_VIDEO_FRAME

_MASK_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to hear and to see.

    Attributes:
        waveform: `[B, L]`, 16 kHz, at the bundles' level.
        visual: `[B, V, C_i]` each, as `AvseNet.encode_visual` gives them, 25 a second.
        is_visible: `[B, V]` bool.
        lead: Samples of `waveform` before the first picture.
    """

    waveform: Tensor
    visual: list[Tensor]
    is_visible: Tensor
    lead: int = 0

    @property
    def n_frames(self) -> int:
        """Frames of 10 ms, T."""
        return STFT_FRAMES_PER_VIDEO_FRAME * self.is_visible.shape[1]

    def at(
        self, pace: Pace, config: StftConfig = DEFAULT_STFT
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """What the network takes at a pace: log-mel, magnitude, lips, and whether they are seen."""
        magnitude = pace.magnitude(self.waveform, self.n_frames, self.lead)
        visual, is_visible = pace.sight(self.visual, self.is_visible)
        return log_mel(magnitude, config), magnitude, visual, is_visible


def listen(net: AvseNet | SoundNet, scene: Scene, config: StftConfig = DEFAULT_STFT) -> Heard:
    """The network's masks at all its paces, averaged.

    With paces p the mask is `(prod_p m_p)^(1 / |p|)`, the geometric mean: what one pace blurs
    another may part, and a bin is kept where every pace keeps it.

    Args:
        net: The network; `net.hops` are its paces.
        scene: What there is to hear and to see.
        config: Mel bands.

    Returns:
        Mask `[B, T, F]` of 10 ms frames, and the paces' mean doubt `[B]`.
    """
    paces = [Pace(hop) for hop in net.hops]
    heard = [net.hear(*scene.at(pace, config)) for pace in paces]
    masks = [pace.on_clock(h.mask, scene.n_frames) for pace, h in zip(paces, heard, strict=True)]
    if len(masks) == 1:
        return Heard(masks[0], heard[0].doubt)
    mask = torch.stack([mask.clamp_min(_MASK_FLOOR).log() for mask in masks]).mean(0).exp()
    return Heard(mask, torch.stack([h.doubt for h in heard]).mean(0))
