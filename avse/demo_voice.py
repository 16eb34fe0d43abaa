"""A synthetic voice: glottal pulses through moving formants, and the mouth that goes with it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from preprocessing.timeline import SAMPLE_RATE_HZ, VIDEO_FPS

CONTROL_HZ = 200
BLOCK_SAMPLES = SAMPLE_RATE_HZ // CONTROL_HZ
BANDWIDTHS_HZ = (70.0, 100.0, 140.0, 220.0, 300.0)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sound:
    """What the throat and the mouth do during one speech sound.

    Attributes:
        formants_hz: Five resonances of an adult male vocal tract.
        voicing: Strength of the glottal pulses, 1 for an a.
        frication: Strength of the hiss, 0..1.
        openness: Gap between the lips: 0 closed, 1 as in a smile, 2.5 wide open.
        width: Width of the mouth as a share of its width in a smile.
    """

    formants_hz: tuple[float, float, float, float, float]
    voicing: float
    frication: float
    openness: float
    width: float


SOUNDS = {
    "a": Sound((750, 1150, 2450, 3400, 4500), 1.0, 0.0, 2.5, 0.92),
    "e": Sound((500, 1800, 2500, 3500, 4500), 1.2, 0.0, 1.8, 1.0),
    "i": Sound((290, 2250, 2950, 3600, 4500), 1.5, 0.0, 1.0, 1.04),
    "o": Sound((460, 850, 2450, 3300, 4500), 1.3, 0.0, 1.9, 0.74),
    "u": Sound((310, 760, 2300, 3300, 4500), 1.8, 0.0, 0.8, 0.66),
    "m": Sound((240, 1050, 2200, 3300, 4500), 0.35, 0.0, 0.0, 0.95),
    "n": Sound((260, 1600, 2500, 3300, 4500), 0.35, 0.0, 0.7, 0.95),
    "l": Sound((340, 1150, 2700, 3400, 4500), 0.6, 0.0, 1.2, 0.95),
    "b": Sound((220, 900, 2200, 3300, 4500), 0.06, 0.0, 0.0, 0.95),
    "d": Sound((220, 1700, 2600, 3300, 4500), 0.06, 0.25, 0.7, 0.95),
    "s": Sound((320, 1700, 2600, 3500, 4500), 0.0, 1.0, 0.6, 1.0),
    " ": Sound((500, 1500, 2500, 3500, 4500), 0.0, 0.0, 0.15, 0.97),
}
LENGTHS_S = {"vowel": (0.11, 0.22), "consonant": (0.06, 0.09), "pause": (0.15, 0.3)}


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks.

    Attributes:
        pitch_hz: Middle of the pitch range.
        tract_scale: Formants relative to an adult male's; a shorter tract is above 1.
        breath: Share of noise in the glottal source.
    """

    pitch_hz: float
    tract_scale: float
    breath: float = 0.06


@dataclass(frozen=True, slots=True)
class Utterance:
    """Synthetic speech and the mouth that goes with it.

    Attributes:
        samples: `[L]` float32 at 16 kHz, root mean square .1.
        openness: `[V]` gap between the lips at 25 fps, centre of each video frame.
        width: `[V]` width of the mouth at 25 fps.
    """

    samples: NDArray[np.float32]
    openness: FloatArray
    width: FloatArray


def speak(voice: Voice, duration_s: float, generator: np.random.Generator) -> Utterance:
    """Babble random syllables.

    Args:
        voice: Who speaks.
        duration_s: Length; the last syllable is cut where it ends.
        generator: Source of every random choice.
    """
    n_steps = round(duration_s * CONTROL_HZ)
    controls = _controls(n_steps, generator)
    samples = _vocal_tract(_source(controls, voice, generator), controls, voice)
    samples += _hiss(controls, generator)
    samples *= 0.1 / (np.sqrt(np.mean(samples**2)) + 1e-9)
    n_frames = round(duration_s * VIDEO_FPS)
    at_steps = np.minimum((np.arange(n_frames) + 0.5) * CONTROL_HZ / VIDEO_FPS, n_steps - 1)
    steps = at_steps.astype(np.int64)
    return Utterance(samples.astype(np.float32), controls[steps, 7], controls[steps, 8])


