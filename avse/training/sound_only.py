"""Training of the network that hears only: `avse train sound --data DIR`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from pesq import pesq
from pystoi import stoi
from torch import Tensor

from avse.training.compute import CPU, Compute
from avse.training.intelligibility import lost_intelligibility
from avse.training.losses import compressed_l1, negative_si_sdr, negative_snr
from avse.training.noisy_speech import NoisySpeech, NoisySpeechConfig
from avse.training.optimise import (
    Learner,
    OptimiserName,
    channels_last,
    cosine_rate,
    made_ahead,
    optimiser_for,
)
from avse.training.perceptual import perceptual_disturbance
from avse.training.run_folder import RunFolder
from avse.training.sounds import Samples
from models.sound_net import SoundNet, SoundNetConfig
from preprocessing.spectral import StftConfig, istft, stft
from preprocessing.timeline import SAMPLE_RATE_HZ
from preprocessing.types import Progress, no_progress


@dataclass(frozen=True, slots=True)
class SoundConfig:
    """Recipe of the network that hears only.

    Attributes:
        model: The network.
        mix: The mixtures.
        n_steps: Optimiser steps.
        batch_size: Windows in a step.
        learning_rate: Peak; warm-up over 2 %, then a cosine to 2 %.
        weight_decay: Apart from the gradient, as in AdamW.
        snr_weight: Weight of `negative_snr`, per dB.
        perceptual_weight: Weight of `perceptual_disturbance`.
        intelligibility_weight: Weight of `lost_intelligibility`.
        phase_weight: Weight of `compressed_l1` on the bins that a phase refiner has refined.
        ema_decay: Of the averaged weights that are validated and shipped.
        seed: For weights and mixtures.
        log_every: Steps between log lines.
        save_every: Steps between checkpoints.
        validate_every: Steps between validations.
        optimiser: `muon` learns more from a step that costs more, see `Muon`.
    """

    model: SoundNetConfig = field(default_factory=SoundNetConfig)
    mix: NoisySpeechConfig = field(default_factory=NoisySpeechConfig)
    n_steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    snr_weight: float = 0.003
    perceptual_weight: float = 0.05
    intelligibility_weight: float = 0.0
    phase_weight: float = 0.5
    ema_decay: float = 0.998
    seed: int = 1
    log_every: int = 50
    save_every: int = 250
    validate_every: int = 500
    optimiser: OptimiserName = "adamw"


@dataclass(frozen=True, slots=True)
class SoundPair:
    """A mixture to validate on: `[L]` each."""

    noisy: Samples
    clean: Samples


class SoundTrainer(Learner[SoundNet]):
    """One resumable run."""

    added = ("level_blocks.", "phase.")

    def __init__(self, config: SoundConfig, run: RunFolder, compute: Compute = CPU) -> None:
        """Fresh or resumed state."""
        torch.manual_seed(config.seed)
        self.config = config
        self.compute = compute
        net, ema = (SoundNet(config.model).to(compute.device) for _ in range(2))
        channels_last(net)
        run.describe(config, config.seed)
        groups = [{"params": list(net.parameters()), "share": 1.0}]
        optimiser = optimiser_for(
            groups, config.weight_decay, config.optimiser, is_bf16=compute.is_bf16
        )
        super().__init__(net, ema, optimiser, run)

    def train(
        self, mixtures: NoisySpeech, valid: Sequence[SoundPair], progress: Progress = no_progress
    ) -> SoundNet:
        """Run to the last step; the averaged network comes back."""
        config = self.config

        def make(step: int) -> tuple[Tensor, Tensor]:
            return mixtures.batch(config.batch_size, np.random.default_rng((config.seed, step)))

        losses: list[float] = []
        for noisy, clean in made_ahead(make, self.step, config.n_steps):
            losses.append(self.train_step(noisy, clean))
            progress("sound", self.step, config.n_steps)
            last = self.step == config.n_steps
            if self.step % config.log_every == 0:
                self.run.record(step=self.step, loss=round(float(np.mean(losses)), 5))
                losses = []
            if self.step % config.save_every == 0 or last:
                self.save()
            if valid and (self.step % config.validate_every == 0 or last):
                self.run.record(step=self.step, **validate_sound(self.ema, valid))
        return self.ema

    def train_step(self, noisy: Tensor, clean: Tensor) -> float:
        """One optimiser step; the loss comes back."""
        self.net.train()
        self.set_rate(self.config.learning_rate * cosine_rate(self.step, self.config.n_steps))
        device = self.compute.device
        loss = sound_loss(self.net, noisy.to(device), clean.to(device), self.config, self.compute)
        self.update(loss, self.config.ema_decay)
        return loss.item()


def sound_loss(
    net: SoundNet, noisy: Tensor, clean: Tensor, config: SoundConfig, compute: Compute = CPU
) -> Tensor:
    """Compressed L1 on magnitudes, SNR, what the ear minds, and STOI; sounds `[B, L]`."""
    stft_config = StftConfig()
    spectrum, wanted = stft(noisy, stft_config), stft(clean, stft_config).abs()
    magnitude = spectrum.abs()
    with compute.autocast():
        mask, features = net.unturned(magnitude)
        mask = mask.float()
        heard = net.turned(mask, spectrum, features) * spectrum
    enhanced = istft(heard, noisy.shape[1], stft_config)
    loss = (
        compressed_l1(mask * magnitude, wanted)
        + config.snr_weight * negative_snr(enhanced, clean).mean()
        + config.perceptual_weight * perceptual_disturbance(enhanced, clean).mean()
    )
    if net.config.phase_dilations:
        low, low_wanted = (x[..., : net.config.n_phase_bins] for x in (heard.abs(), wanted))
        loss = loss + config.phase_weight * compressed_l1(low, low_wanted)
    if config.intelligibility_weight:
        lost = lost_intelligibility(enhanced, clean)
        loss = loss + config.intelligibility_weight * lost.mean()
    return loss


@torch.no_grad()
def validate_sound(net: SoundNet, pairs: Sequence[SoundPair]) -> dict[str, float]:
    """Mean PESQ-WB, STOI and SI-SDR of the pairs, before and after."""
    rows = []
    for pair in pairs:
        noisy = torch.from_numpy(pair.noisy)[None].to(next(net.parameters()).device)
        spectrum = stft(noisy)
        mask, features = net.eval().unturned(spectrum.abs())
        heard = net.turned(mask, spectrum, features) * spectrum
        enhanced = istft(heard, noisy.shape[1])[0].cpu().numpy()
        rows.append([*_figures(pair.clean, pair.noisy), *_figures(pair.clean, enhanced)])
    names = [f"{name}{when}" for when in ("_in", "") for name in ("pesq", "stoi", "si_sdr")]
    return {
        name: round(float(value), 4)
        for name, value in zip(names, np.mean(rows, axis=0), strict=True)
    }


def _figures(clean: Samples, sound: NDArray[np.float32]) -> tuple[float, float, float]:
    pair = torch.from_numpy(sound)[None], torch.from_numpy(clean)[None]
    return (
        pesq(SAMPLE_RATE_HZ, clean, sound, "wb"),
        float(stoi(clean, sound, SAMPLE_RATE_HZ)),
        -float(negative_si_sdr(*pair)),
    )
