"""Shape of the audio-visual enhancer."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from models.mmtm import Squeeze
from models.visual_tower import VisualTowerConfig

Fusion = Literal[
    "mmtm", "mmtm-code", "conv-gate", "conv-sum", "msaf", "concat", "audio_only"
]  # fmt: skip
TUPLES = (
    "encoder_widths",
    "dilations",
    "more_dilations",
    "level_dilations",
    "bin_dilations",
    "audio_widths",
    "trust",
    "spares_db",
    "phase_dilations",
)
"""Settings that JSON gives as lists."""


@dataclass(frozen=True, slots=True)
class AvseConfig:
    """Shape of the enhancer.

    Attributes:
        fusion: `mmtm`, `concat` (late channel-wise concatenation), `audio_only`, or a fusion of
            `models.fusion` that carries the mouth into the sound at each depth.
        squeeze: MMTM's squeeze: `frame` keeps time, `clip` averages it away.
        visual: The mouth tower.
        n_mels: Mel bands of the input.
        n_bins: STFT bins of the mask.
        sample_rate_hz: Rate the bands belong to.
        encoder_widths: Channels of the four encoder layers; the last is at video rate.
        n_bottleneck: Channels of the bottleneck.
        n_lip_embedding: Length of the lips/sound embedding that joins the deepest visual features;
            0 leaves it out.
        centres_lips: Subtract each visual feature's mean over the visible frames of the window:
            what the mouth does stays, whose mouth it is and how it was filmed goes.
        centre_frames: With `centres_lips`, the mean is that of so many pictures around each, odd,
            so that a turning head goes too; 0: of the whole window.
        scales_lips: Give each visual feature the same spread over the visible frames of the window,
            but for a mouth that hardly moves: cameras and faces differ in how far a feature goes.
        mirrors_lips: Features of pictures are the mean of those of a mouth and of its mirror image:
            they are steadier with mouths unlike those of the training, for twice the tower's work.
        dilations: One residual block over time each, at video rate.
        mask_power: What is heard is the mask to this power: below 1 less is taken away than the
            training, which minds what the ear minds, has made of it.
        spares_db: How far what is kept of a window has to lie above what is taken away for the
            window to be left a little as it was, and wholly; both 0: it never is.
        phase_dilations: One residual block each of the network that gives the voice its own phase
            in the lowest bins, see `PhaseRefiner`; none: the voice keeps the mixture's.
        n_phase_bins: How many bins those are.
        n_phase_channels: Channels of its convolutions.
        excitation_weight: Weight of the excitation regulariser in the loss.
        more_dilations: Further blocks over time, behind a transfer module of their own.
        level_dilations: One residual block over time and bands each, at every level of the sound's
            encoder and decoder.
        bin_dilations: The same, where the mask of mel bands becomes one of bins.
        listens_again: Work twice: the second time it is told what it found the first time, what it
            took away, and how both agree with the lips.
        audio_widths: Channels of the tower that tells how sounds agree with lips.
        trust: With `listens_again`, how much better what is kept has to agree with the lips than
            what is taken away: at the first value or below the network does not trust itself at
            all and keeps every voice, from the second one on it does; both 0: it always does.
        dropout: Share of channels, of the lips and before the blocks over time, that training
            leaves out.
    """

    fusion: Fusion = "mmtm"
    squeeze: Squeeze = "frame"
    visual: VisualTowerConfig = field(default_factory=VisualTowerConfig)
    n_mels: int = 80
    n_bins: int = 321
    sample_rate_hz: int = 16_000
    encoder_widths: tuple[int, ...] = (16, 32, 64, 128)
    n_bottleneck: int = 256
    n_lip_embedding: int = 128
    centres_lips: bool = True
    centre_frames: int = 0
    scales_lips: bool = False
    mirrors_lips: bool = False
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    more_dilations: tuple[int, ...] = ()
    level_dilations: tuple[int, ...] = ()
    bin_dilations: tuple[int, ...] = ()
    listens_again: bool = False
    audio_widths: tuple[int, ...] = (24, 48, 96, 192)
    trust: tuple[float, float] = (0.0, 0.0)
    mask_power: float = 1.0
    spares_db: tuple[float, float] = (0.0, 0.0)
    phase_dilations: tuple[int, ...] = ()
    n_phase_bins: int = 48
    n_phase_channels: int = 96
    excitation_weight: float = 1e-3
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Accept what JSON gives.

        Raises:
            ValueError: An unknown way to fuse, an even number of pictures, a second time without
                a lips/sound embedding, trust that falls with agreement, a power that is not above
                0, or levels that fall.
        """
        if self.centre_frames < 0 or (self.centre_frames and self.centre_frames % 2 == 0):
            raise ValueError(f"centre_frames: expected 0 or odd, found {self.centre_frames}")
        if isinstance(self.visual, dict):
            object.__setattr__(self, "visual", VisualTowerConfig(**self.visual))
        for name in TUPLES:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.fusion not in get_args(Fusion):
            raise ValueError(f"fusion: expected one of {get_args(Fusion)}, found {self.fusion!r}")
        if self.listens_again and (self.fusion == "audio_only" or not self.n_lip_embedding):
            raise ValueError("listens_again: expected lips and their embedding, found none")
        if self.trust[0] > self.trust[1] or (any(self.trust) and not self.listens_again):
            raise ValueError(f"trust: expected two rising values, found {self.trust}")
        if not self.mask_power > 0:
            raise ValueError(f"mask_power: expected above 0, found {self.mask_power}")
        if self.spares_db[0] > self.spares_db[1]:
            raise ValueError(f"spares_db: expected two rising levels, found {self.spares_db}")
