"""Voices and noises in memory, and what is done to them: equaliser, level, mixing."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from avse.training.manifest import SoundEntry
from preprocessing.errors import MediaError
from preprocessing.media import read_audio
from preprocessing.types import Progress, no_progress

log = logging.getLogger(__name__)
Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Voice:
    """A stretch of speech of one person.

    Attributes:
        speaker: Unique over all corpora.
        corpus: Where it was recorded.
        samples: `[L]` int16, 16 kHz.
        clip_index: Position among the face clips, -1 for a voice without a face.
    """

    speaker: str
    corpus: str
    samples: NDArray[np.int16]
    clip_index: int = -1


def load_sounds(
    data_dir: Path,
    entries: Sequence[SoundEntry],
    kept: Path,
    progress: Progress = no_progress,
) -> list[tuple[SoundEntry, NDArray[np.int16]]]:
    """Sounds of the entries as 16 kHz int16, from `kept` if they are there, else decoded.

    Those that do not decode are logged and left out.
    """
    if not kept.is_file():
        decoded = {
            str(index): samples
            for index, samples in enumerate(_decode(data_dir, entries, progress))
        }
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, **decoded)  # type: ignore[arg-type]
        partial.replace(kept)
    with np.load(kept) as arrays:
        pairs = [(entry, arrays[str(index)]) for index, entry in enumerate(entries)]
    return [(entry, samples) for entry, samples in pairs if len(samples)]


def _decode(
    data_dir: Path, entries: Sequence[SoundEntry], progress: Progress
) -> Iterator[NDArray[np.int16]]:
    """One array an entry; an empty one where it does not decode."""
    for index, entry in enumerate(entries, 1):
        try:
            samples = read_audio(data_dir / entry.path).samples
        except MediaError as error:
            log.warning("left out: %s", error)
            samples = np.zeros(0, np.float32)
        progress("sounds", index, len(entries))
        yield np.clip(np.round(samples * 32767), -32767, 32767).astype(np.int16)


def excerpt(
    samples: NDArray[np.int16] | Samples, n_samples: int, rng: np.random.Generator
) -> Samples:
    """A random stretch of a sound as float32 `[n_samples]`; short sounds repeat."""
    start = int(rng.integers(0, max(0, len(samples) - n_samples) + 1))
    chosen = np.resize(samples[start : start + n_samples], n_samples)
    scale = np.float32(1 / 32767 if chosen.dtype == np.int16 else 1)
    return chosen.astype(np.float32) * scale


def voiced_excerpt(
    samples: NDArray[np.int16] | Samples, n_samples: int, rng: np.random.Generator
) -> Samples:
    """An excerpt that holds sound: the loudest of up to three random ones."""
    tries = [excerpt(samples, n_samples, rng) for _ in range(3)]
    for candidate in tries:
        if level(candidate) > 1e-3:
            return candidate
    return max(tries, key=level)


def level(samples: Samples) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples)) + 1e-12))


def random_equaliser(samples: Samples, rng: np.random.Generator, strength_db: float) -> Samples:
    """Colour a sound by a smooth random gain over frequency, and at times a band limit.

    Without it the net learns to know its target by the recording channel.
    """
    n_samples = len(samples)
    spectrum = fft.rfft(samples)
    position = np.sqrt(np.linspace(0, 1, len(spectrum)))  # finer steps at low frequencies
    knots = rng.normal(0, strength_db, 8)
    gain_db = np.interp(position, np.linspace(0, 1, 8), knots)
    gain_db += rng.normal(0, strength_db) * (position - 0.5)
    if rng.random() < 0.15:
        edge = rng.uniform(0.4, 0.95)
        gain_db -= 40 * np.clip((np.linspace(0, 1, len(spectrum)) - edge) / 0.1, 0, 1)
    gain = (10 ** (gain_db / 20)).astype(np.float32)
    coloured: Samples = fft.irfft(spectrum * gain, n_samples)
    coloured *= np.float32(level(samples) / level(coloured))
    return coloured


def stretched(samples: Samples, n_samples: int) -> Samples:
    """The sound played faster or slower so that it has `n_samples`; pitch and formants move along.

    With the lips stretched alike this makes another person of the same one.
    """
    spectrum = fft.rfft(samples)
    played: Samples = fft.irfft(spectrum, n_samples) * np.float32(n_samples / len(samples))
    return played


def random_room(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add a short made-up room: the direct sound and an exponentially decaying noise tail."""
    noise = rng.normal(0, 1, int(16_000 * rng.uniform(0.1, 0.5)))
    return in_room(samples, noise, rng.uniform(6, 18))


def in_room(samples: Samples, noise: NDArray[np.float64], below_db: float) -> Samples:
    """A sound with a tail of noise that falls by 60 dB, in all so far below the direct sound."""
    n_tail = len(noise)
    tail = noise * np.exp(-6.9 * np.arange(n_tail) / n_tail)
    tail *= 10 ** (-below_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    n_fft = fft.next_fast_len(len(samples) + n_tail, real=True)
    spectrum = fft.rfft(samples, n_fft) * fft.rfft(tail.astype(np.float32), n_fft)
    wet: Samples = fft.irfft(spectrum, n_fft)
    return wet[: len(samples)]


class VoicePool:
    """Voices by corpus and speaker, drawn corpus first, then person, then stretch."""

    def __init__(self, voices: Sequence[Voice], people_power: float = 1.0) -> None:
        """Index the voices; corpora weigh the root of length times people to that power."""
        self.voices = list(voices)
        self._tree: dict[str, dict[str, list[Voice]]] = defaultdict(lambda: defaultdict(list))
        for voice in voices:
            self._tree[voice.corpus][voice.speaker].append(voice)
        self.corpora = sorted(self._tree)
        total = {
            c: sum(len(v.samples) for s in self._tree[c].values() for v in s) for c in self.corpora
        }
        n_people = {c: len(self._tree[c]) ** people_power for c in self.corpora}
        weight = np.array([np.sqrt(total[c] * n_people[c]) for c in self.corpora])
        self._weight = weight / weight.sum() if len(weight) else weight

    def draw(
        self, rng: np.random.Generator, *, corpus: str | None = None, not_speaker: str = ""
    ) -> Voice:
        """A voice, of `corpus` if given, never of `not_speaker`; people of one corpus evenly.

        By length alone a single person with many clips made half of all targets, and the net took
        every mouth filmed like that for that voice.
        """
        for _ in range(20):
            chosen = corpus if corpus in self._tree else rng.choice(self.corpora, p=self._weight)
            speakers = self._tree[str(chosen)]
            name = list(speakers)[int(rng.integers(len(speakers)))]
            if name != not_speaker:
                return speakers[name][int(rng.integers(len(speakers[name])))]
            corpus = None
        raise ValueError(f"expected a voice other than {not_speaker!r}, found none")

    def only_voices(self) -> list[Voice]:
        """Those of corpora that hold one person alone."""
        lone = [c for c in self.corpora if len(self._tree[c]) == 1]
        return [voice for c in lone for person in self._tree[c].values() for voice in person]

    def other_words(self, rng: np.random.Generator, voice: Voice) -> Voice | None:
        """Another recording of the same person; None where there is only one."""
        own = self._tree.get(voice.corpus, {}).get(voice.speaker, [])
        others = [other for other in own if other is not voice]
        return others[int(rng.integers(len(others)))] if others else None
