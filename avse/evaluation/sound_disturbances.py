"""What a mixture can go through before it is heard, each as strong as one asks: `opus:24`."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from avse.evaluation.mixtures import stream
from avse.evaluation.strengths import kind_and_strength, shown_controls
from avse.evaluation.trials import ReadAudio, Trial, TrialFacts, TrialPlan, waveform_like
from avse.training.sounds import in_room, level
from preprocessing.media import read_audio
from preprocessing.media_write import SOUND_FORMATS, SoundEncoder, open_output
from preprocessing.timeline import SAMPLE_RATE_HZ
from preprocessing.types import Waveform

Samples = NDArray[np.float32]
Change = Callable[[Samples, float, np.random.Generator], Samples]

LOWEST_HZ = 300.0
"""Below it a telephone line lets nothing through."""
REVERBERATION_S = 0.4
"""In which the made-up room falls by 60 dB."""
PEAK = 0.99


@dataclass(frozen=True, slots=True)
class SoundDisturbance:
    """One kind of bad sound.

    Attributes:
        change: Samples `[L]`, strength and random numbers to new samples, in step with the old.
        low: Least number.
        high: Greatest number.
        shown: Strengths of the results page.
        takes_voice: Whether the voice that is compared with goes through it, too: what a line does
            not let through no enhancement brings back.
    """

    change: Change
    low: float
    high: float
    shown: tuple[float, ...]
    takes_voice: bool = False


@dataclass(frozen=True, slots=True)
class DisturbedPlan:
    """A pair whose noisy sound goes through a disturbance; its condition is `NAME+opus24`.

    Attributes:
        plan: The pair as it was.
        control: Such as `opus:24`.
        seed: Of what is random.
    """

    plan: TrialPlan
    control: str
    seed: int

    @property
    def facts(self) -> TrialFacts:
        """Those of the pair, under a condition of its own; of no SNR that would still be known."""
        own = self.plan.facts
        name = f"{own.condition}+{self.control.replace(':', '')}"
        return replace(own, condition=name, snr_db=None)

    def render(self, read: ReadAudio) -> Trial:
        """The pair, its noisy sound disturbed, and its reference where that is meant.

        Raises:
            MediaError: A file cannot be read.
            EvaluationError: The sounds do not make a pair.
        """
        trial = self.plan.render(read)
        if trial.noisy is None:
            return trial
        kind, strength = parse_sound_disturbance(self.control)

        def through(sound: Waveform) -> Waveform:
            rng = stream(self.seed, self.facts.clip, self.control)
            return waveform_like(kind.change(sound.samples, strength, rng), sound)

        clean = through(trial.clean) if kind.takes_voice else trial.clean
        return replace(trial, clean=clean, noisy=through(trial.noisy))


def parse_sound_disturbance(control: str) -> tuple[SoundDisturbance, float]:
    """`NAME:STRENGTH` as both.

    Raises:
        InvalidOptions: It is none, or out of range.
    """
    return kind_and_strength(control, SOUND_DISTURBANCES, "sound")


def sound_controls() -> tuple[str, ...]:
    """Every disturbance at its standard strengths, as controls."""
    return shown_controls(SOUND_DISTURBANCES)


def _coded(suffix: str) -> Change:
    """Through a lossy codec and back, at so many kbit/s."""

    def change(samples: Samples, kbits: float, rng: np.random.Generator) -> Samples:
        made = replace(SOUND_FORMATS[suffix], bit_rate=round(1000 * kbits))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"coded{suffix}"
            with open_output(path, made) as container:
                encoder = SoundEncoder(container, made, Waveform(samples, SAMPLE_RATE_HZ), 0.0)
                for packet in encoder.packets():
                    container.mux(packet)
            decoded = read_audio(path).samples[: len(samples)]
        return np.pad(decoded, (0, len(samples) - len(decoded)))

    return change


def _band(samples: Samples, top_khz: float, rng: np.random.Generator) -> Samples:
    """Nothing below 300 Hz and above so many kHz; without delay."""
    edges = (LOWEST_HZ, 1000 * top_khz)
    filters = signal.butter(6, edges, "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    heard: Samples = signal.sosfiltfilt(filters, samples).astype(np.float32)
    return heard


def _clipped(samples: Samples, above_db: float, rng: np.random.Generator) -> Samples:
    """Cut off where it is louder than its own root mean square by so much."""
    most = level(samples) * 10 ** (above_db / 20)
    return np.clip(samples, -most, most).astype(np.float32)


def _hiss(samples: Samples, below_db: float, rng: np.random.Generator) -> Samples:
    """White noise, so far below the mixture."""
    noise = rng.standard_normal(len(samples)) * level(samples) * 10 ** (-below_db / 20)
    return _within(samples + noise)


def _room(samples: Samples, below_db: float, rng: np.random.Generator) -> Samples:
    """A made-up room as the training has them, of one length."""
    noise = rng.standard_normal(round(REVERBERATION_S * SAMPLE_RATE_HZ))
    return _within(in_room(samples, noise, below_db))


def _within(samples: NDArray[np.floating]) -> Samples:
    """Turned down where it would pass full scale."""
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples * min(1.0, PEAK / max(peak, 1e-9))).astype(np.float32)


SOUND_DISTURBANCES: dict[str, SoundDisturbance] = {
    "opus": SoundDisturbance(_coded(".opus"), 6, 256, (24, 12)),
    "aac": SoundDisturbance(_coded(".m4a"), 16, 256, (32,)),
    "mp3": SoundDisturbance(_coded(".mp3"), 16, 160, (32,)),
    "band": SoundDisturbance(_band, 1, 7.9, (7, 3.4), takes_voice=True),
    "clip": SoundDisturbance(_clipped, 0, 30, (6, 3)),
    "hiss": SoundDisturbance(_hiss, 0, 60, (30, 20)),
    "room": SoundDisturbance(_room, 0, 40, (12, 6)),
}
"""By name; strengths in kbit/s, in kHz up to which a line lets sound through, and in dB."""