def coloured_noise(n_samples: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Noise that falls by 3 dB an octave, like a busy room: `[L]`, root mean square .1."""
    spectrum = np.fft.rfft(generator.standard_normal(n_samples))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.size), 20.0))
    noise = np.fft.irfft(spectrum, n_samples)
    return np.asarray(noise * 0.1 / np.sqrt(np.mean(noise**2)), dtype=np.float32)


def _controls(n_steps: int, generator: np.random.Generator) -> FloatArray:
    """Five formants, voicing, frication, openness and width at 200 Hz: `[steps, 9]`."""
    rows: list[FloatArray] = []
    while sum(len(row) for row in rows) < n_steps + CONTROL_HZ:
        rows.extend(_phrase(generator))
    targets = np.concatenate(rows)[: n_steps + CONTROL_HZ]
    smooth = np.hanning(11)[1:-1] / np.hanning(11).sum()
    moved = [np.convolve(column, smooth, mode="same") for column in targets.T]
    return np.stack(moved, axis=1)[:n_steps]


def _phrase(generator: np.random.Generator) -> list[FloatArray]:
    """Four to seven syllables between pauses."""
    rows = [_hold(" ", "pause", generator)]
    for _ in range(int(generator.integers(4, 8))):
        rows.append(_hold(str(generator.choice(list("mbdnls"))), "consonant", generator))
        rows.append(_hold(str(generator.choice(list("aeiou"))), "vowel", generator))
    return rows


def _hold(name: str, kind: str, generator: np.random.Generator) -> FloatArray:
    """One sound for a random time: `[steps, 9]`."""
    sound = SOUNDS[name]
    n_steps = round(generator.uniform(*LENGTHS_S[kind]) * CONTROL_HZ)
    loudness = generator.uniform(0.7, 1.0)
    level = [sound.voicing * loudness, sound.frication * loudness]
    row = np.array([*sound.formants_hz, *level, sound.openness, sound.width])
    return np.tile(row, (n_steps, 1))


def _source(controls: FloatArray, voice: Voice, generator: np.random.Generator) -> FloatArray:
    """Glottal pulses (derivative of a Rosenberg pulse) with breath: `[L]`."""
    n_samples = len(controls) * BLOCK_SAMPLES
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    drift = 0.12 * np.sin(2 * np.pi * 0.45 * time_s + generator.uniform(0, 6))
    shake = 0.015 * np.sin(2 * np.pi * 5.1 * time_s)
    pitch_hz = voice.pitch_hz * (1 + drift + shake)
    phase = np.cumsum(pitch_hz / SAMPLE_RATE_HZ) % 1.0
    rise = np.sin(np.pi * phase / 0.4)
    fall = -2.0 * np.sin(np.pi * (phase - 0.4) / (2 * 0.16))
    pulses = np.where(phase < 0.4, rise, np.where(phase < 0.56, fall, 0.0))
    breath = voice.breath * generator.standard_normal(n_samples) * (0.3 + (phase < 0.56))
    voiced = (pulses + breath) * _at_samples(controls[:, 5])
    return np.append(voiced[:1], voiced[1:] - 0.8 * voiced[:-1])  # the lips radiate treble better


def _vocal_tract(source: FloatArray, controls: FloatArray, voice: Voice) -> FloatArray:
    """Cascade of moving resonators, renewed every 5 ms: `[L]`."""
    out = source
    for index, bandwidth_hz in enumerate(BANDWIDTHS_HZ):
        centre_hz = np.minimum(controls[:, index] * voice.tract_scale, 7200.0)
        out = _resonator(out, centre_hz, bandwidth_hz * voice.tract_scale)
    return out


def _resonator(samples: FloatArray, centre_hz: FloatArray, bandwidth_hz: float) -> FloatArray:
    """Two poles whose frequency changes every block, gain 1 at 0 Hz: `[L]`."""
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ)
    cosines = np.cos(2 * np.pi * centre_hz / SAMPLE_RATE_HZ)
    state = np.zeros(2)
    out = np.empty_like(samples)
    for block, cosine in enumerate(cosines):
        poles = np.array([1.0, -2 * radius * cosine, radius**2])
        span = slice(block * BLOCK_SAMPLES, (block + 1) * BLOCK_SAMPLES)
        # The state of a transposed filter is in units of its output: it carries over.
        out[span], state = lfilter([poles.sum()], poles, samples[span], zi=state)
    return out


def _hiss(controls: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Noise of s and of released stops, 3.5 to 7.5 kHz: `[L]`."""
    noise = generator.standard_normal(len(controls) * BLOCK_SAMPLES)
    band = butter(4, (3500, 7500), "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(0.25 * sosfilt(band, noise) * _at_samples(controls[:, 6]))


def _at_samples(control: FloatArray) -> FloatArray:
    """A control track at the sampling rate: `[L]`."""
    n_samples = len(control) * BLOCK_SAMPLES
    steps = (np.arange(n_samples) + 0.5) / BLOCK_SAMPLES - 0.5
    return np.interp(steps, np.arange(len(control)), control)
