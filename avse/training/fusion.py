"""Stage (c): sound tower and fusion learn on frozen, cached lip features."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avse.errors import ConfigError
from avse.training.batch import Batch
from avse.training.compute import CPU, Compute
from avse.training.intelligibility import lost_intelligibility
from avse.training.losses import compressed_l1, negative_snr
from avse.training.mix_config import MixConfig
from avse.training.mixtures import MixtureMaker
from avse.training.optimise import (
    Learner,
    OptimiserName,
    average_into,
    channels_last,
    cosine_rate,
    made_ahead,
    optimiser_for,
)
from avse.training.perceptual import perceptual_disturbance
from avse.training.run_folder import RunFolder
from avse.training.validation import ValidationSet, validate
from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.lip_sync import LipSync
from preprocessing.spectral import StftConfig, istft, log_mel, stft
from preprocessing.types import Progress, no_progress

BLOCKS = ("more_blocks.", "encoder.level_blocks.", "decoder.level_blocks.", "refine.blocks.")
ADDED = (*BLOCKS, "transfers.3.", "agreement.", "hint.", "evidence.")
"""What can be put into a trained network, in which it changes nothing until it has learned."""
SPECTRAL = ("encoder", "decoder", "refine", "phase")
"""Parts whose maps have time and frequency."""
JOINS = ("transfers.", "concat.", "fusion.")
PHASE = "phase."
"""What learns alone, on what the rest makes of mixtures: see `avse.training.phase`."""


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """Recipe of the enhancer on cached features.

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
        first_time_share: Steps in which a network that listens again learns the first time; in the
            others it is told what the averaged network finds.
        swapped_share: Windows in which it is told the opposite: only how both halves agree with the
            lips tells which is the voice.
        voices_grow_steps: Steps between one more interferer and the next.
        ema_decay: Of the averaged weights that are validated and shipped.
        seed: For weights, mixtures and augmentation.
        log_every: Steps between log lines.
        save_every: Steps between checkpoints.
        validate_every: Steps between validations.
        tower_rate: Learning rate of the lip tower as a share of the others'; 0 keeps it frozen. The
            end-to-end polish (stage d) trains it on pictures.
        snapshot_steps: Steps whose averaged weights are kept aside, to compare at equal cost; those
            of the last step are kept too.
        averages_snapshots: The trained network is the mean of all that was kept aside.
        keeps_statistics: A network that was trained before normalises by the statistics it has, as
            it does when it is used, and not by those of each batch.
        optimiser: `muon` learns more from a step that costs a fifth more, see `Muon`.
        learns: Parts by name, such as `decoder`, that learn: all else stays as the run began, and
            steps are cheaper. All parts learn where none is named.
    """

    model: AvseConfig = field(default_factory=AvseConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    n_steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    snr_weight: float = 0.006
    perceptual_weight: float = 0.0
    intelligibility_weight: float = 0.0
    phase_weight: float = 0.5
    first_time_share: float = 0.25
    swapped_share: float = 0.2
    voices_grow_steps: int = 500
    ema_decay: float = 0.998
    seed: int = 1
    log_every: int = 50
    save_every: int = 250
    validate_every: int = 500
    tower_rate: float = 0.0
    snapshot_steps: tuple[int, ...] = ()
    averages_snapshots: bool = False
    keeps_statistics: bool = False
    optimiser: OptimiserName = "adamw"
    learns: tuple[str, ...] = ()


class FusionTrainer(Learner[AvseNet]):
    """One resumable run; the lip tower's features come from the mixtures, not from pictures."""

    added = ADDED

    def __init__(self, config: FusionConfig, run: RunFolder, compute: Compute = CPU) -> None:
        """Fresh or resumed state.

        Raises:
            ConfigError: `learns` names what the network has not.
        """
        torch.manual_seed(config.seed)
        self.config = config
        self.compute = compute
        net, ema = (AvseNet(config.model).to(compute.device) for _ in range(2))
        if compute.is_bf16:
            for name, part in net.named_children():
                if name in SPECTRAL:
                    channels_last(part)
        for part in _frozen(net, config.learns):
            part.requires_grad_(False)
        run.describe(config, config.seed)
        groups = _parameter_groups(net, config.tower_rate)
        optimiser = optimiser_for(
            groups, config.weight_decay, config.optimiser, is_bf16=compute.is_bf16
        )
        super().__init__(net, ema, optimiser, run)

    def train(
        self, mixtures: MixtureMaker, valid: ValidationSet | None, progress: Progress = no_progress
    ) -> AvseNet:
        """Run to the last step; the averaged network comes back."""
        sums = {"loss": 0.0, "magnitude": 0.0, "snr": 0.0}

        def make(step: int) -> Batch:
            return self._batch(mixtures, step)

        for batch in made_ahead(make, self.step, self.config.n_steps):
            figures = self.train_step(batch)
            sums = {key: sums[key] + figures[key] for key in sums}
            progress("enhancer", self.step, self.config.n_steps)
            if self.step % self.config.log_every == 0:
                means = {key: round(s / self.config.log_every, 5) for key, s in sums.items()}
                self.run.record(step=self.step, voices=self.n_voices(self.step), **means)
                sums = dict.fromkeys(sums, 0.0)
            self._keep(valid)
        return self._mean_of_snapshots() if self.config.averages_snapshots else self.ema

    def _batch(self, mixtures: MixtureMaker, step: int) -> Batch:
        rng = np.random.default_rng((self.config.seed, step))
        return mixtures.batch(self.config.batch_size, self.n_voices(step), rng)

    def n_voices(self, step: int) -> int:
        """Most interferers: one at first, one more every `voices_grow_steps`."""
        grown = 1 + step // self.config.voices_grow_steps
        return min(self.config.mix.max_interferers, grown)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; the losses come back."""
        self.net.train()
        for module in self._settled():
            module.eval()
        self.set_rate(self.config.learning_rate * cosine_rate(self.step, self.config.n_steps))
        batch = batch.to(self.compute.device)
        loss, figures = enhancement_loss(
            self.net, batch, self.config, self.compute, self.first_time(batch)
        )
        self.update(loss, self.config.ema_decay)
        return figures

    def _settled(self) -> list[nn.Module]:
        """Whose statistics stay: the towers keep those of the contrastive stage."""
        settled = [*lip_modules(self.net), *_frozen(self.net, self.config.learns)]
        if not self.config.keeps_statistics:
            return settled
        norms = (nn.BatchNorm1d, nn.BatchNorm2d)
        return [*settled, *(m for m in self.net.modules() if isinstance(m, norms))]

    def first_time(self, batch: Batch) -> Tensor | None:
        """What the averaged network finds the first time; None where the first time is learned."""
        config = self.config
        rng = np.random.default_rng((config.seed, self.step, 1))
        if not config.model.listens_again or rng.random() < config.first_time_share:
            return None
        with torch.no_grad(), self.compute.autocast():
            magnitude = stft(batch.noisy).abs()
            sees = (visual_of(self.ema, batch), batch.is_visible)
            guess = self.ema.listen(log_mel(magnitude), magnitude, *sees).mask.float()
        is_swapped = torch.from_numpy(rng.random(len(guess)) < config.swapped_share)
        return torch.where(is_swapped.to(guess.device)[:, None, None], 1 - guess, guess)

    def _keep(self, valid: ValidationSet | None) -> None:
        config, last = self.config, self.step == self.config.n_steps
        if self.step % config.save_every == 0 or last:
            self.save()
        if self.step in config.snapshot_steps or last:
            self.run.save({"model": self.ema.state_dict()}, f"step{self.step}.pt")
        if valid is not None and (self.step % config.validate_every == 0 or last):
            seen = config.tower_rate > 0
            self.run.record(step=self.step, **validate(self.ema, valid, from_pictures=seen))

    def _mean_of_snapshots(self) -> AvseNet:
        steps = sorted({s for s in self.config.snapshot_steps if s < self.step} | {self.step})
        for n_seen, step in enumerate(steps):
            kept = self.run.load(f"step{step}.pt")
            if kept is None:
                raise FileNotFoundError(f"{self.run.path}: expected step{step}.pt, found none")
            self.net.load_state_dict(kept["model"])
            average_into(self.ema, self.net, n_seen / (n_seen + 1))
        return self.ema

    def start_from(self, state: dict[str, Tensor], *, joins_anew: bool = False) -> None:
        """Begin a fresh run with the weights of an earlier one; a resumed run keeps its own.

        Args:
            state: The earlier weights; parts that they lack begin anew and change nothing at first.
                A phase refiner is left out where this network has none: it learns afterwards.
            joins_anew: Take the towers alone; what joins lips and sound keeps its fresh weights.

        Raises:
            RuntimeError: The weights do not fit.
        """
        if not self.config.model.phase_dilations:
            state = without_phase(state)
        if joins_anew:
            own = self.net.state_dict()
            towers = {k: v for k, v in state.items() if k in own and not k.startswith(JOINS)}
            state = own | towers
        super().start_from(state)


def enhancement_loss(
    net: AvseNet,
    batch: Batch,
    config: FusionConfig,
    compute: Compute = CPU,
    guess: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Compressed L1 on magnitudes, SNR, what the ear minds, STOI, and the excitation penalty.

    With a `guess` `[B, T, F]` the network listens for the second time. With a phase refiner SNR,
    ear and STOI judge the voice as it is heard, and the refined bins have an L1 of their own.
    """
    stft_config = StftConfig()
    noisy, clean = stft(batch.noisy, stft_config), stft(batch.clean, stft_config)
    magnitude = noisy.abs()
    loudness = log_mel(magnitude, stft_config)
    with compute.autocast():
        visual = visual_of(net, batch)
        found = net.listen(loudness, magnitude, visual, batch.is_visible, guess)
        has_phase = bool(config.model.phase_dilations)
        heard = (net.heard(found, noisy) if has_phase else found.mask.float()) * noisy
    compressed = compressed_l1(found.mask.float() * magnitude, clean.abs())
    enhanced = istft(heard, batch.noisy.shape[1], stft_config)
    waveform = negative_snr(enhanced, batch.clean).mean()
    loss = compressed + config.snr_weight * waveform
    loss = loss + config.model.excitation_weight * found.penalty
    if has_phase:
        low, wanted = (x[..., : config.model.n_phase_bins].abs() for x in (heard, clean))
        loss = loss + config.phase_weight * compressed_l1(low, wanted)
    if config.perceptual_weight:
        disturbance = perceptual_disturbance(enhanced, batch.clean)
        loss = loss + config.perceptual_weight * disturbance.mean()
    if config.intelligibility_weight:
        lost = lost_intelligibility(enhanced, batch.clean)
        loss = loss + config.intelligibility_weight * lost.mean()
    figures = {"loss": loss.item(), "magnitude": compressed.item(), "snr": -waveform.item()}
    return loss, figures


