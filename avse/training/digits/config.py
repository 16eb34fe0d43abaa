"""Settings of the digits experiment."""

from dataclasses import dataclass, field
from typing import Literal

from avse.training.digits.protocol import ProtocolConfig
from models.smil import SmilConfig

Method = Literal["image", "sound", "separate", "full", "zeros", "autoencoder", "msaf", "smil"]
METHODS: tuple[Method, ...] = (
    "image", "sound", "separate", "full", "zeros", "autoencoder", "msaf", "smil",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MetaConfig:
    """How SMIL is trained.

    Attributes:
        model: The wrapper.
        inner_rate: Length of the step on incomplete pairs.
        n_inner_steps: How many such steps.
        is_second_order: Whether the outer gradient goes through the inner one.
        complete_weight: Weight of the loss with both streams (the authors' code leaves it out).
        reconstruction_weight: Of the squared error of the reconstructed features (likewise).
        alignment_weight: Of the squared distance of hidden features with and without the stream.
        divergence_weight: Of the sampled variables from their priors.
    """

    model: SmilConfig = field(default_factory=SmilConfig)
    inner_rate: float = 1e-2
    n_inner_steps: int = 1
    is_second_order: bool = True
    complete_weight: float = 1.0
    reconstruction_weight: float = 0.1
    alignment_weight: float = 0.01
    divergence_weight: float = 1e-3


@dataclass(frozen=True, slots=True)
class DigitsConfig:
    """All settings of one training.

    Attributes:
        protocol: The split.
        meta: What SMIL alone needs.
        n_steps: Optimiser steps of the joint network.
        n_sound_steps: Of the sound tower, which all methods share and none changes.
        n_autoencoder_steps: Of the autoencoder.
        batch_size: Pairs in a step that are taken without sound.
        n_complete: Pairs in a step that are taken with sound.
        learning_rate: Of Adam; falls to zero along a cosine.
        weight_decay: Of Adam.
        dropout: In the head.
        sound_shift_frames: Sounds are shifted by up to so many frames in training.
        n_threads: Threads of the training.
    """

    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    n_steps: int = 600
    n_sound_steps: int = 300
    n_autoencoder_steps: int = 300
    batch_size: int = 64
    n_complete: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    dropout: float = 0.5
    sound_shift_frames: int = 3
    n_threads: int = 1
