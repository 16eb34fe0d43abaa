"""Stage (e): in the lowest bins the voice gets a phase of its own; the enhancer stays as it is."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avse.training.batch import Batch
from avse.training.compute import CPU, Compute
from avse.training.fusion import PHASE, visual_of, without_phase
from avse.training.intelligibility import lost_intelligibility
from avse.training.losses import compressed_l1, negative_snr
from avse.training.mixtures import MixtureMaker
from avse.training.optimise import (
    Learner,
    channels_last,
    cosine_rate,
    made_ahead,
    optimiser_for,
)
from avse.training.perceptual import perceptual_disturbance
from avse.training.run_folder import RunFolder
from avse.training.validation import ValidationSet, validate
from models.avse_net import AvseNet
from models.phase_refiner import PhaseRefiner
from preprocessing.spectral import istft, log_mel, stft
from preprocessing.types import Progress, no_progress


@dataclass(frozen=True, slots=True)
class PhaseConfig:
    """Recipe of the `PhaseRefiner`.

    Attributes:
        n_bins: As `AvseConfig.n_phase_bins`.
        n_channels: As `AvseConfig.n_phase_channels`.
        dilations: As `AvseConfig.phase_dilations`.
        n_steps: Optimiser steps.
        batch_size: Windows in a step.
        learning_rate: Peak of Muon's; warm-up over 2 %, then a cosine to 2 %.
        weight_decay: Apart from the gradient.
        snr_weight: Weight of `negative_snr`, per dB.
        magnitude_weight: Weight of `compressed_l1` on the bins whose phase is learned: it minds
            quiet ones and silence.
        perceptual_weight: Weight of `perceptual_disturbance`.
        intelligibility_weight: Weight of `lost_intelligibility`.
        ema_decay: Of the averaged weights that are validated and shipped.
        seed: For weights and mixtures.
        log_every: Steps between log lines.
        save_every: Steps between checkpoints.
        validate_every: Steps between validations.
    """

    n_bins: int = 48
    n_channels: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)
    n_steps: int = 6000
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    snr_weight: float = 0.1
    magnitude_weight: float = 0.5
    perceptual_weight: float = 0.05
    intelligibility_weight: float = 1.5
    ema_decay: float = 0.997
    seed: int = 1
    log_every: int = 50
    save_every: int = 250
    validate_every: int = 1000


@dataclass(frozen=True, slots=True)
class Masked:
    """Mixtures and what the enhancer makes of them.

    Attributes:
        noisy: `[B, L]`.
        clean: `[B, L]`.
        mask: `[B, T, F]` in 0..1, as it is heard with the mixture's phase.
        features: Behind the mask, as `BinRefiner` gives them.
    """

    noisy: Tensor
    clean: Tensor
    mask: Tensor
    features: Tensor


class PhaseTrainer(Learner[PhaseRefiner]):
    """One resumable run; the enhancer's own weights and statistics stay.

    While one batch is learned from, the enhancer listens to the next: that is half of the work.
    """

    def __init__(
        self, config: PhaseConfig, enhancer: AvseNet, run: RunFolder, compute: Compute = CPU
    ) -> None:
        """Fresh or resumed state."""
        torch.manual_seed(config.seed)
        self.config, self.compute = config, compute
        shape = (config.n_bins, config.n_channels, config.dilations)
        net, ema = (PhaseRefiner(*shape).to(compute.device) for _ in range(2))
        if compute.is_bf16:
            channels_last(net)
        run.describe(config, config.seed)
        groups = [{"params": list(net.parameters()), "share": 1.0}]
        muon = optimiser_for(groups, config.weight_decay, "muon", is_bf16=compute.is_bf16)
        super().__init__(net, ema, muon, run)
        self.enhancer = with_phase(enhancer, self.ema, config).to(compute.device).eval()

    def train(
        self, mixtures: MixtureMaker, valid: ValidationSet | None, progress: Progress = no_progress
    ) -> AvseNet:
        """Run to the last step; the enhancer with the averaged refiner comes back."""
        config = self.config
        gains: list[float] = []
        for masked in self._masked(mixtures):
            gains.append(self.train_step(masked))
            progress("phase", self.step, config.n_steps)
            last = self.step == config.n_steps
            if self.step % config.log_every == 0:
                self.run.record(step=self.step, snr_gain=round(float(np.mean(gains)), 4))
                gains = []
            if self.step % config.save_every == 0 or last:
                self.save()
            if valid is not None and (self.step % config.validate_every == 0 or last):
                self.run.record(step=self.step, **validate(self.enhancer, valid))
        return self.enhancer

    def _masked(self, mixtures: MixtureMaker) -> Iterator[Masked]:
        def make(step: int) -> Masked:
            rng = np.random.default_rng((self.config.seed, step))
            n_voices = mixtures.config.max_interferers
            return self.masked(mixtures.batch(self.config.batch_size, n_voices, rng))

        return made_ahead(make, self.step, self.config.n_steps)

    @torch.no_grad()
    def masked(self, batch: Batch) -> Masked:
        """What the enhancer makes of a batch."""
        batch = batch.to(self.compute.device)
        magnitude = stft(batch.noisy).abs()
        with self.compute.autocast():
            sees = (visual_of(self.enhancer, batch), batch.is_visible)
            heard, features = self.enhancer.unturned(log_mel(magnitude), magnitude, *sees)
        return Masked(batch.noisy, batch.clean, heard.mask.float(), features.float())

    def train_step(self, masked: Masked) -> float:
        """One optimiser step; the SNR that the refiner adds comes back, dB."""
        self.net.train()
        self.set_rate(self.config.learning_rate * cosine_rate(self.step, self.config.n_steps))
        loss, gain_db = phase_loss(self.net, masked, self.config, self.compute)
        self.update(loss, self.config.ema_decay)
        return gain_db


def with_phase(enhancer: AvseNet, phase: PhaseRefiner, config: PhaseConfig) -> AvseNet:
    """An enhancer of the same weights that has this refiner."""
    shape = replace(
        enhancer.config,
        phase_dilations=config.dilations,
        n_phase_bins=config.n_bins,
        n_phase_channels=config.n_channels,
    )
    refined = AvseNet(shape)
    own = without_phase(enhancer.state_dict())
    refined.load_state_dict(own | {f"{PHASE}{k}": v for k, v in phase.state_dict().items()})
    refined.phase = phase
    return refined


def phase_loss(
    net: PhaseRefiner, masked: Masked, config: PhaseConfig, compute: Compute = CPU
) -> tuple[Tensor, float]:
    """SNR, what the ear minds, STOI, compressed L1 in the lowest bins; with the SNR gained, dB."""
    noisy, clean, n_samples = stft(masked.noisy), stft(masked.clean), masked.noisy.shape[1]
    with compute.autocast():
        refined = net(masked.mask, noisy, masked.features) * noisy
    enhanced = istft(refined, n_samples)
    lost_db = negative_snr(enhanced, masked.clean).mean()
    found, wanted = (x[..., : net.n_bins].abs() for x in (refined, clean))
    loss = config.snr_weight * lost_db + config.magnitude_weight * compressed_l1(found, wanted)
    if config.perceptual_weight:
        heard = perceptual_disturbance(enhanced, masked.clean)
        loss = loss + config.perceptual_weight * heard.mean()
    if config.intelligibility_weight:
        lost = lost_intelligibility(enhanced, masked.clean)
        loss = loss + config.intelligibility_weight * lost.mean()
    with torch.no_grad():
        before = negative_snr(istft(masked.mask * noisy, n_samples), masked.clean).mean()
    return loss, float(before - lost_db.detach())