def visual_of(net: AvseNet, batch: Batch) -> list[Tensor]:
    """Cached features, or those of the pictures where the batch holds them."""
    if not net.sees:
        return []
    if batch.crops is not None:
        return net.encode_visual(batch.crops)
    return list(torch.split(batch.features, list(net.visual.feature_channels), 2))


def _frozen(net: AvseNet, learns: tuple[str, ...]) -> list[nn.Module]:
    parts = dict(net.named_children())
    if unknown := [name for name in learns if name not in parts]:
        expected = f"a part of the network ({', '.join(parts)})"
        raise ConfigError(f"learns: expected {expected}, found {', '.join(unknown)}")
    return [part for name, part in parts.items() if learns and name not in learns]


def _parameter_groups(net: AvseNet, tower_rate: float) -> list[dict[str, Any]]:
    tower = [p for module in lip_modules(net) for p in module.parameters()]
    learned = {id(p) for p in tower}
    rest = [p for p in net.parameters() if p.requires_grad and id(p) not in learned]
    groups: list[dict[str, Any]] = [{"params": rest, "share": 1.0}]
    return groups + ([{"params": tower, "share": tower_rate}] if tower and tower_rate else [])


def lip_modules(net: AvseNet) -> list[nn.Module]:
    """What the contrastive stage trained: towers and heads; nothing for the audio-only network."""
    if not net.sees:
        return []
    modules = [net.visual, net.lip_head] if net.config.n_lip_embedding else [net.visual]
    heard = [net.agreement.tower, net.agreement.head] if net.config.listens_again else []
    return [*modules, *heard]


def without_phase(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an enhancer less those of its phase refiner."""
    return {name: value for name, value in state.items() if not name.startswith(PHASE)}


def load_lips(net: AvseNet, lip_sync: LipSync) -> None:
    """Put the trained towers and their heads into the network, strictly."""
    for module, trained in _pairs(net, lip_sync):
        module.load_state_dict(trained.state_dict(), strict=True)


def has_lips(net: AvseNet, lip_sync: LipSync) -> bool:
    """Whether the network has these towers, as bundles store them, and knows their features."""
    return all(
        torch.equal(own.half(), trained.half())
        for pair in _pairs(net, lip_sync)
        for own, trained in zip(*(module.state_dict().values() for module in pair), strict=True)
    )


def _pairs(net: AvseNet, lip_sync: LipSync) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each lip module of the network and the one of `lip-sync` it is."""
    towers = (lip_sync.visual, lip_sync.visual_head, lip_sync.audio, lip_sync.audio_head)
    yield from zip(lip_modules(net), towers, strict=False)
