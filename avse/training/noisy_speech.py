"""Mixtures for the network that hears only: speech, of one voice or more, and what is no speech."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from avse.training.sounds import (
    Samples,
    VoicePool,
    level,
    random_equaliser,
    random_room,
    stretched,
    voiced_excerpt,
)
from preprocessing.timeline import SAMPLES_PER_VIDEO_FRAME


@dataclass(frozen=True, slots=True)
class NoisySpeechConfig:
    """How training mixtures are made.

    Attributes:
        n_frames: Video frames a window (50 = 200 STFT frames = 2 s).
        more_voices_share: Windows with more voices than one; all are wanted.
        max_more_voices: Most of them.
        no_voice_share: Windows in which nobody speaks.
        clean_share: Windows without any noise.
        made_up_share: Noises that are made up: steady, of a random colour, slowly swelling.
        second_noise_share: Mixtures with another noise beside the first.
        crowd_share: Noises that are a crowd of six to ten voices. A network that met them lowers
            what babble leaves of a voice.
        voice_equaliser_db: Strength of the random equaliser on voices.
        noise_equaliser_db: The same on noises.
        room_share: Voices put in a made-up room, which stays.
        tempo: Voices and noises play this much faster or slower at most.
        snr_db: Range of the voices against all noise.
        level_rms: Level of the mixtures.
    """

    n_frames: int = 50
    more_voices_share: float = 0.25
    max_more_voices: int = 6
    no_voice_share: float = 0.02
    clean_share: float = 0.04
    made_up_share: float = 0.2
    second_noise_share: float = 0.3
    crowd_share: float = 0.0
    voice_equaliser_db: float = 3.0
    noise_equaliser_db: float = 6.0
    room_share: float = 0.1
    tempo: float = 0.12
    snr_db: tuple[float, float] = (-5.0, 20.0)
    level_rms: float = 0.05


class NoisySpeech:
    """Draws batches; the same random numbers give the same batch."""

    def __init__(
        self, pool: VoicePool, noises: Sequence[NDArray[np.int16]], config: NoisySpeechConfig
    ) -> None:
        """Keep the sources."""
        self.pool = pool
        self.noises = noises
        self.config = config
        self.n_samples = config.n_frames * SAMPLES_PER_VIDEO_FRAME

    def batch(self, n_items: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Noisy and clean sound, `[B, L]` each."""
        pairs = [self._pair(rng) for _ in range(n_items)]
        noisy, clean = (np.stack(sounds) for sounds in zip(*pairs, strict=True))
        return torch.from_numpy(noisy), torch.from_numpy(clean)

    def _pair(self, rng: np.random.Generator) -> tuple[Samples, Samples]:
        config = self.config
        clean = self._voices(rng)
        noise = self._noise(rng) if rng.random() >= config.clean_share else np.zeros_like(clean)
        snr_db = rng.uniform(*config.snr_db)
        noisy = clean + noise * np.float32(level(clean) * 10 ** (-snr_db / 20))
        if rng.random() < config.no_voice_share:
            noisy, clean = noise, np.zeros_like(clean)
        scale = config.level_rms / max(level(noisy), 1e-4) * 10 ** (rng.normal(0, 2) / 20)
        return (noisy * scale).astype(np.float32), (clean * scale).astype(np.float32)

    def _voices(self, rng: np.random.Generator) -> Samples:
        clean = self._voice(rng)
        if rng.random() < self.config.more_voices_share:
            for _ in range(int(rng.integers(1, self.config.max_more_voices + 1))):
                clean = clean + self._voice(rng) * 10 ** (rng.uniform(-6, 3) / 20)
        return clean.astype(np.float32)

    def _voice(self, rng: np.random.Generator) -> Samples:
        """One voice at level 1, in its room."""
        taken = voiced_excerpt(self.pool.draw(rng).samples, self._n_taken(rng), rng)
        sound = stretched(taken, self.n_samples)
        if rng.random() < self.config.room_share:
            sound = random_room(sound, rng)
        sound = random_equaliser(sound, rng, self.config.voice_equaliser_db)
        return sound / np.float32(max(level(sound), 1e-4))

    def _noise(self, rng: np.random.Generator) -> Samples:
        """One noise at level 1, or two."""
        noise = self._one_noise(rng)
        if rng.random() < self.config.second_noise_share:
            noise = noise + self._one_noise(rng) * 10 ** (rng.uniform(-15, 0) / 20)
        return (noise / max(level(noise), 1e-4)).astype(np.float32)

    def _one_noise(self, rng: np.random.Generator) -> Samples:
        draw = rng.random()
        if draw < self.config.made_up_share:
            sound = _steady(self.n_samples, rng)
        elif draw < self.config.made_up_share + self.config.crowd_share:
            sound = np.sum([self._voice(rng) for _ in range(int(rng.integers(6, 11)))], axis=0)
        else:
            noise = self.noises[int(rng.integers(len(self.noises)))]
            sound = stretched(voiced_excerpt(noise, self._n_taken(rng), rng), self.n_samples)
        sound = random_equaliser(sound, rng, self.config.noise_equaliser_db)
        return sound / np.float32(max(level(sound), 1e-4))

    def _n_taken(self, rng: np.random.Generator) -> int:
        rate = 1 + rng.uniform(-self.config.tempo, self.config.tempo)
        return int(fft.next_fast_len(round(self.n_samples * rate), real=True))


def _steady(n_samples: int, rng: np.random.Generator) -> Samples:
    """Noise that falls by 0 to 9 dB an octave and swells slowly by a few dB."""
    spectrum = fft.rfft(rng.standard_normal(n_samples, np.float32))
    position = np.maximum(np.arange(len(spectrum)), 5) / len(spectrum)
    coloured = fft.irfft(spectrum * position ** -rng.uniform(0, 1.5), n_samples)
    knots_db = rng.normal(0, 2.5, 6)
    swell_db = np.interp(np.linspace(0, 5, n_samples), np.arange(6), knots_db)
    sound: Samples = (coloured * 10 ** (swell_db / 20)).astype(np.float32)
    return sound
