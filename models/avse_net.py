"""Audio-visual speech enhancement: a ratio mask from log-mel sound and mouth crops."""

from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.agreement import Agreement, Heard, doubt
from models.avse_config import AvseConfig
from models.avse_parts import Found, Lips
from models.bin_refiner import BinRefiner
from models.fusion import FusionPoint, FusionState, build_fusion
from models.lip_motion import centred, centred_around, evened, power
from models.lip_sync import LipSyncConfig, TemporalHead
from models.mask_sparing import as_heard
from models.mmtm import MMTM, MmtmConfig, excitation_penalty
from models.phase_refiner import PhaseRefiner
from models.sound_tower import SoundDecoder, SoundEncoder, TimeBlock
from models.visual_tower import VisualTower


class AvseNet(nn.Module):
    """Predicts the ideal ratio mask `M` of the speaker whose mouth is shown.

    `X_enh = M * X_mix` on magnitudes; the sound keeps the mixture's phase, but for the lowest bins
    with `phase_dilations`. Both towers are read from input to output in `mask`.

    Reference:
        Joze et al., CVPR 2020, section 4.2 and figure 3.

    Differs:
        Three transfer modules (the paper: two), all in the second half of the sound encoder and
        fed by the last three stages of the visual tower; a short temporal convolution refines the
        visual features first, so that the tower below can stay frozen. With `more_dilations` a
        fourth module stands between two rows of blocks over time, with `level_dilations` residual
        blocks over time and bands at each layer of the sound, with `bin_dilations` before its mask;
        with `listens_again` the network works twice, see `Agreement`, with `trust` it doubts what
        it found, with `mask_power` it takes less away, and with `spares_db` nothing where there is
        next to nothing to take, see `hear`. The mel mask is spread to the STFT bins and refined
        once with the magnitude itself, for mel bands above 1 kHz are wider than the harmonics of
        a voice.
    """

    def __init__(self, config: AvseConfig) -> None:
        """Build the towers and the transfer modules the configuration asks for."""
        super().__init__()
        self.config = config
        levels = (config.encoder_widths, config.level_dilations)
        self.encoder = SoundEncoder(*levels)
        n_flat = config.encoder_widths[-1] * (config.n_mels // 16)
        self.into = nn.Conv1d(n_flat, config.n_bottleneck, 1)
        self.blocks = nn.ModuleList(TimeBlock(config.n_bottleneck, d) for d in config.dilations)
        self.more_blocks = nn.ModuleList(
            TimeBlock(config.n_bottleneck, d, starts_open=True) for d in config.more_dilations
        )
        self.out_of = nn.Conv1d(config.n_bottleneck, n_flat, 1)
        self.decoder = SoundDecoder(*levels)
        n_last = config.encoder_widths[0] // 2
        bins = (config.n_mels, config.n_bins, config.sample_rate_hz)
        self.refine = BinRefiner(*bins, n_last, config.bin_dilations)
        if config.fusion != "audio_only":
            self._build_visual(config)
        if config.listens_again:
            self._build_agreement(config)
        if config.phase_dilations:
            self.phase = PhaseRefiner(
                config.n_phase_bins, config.n_phase_channels, config.phase_dilations
            )

    def _build_visual(self, config: AvseConfig) -> None:
        self.visual = VisualTower(config.visual)
        widths = list(self.visual.feature_channels)
        if config.n_lip_embedding:
            self.lip_head = TemporalHead(sum(widths), config.n_lip_embedding)
            widths[-1] += config.n_lip_embedding
        self.visual_norm = nn.ModuleList(nn.BatchNorm1d(n) for n in widths)
        self.hidden = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in widths)
        self.visual_context = nn.ModuleList(TimeBlock(n, 1) for n in widths)
        streams = list(widths)
        sound = [config.encoder_widths[-1], config.n_bottleneck, config.n_bottleneck]
        if config.more_dilations:
            sound.append(config.n_bottleneck)
            streams = [*widths, widths[-1]]
        if config.fusion == "mmtm":
            self.transfers = nn.ModuleList(
                MMTM(MmtmConfig((n_sound, n_lips), config.squeeze, is_gated=(True, False)))
                for n_sound, n_lips in zip(sound, streams, strict=True)
            )
        elif config.fusion == "concat":
            self.concat = nn.Conv1d(config.n_bottleneck + sum(widths), config.n_bottleneck, 1)
        else:
            points = [FusionPoint(pair) for pair in zip(sound, streams, strict=True)]
            self.fusion = build_fusion(config.fusion, points, 1, **_one_sided(config))

    def _build_agreement(self, config: AvseConfig) -> None:
        towers = LipSyncConfig(
            config.visual, config.n_lip_embedding, config.n_mels, config.audio_widths
        )
        self.agreement = Agreement(towers, config.n_bins, config.sample_rate_hz)
        self.hint = nn.Conv2d(2, config.encoder_widths[0], 3, (1, 2), 1)
        self.evidence = nn.Conv1d(self.agreement.n_evidence, config.n_bottleneck, 5, padding=2)
        for layer in (self.hint, self.evidence):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    @property
    def sees(self) -> bool:
        """Whether the network uses the mouth at all."""
        return self.config.fusion != "audio_only"

    def encode_visual(self, crops: Tensor) -> list[Tensor]:
        """Pooled mouth features at three depths.

        Args:
            crops: `[B, V, H, W]` grey, 0..255 (uint8 or float).

        Returns:
            `[B, V, C_i]` each; an empty list for the audio-only network.
        """
        if not self.sees:
            return []
        if self.config.mirrors_lips:
            return self.visual.with_mirror(crops)
        features: list[Tensor] = self.visual(crops)
        return features

    def forward(
        self, log_mel: Tensor, magnitude: Tensor, crops: Tensor, is_visible: Tensor
    ) -> Tensor:
        """Mask `[B, T, F]` in 0..1; see `mask` and `encode_visual` for the arguments."""
        return self.mask(log_mel, magnitude, self.encode_visual(crops), is_visible)

    def mask(
        self, log_mel: Tensor, magnitude: Tensor, visual: list[Tensor], is_visible: Tensor
    ) -> Tensor:
        """Ratio mask of the visible speaker.

        Args:
            log_mel: `[B, T, M]` log-mel magnitude of the mixture, T = 4 V.
            magnitude: `[B, T, F]` linear magnitude of the mixture.
            visual: What `encode_visual` gave (cached features do as well).
            is_visible: `[B, V]` bool; where False the features have no effect.

        Returns:
            `[B, T, F]` in 0..1.

        Raises:
            ValueError: T is not four times V.
        """
        return self.unturned(log_mel, magnitude, visual, is_visible)[0].mask

    def hear(
        self, log_mel: Tensor, spectrum: Tensor, visual: list[Tensor], is_visible: Tensor
    ) -> Heard:
        """The mask as it is heard, and how far the network doubts it.

        Args:
            log_mel: As in `mask`.
            spectrum: `[B, T, F]` complex, of the mixture.
            visual: As in `mask`.
            is_visible: As in `mask`.

        Returns:
            A mask of magnitudes; with `phase_dilations` a complex one, see `PhaseRefiner`.

        Raises:
            ValueError: T is not four times V.
        """
        heard, features = self.unturned(log_mel, spectrum.abs(), visual, is_visible)
        return replace(heard, mask=self._turned(heard.mask, spectrum, features))

    def unturned(
        self, log_mel: Tensor, magnitude: Tensor, visual: list[Tensor], is_visible: Tensor
    ) -> tuple[Heard, Tensor]:
        """What is heard with the mixture's phase, and the features behind its mask.

        Where the network doubts, the mask gives way to the one that it makes without lips: every
        voice is kept, noise is not. Arguments as in `mask`, features as in `BinRefiner`.

        Raises:
            ValueError: T is not four times V.
        """
        sound, lips = (log_mel, magnitude), self._lips(visual, is_visible)
        found = self._once(*sound, lips, is_visible)
        if not self.config.listens_again:
            return Heard.surely(self._softened(found.mask, magnitude)), found.features
        found = self._once(*sound, lips, is_visible, found.mask)
        opened = self._softened(found.mask, magnitude)
        if not any(self.config.trust) or not is_visible.any():
            return Heard.surely(opened), found.features
        assert lips.embedding is not None
        _, evidence = self.agreement(found.mask, magnitude, lips.embedding, is_visible)
        kept = found.mask * magnitude
        share = doubt(evidence.float(), kept, magnitude, is_visible, self.config.trust)
        some = share > 0
        if some.any():
            hidden = torch.zeros_like(is_visible[some])
            blind = self.mask(log_mel[some], magnitude[some], [x[some] for x in visual], hidden)
            opened = opened.clone()
            opened[some] = torch.lerp(opened[some], blind, share[some, None, None])
        return Heard(opened, share), found.features

    def _turned(self, mask: Tensor, spectrum: Tensor, features: Tensor) -> Tensor:
        if not self.config.phase_dilations:
            return mask
        turned: Tensor = self.phase(mask, spectrum, features)
        return turned

    def _softened(self, mask: Tensor, magnitude: Tensor) -> Tensor:
        return as_heard(mask, magnitude, self.config.mask_power, self.config.spares_db)

    def listen(
        self,
        log_mel: Tensor,
        magnitude: Tensor,
        visual: list[Tensor],
        is_visible: Tensor,
        guess: Tensor | None = None,
    ) -> Found:
        """What one listening finds, for training.

        Args:
            log_mel: As in `mask`.
            magnitude: As in `mask`.
            visual: As in `mask`.
            is_visible: As in `mask`.
            guess: `[B, T, F]`, what came out the first time, for a network that listens again.

        Raises:
            ValueError: T is not four times V.
        """
        lips = self._lips(visual, is_visible)
        return self._once(log_mel, magnitude, lips, is_visible, guess)

    def heard(self, found: Found, spectrum: Tensor) -> Tensor:
        """What one listening found as it is heard, `[B, T, F]`: as `hear` gives it, without doubt.

        Args:
            found: From `listen`.
            spectrum: `[B, T, F]` complex, of the mixture.
        """
        return self._turned(self._softened(found.mask, spectrum.abs()), spectrum, found.features)

    def _once(
        self,
        log_mel: Tensor,
        magnitude: Tensor,
        lips: Lips,
        is_visible: Tensor,
        guess: Tensor | None = None,
    ) -> Found:
        if log_mel.shape[1] != 4 * is_visible.shape[1]:
            raise ValueError(f"{log_mel.shape[1]} STFT frames for {is_visible.shape[1]} pictures")
        hint = evidence = None
        if guess is not None:
            assert lips.embedding is not None
            sounds, agreement = self.agreement(guess, magnitude, lips.embedding, is_visible)
            hint, evidence = self.hint(sounds), self.evidence(agreement)
        state = FusionState()
        x, skips = self.encoder(rearrange(log_mel, "b t m -> b 1 t m"), hint)  # [B, C4, V, M/16]
        x = self._transfer(0, x, lips, state)
        skips[-1] = x
        x = self._over_time(x, evidence, lips, state)
        x = self.decoder(x, skips)  # [B, C, T, M]
        gates = state.excitations
        penalty = excitation_penalty(gates) if gates else magnitude.new_zeros(())
        mask, features = self.refine(x, magnitude)
        return Found(mask, features, penalty)

    def _over_time(
        self, x: Tensor, evidence: Tensor | None, lips: Lips, state: FusionState
    ) -> Tensor:
        """The bottleneck: `[B, C4, V, M/16]` to the same."""
        n_bands = self.config.n_mels // 16
        x = self.into(rearrange(x, "b c v m -> b (c m) v", m=n_bands))  # [B, D, V]
        if evidence is not None:
            x = x + evidence
        x = self._transfer(1, x, lips, state)
        if self.config.fusion == "concat":
            x = self.concat(torch.cat([x, *lips.streams], 1))
        x = self._thinned(x)
        for index, block in enumerate(self.blocks):
            if index == len(self.blocks) // 2:
                x = self._transfer(2, x, lips, state)
            x = block(x)
        if self.more_blocks:
            x = self._transfer(3, x, lips, state)
        for block in self.more_blocks:
            x = block(x)
        deep: Tensor = rearrange(self.out_of(x), "b (c m) v -> b c v m", m=n_bands)
        return deep

    def _lips(self, visual: list[Tensor], is_visible: Tensor) -> Lips:
        if not self.sees:
            return Lips([])
        embedding = None
        if self.config.n_lip_embedding:
            embedding = F.normalize(self.lip_head(torch.cat(visual, 2)), dim=2)
            visual = [*visual[:-1], torch.cat([visual[-1], embedding], 2)]
        shown = is_visible.unsqueeze(1)
        lips = []
        for x, norm, hidden, block in zip(
            visual, self.visual_norm, self.hidden, self.visual_context, strict=True
        ):
            moving = self._moving(x, is_visible)
            y = norm(rearrange(moving, "b v c -> b c v"))
            if self.config.scales_lips:
                y = evened(y, norm, power(moving, is_visible))
            lips.append(self._thinned(block(torch.where(shown, y, hidden[:, None]))))
        return Lips(lips, embedding)

    def _moving(self, x: Tensor, is_visible: Tensor) -> Tensor:
        """`[B, V, C]` without what stays: whose mouth it is, and how it was filmed."""
        if not self.config.centres_lips:
            return x
        if not self.config.centre_frames:
            return centred(x, is_visible)
        return centred_around(x, is_visible, self.config.centre_frames)

    def _thinned(self, x: Tensor) -> Tensor:
        return F.dropout1d(x, self.config.dropout, self.training)

    def _transfer(self, index: int, x: Tensor, lips: Lips, state: FusionState) -> Tensor:
        if self.config.fusion in ("concat", "audio_only"):
            return x
        streams = [x, lips.streams[min(index, len(lips.streams) - 1)]]
        if self.config.fusion != "mmtm":
            fused: Tensor = self.fusion(state, index, streams)[0]
            return fused
        # the same as build_fusion("mmtm"), under the names that published weights have
        transfer = self.transfers[index]
        assert isinstance(transfer, MMTM)
        excitations = transfer.excitations(streams)
        state.excitations.extend(e for e in excitations if e is not None)
        return transfer.recalibrate(streams, excitations)[0]


def _one_sided(config: AvseConfig) -> dict[str, Any]:
    """Settings that gate the sound only; in MSAF the mouth competes, but is not used gated."""
    if config.fusion == "msaf":
        return {}
    settings: dict[str, Any] = {"is_gated": (True, False)}
    return settings | ({"squeeze": config.squeeze} if config.fusion == "mmtm-code" else {})
