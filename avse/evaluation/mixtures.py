"""Test mixtures that can be made again: from a data folder, a specification and a seed."""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avse.evaluation.errors import EvaluationError, InvalidOptions
from avse.evaluation.trials import ReadAudio, Trial, TrialFacts, waveform_like
from avse.training.manifest import ClipEntry, SoundEntry, read_clips, read_sounds

PEAK_LIMIT = 0.99
SILENT_LEVEL = 1e-5
ANY_NOISE = "any"


@dataclass(frozen=True, slots=True)
class MixtureSpec:
    """How the mixtures of one condition are made.

    Attributes:
        name: Of the condition.
        n_talkers: Voices with the target's, 1 = no other voice.
        snr_db: Lowest and highest ratio of the target to the SUM of all interference; one value
            where both are equal.
        noise: `any`, or a class or data set of `audio.csv`, or a folder of sounds; None = voices
            only. Noise is as loud as all interfering voices together.
        seed: With the clip's path it decides everything drawn.
        split: Whose clips are targets and interferers.
        noise_split: Where noises come from; by default the same split, `test` for a split that
            has none.
    """

    name: str
    n_talkers: int = 2
    snr_db: tuple[float, float] = (0.0, 0.0)
    noise: str | None = None
    seed: int = 0
    split: str = "test"
    noise_split: str | None = None

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            InvalidOptions: No talker, or a range that is upside down.
        """
        if self.n_talkers < 1:
            raise InvalidOptions(f"{self.name}: expected 1 talker or more, found {self.n_talkers}")
        if not -60 <= self.snr_db[0] <= self.snr_db[1] <= 60:
            raise InvalidOptions(f"{self.name}: expected LOW:HIGH in dB, found {self.snr_db}")


STANDARD_CONDITIONS = {
    "two_0db": MixtureSpec("two_0db", 2, (0.0, 0.0)),
    "three_paper": MixtureSpec("three_paper", 3, (2.5, 17.5)),
    "babble6_-5db": MixtureSpec("babble6_-5db", 7, (-5.0, -5.0)),
    "babble6_0db": MixtureSpec("babble6_0db", 7, (0.0, 0.0)),
    "babble6_5db": MixtureSpec("babble6_5db", 7, (5.0, 5.0)),
    "noise_-5db": MixtureSpec("noise_-5db", 1, (-5.0, -5.0), ANY_NOISE),
    "noise_0db": MixtureSpec("noise_0db", 1, (0.0, 0.0), ANY_NOISE),
    "noise_5db": MixtureSpec("noise_5db", 1, (5.0, 5.0), ANY_NOISE),
    "clean": MixtureSpec("clean", 1),
}


def condition(name: str, split: str, seed: int) -> MixtureSpec:
    """A standard condition for a split.

    Besides the names in `STANDARD_CONDITIONS`, `talkersN_LOW:HIGHdb` and `noise_LOW:HIGHdb` are
    understood.

    Raises:
        InvalidOptions: The name is unknown.
    """
    found = STANDARD_CONDITIONS.get(name) or _spelled_out(name)
    if found is None:
        known = ", ".join(STANDARD_CONDITIONS)
        raise InvalidOptions(f"condition: expected one of {known}, found {name!r}")
    return replace(found, split=split, seed=seed)


def parse_range_db(text: str) -> tuple[float, float]:
    """`2.5:17.5` or `0` as a range.

    Raises:
        InvalidOptions: It is neither.
    """
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError as error:
        raise InvalidOptions(f"SNR: expected LOW:HIGH or one number, found {text!r}") from error
    if len(numbers) not in (1, 2):
        raise InvalidOptions(f"SNR: expected LOW:HIGH or one number, found {text!r}")
    return numbers[0], numbers[-1]


def _spelled_out(name: str) -> MixtureSpec | None:
    match = re.fullmatch(r"(?:talkers(\d+)|noise)_(-?[\d.]+(?::-?[\d.]+)?)db", name)
    if match is None:
        return None
    noise = None if match[1] else ANY_NOISE
    return MixtureSpec(name, int(match[1] or 1), parse_range_db(match[2]), noise)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A data folder in the standard form.

    `av.csv` has the columns path, speaker, gender, split, language; `audio.csv`, needed for noise
    only, has path, type (`speech` or `noise`), split, dataset, speaker_or_class, seconds. Paths are
    relative to the folder.

    Attributes:
        root: The folder.
        clips: Talking faces.
        sounds: Voices and noises without a picture.
    """

    root: Path
    clips: tuple[ClipEntry, ...]
    sounds: tuple[SoundEntry, ...]

    @classmethod
    def read(cls, root: Path) -> "Corpus":
        """Read both tables.

        Raises:
            ManifestError: There are no clips.
        """
        return cls(root, tuple(read_clips(root)), tuple(read_sounds(root)))

    def of_split(self, split: str) -> tuple[ClipEntry, ...]:
        """Clips of one split, sorted by path.

        Raises:
            InvalidOptions: There are none.
        """
        clips = sorted((c for c in self.clips if c.split == split), key=lambda c: c.path)
        if not clips:
            known = ", ".join(sorted({c.split for c in self.clips}))
            raise InvalidOptions(f"split: expected one of {known}, found {split!r}")
        return tuple(clips)

    def noises(self, spec: MixtureSpec) -> tuple[SoundEntry, ...]:
        """Noises a specification may draw from, sorted by path.

        Raises:
            InvalidOptions: There are none.
        """
        if spec.noise is not None and os.sep in spec.noise:
            return _noises_in(Path(spec.noise))
        noises = [s for s in self.sounds if s.kind == "noise"]
        split = spec.noise_split or (
            spec.split if any(s.split == spec.split for s in noises) else "test"
        )
        fitting = [
            s for s in noises if s.split == split and spec.noise in (ANY_NOISE, s.label, s.corpus)
        ]
        if not fitting:
            raise InvalidOptions(f"noise: no {spec.noise!r} in split {split!r} of audio.csv")
        return tuple(sorted(fitting, key=lambda s: s.path))


def _noises_in(folder: Path) -> tuple[SoundEntry, ...]:
    """Every file below a folder, its class the name of the folder it lies in.

    Raises:
        InvalidOptions: There are none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
    if not paths:
        raise InvalidOptions(f"noise: expected a folder of sounds, found none at {folder}")
    return tuple(
        SoundEntry(str(p.resolve()), "noise", "", folder.name, p.parent.name) for p in paths
    )


def stream(seed: int, clip: str, purpose: str) -> np.random.Generator:
    """Random numbers that depend on nothing but these three, on any machine."""
    digest = hashlib.sha256(f"{seed}|{clip}|{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def choose_clips(clips: Sequence[ClipEntry], limit: int | None, seed: int) -> list[ClipEntry]:
    """All clips, or `limit` of them taken in turn from every speaker."""
    if limit is None or limit >= len(clips):
        return list(clips)
    by_speaker: dict[str, list[ClipEntry]] = {}
    for clip in sorted(clips, key=lambda c: stream(seed, c.path, "choice").random()):
        by_speaker.setdefault(clip.speaker, []).append(clip)
    ranked = [
        (rank, name, clip) for name, own in by_speaker.items() for rank, clip in enumerate(own)
    ]
    ranked.sort(key=lambda entry: entry[:2])
    return sorted((clip for _, _, clip in ranked[:limit]), key=lambda c: c.path)


@dataclass(frozen=True, slots=True)
class MixturePlan:
    """One mixture, decided but not yet heard.

    Attributes:
        facts: Of the table.
        root: The data folder.
        seed: Of the random starts.
        voices: Paths of the interfering voices.
        noise: Path of the noise, empty without.
    """

    facts: TrialFacts
    root: Path
    seed: int
    voices: tuple[str, ...]
    noise: str

    def render(self, read: ReadAudio) -> Trial:
        """Read the sounds and mix them.

        Raises:
            MediaError: A file cannot be read.
            EvaluationError: The target or an interferer is silent.
        """
        target = read(self.root / self.facts.clip)
        rest = self._interference(target.n_samples, read)
        clean = target.samples.astype(np.float64)
        noisy = clean
        if self.facts.snr_db is not None:
            level = _level(clean, self.facts.clip) / _level(rest, "interference")
            noisy = clean + rest * (level * 10 ** (-self.facts.snr_db / 20))
        peak = max(float(np.max(np.abs(noisy))), float(np.max(np.abs(clean))))
        gain = min(1.0, PEAK_LIMIT / max(peak, 1e-9))
        level_db = 20 * math.log10(gain)
        return Trial(
            waveform_like(clean * gain, target), waveform_like(noisy * gain, target), {}, level_db
        )

    def _interference(self, n_samples: int, read: ReadAudio) -> NDArray[np.float64]:
        total = np.zeros(n_samples)
        for index, path in enumerate(self.voices):
            total += self._part(path, f"start{index}", n_samples, read)
        if self.noise:
            noise = self._part(self.noise, "start of noise", n_samples, read)
            total += noise * (_level(total, "voices") if self.voices else 1.0)
        return total

    def _part(
        self, path: str, purpose: str, n_samples: int, read: ReadAudio
    ) -> NDArray[np.float64]:
        whole = read(self.root / path).samples.astype(np.float64)
        part = fit_length(whole, n_samples, stream(self.seed, self.facts.clip, purpose))
        return part / _level(part, path)


def fit_length(
    sound: NDArray[np.float64], n_samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A sound cut to a length from a random start; a shorter one is repeated.

    Raises:
        EvaluationError: The sound is empty.
    """
    n_own = len(sound)
    if n_own == 0:
        raise EvaluationError("an interfering sound is empty")
    if n_own >= n_samples:
        start = int(rng.integers(n_own - n_samples + 1))
        return sound[start : start + n_samples]
    start = int(rng.integers(n_own))
    return np.take(sound, np.arange(start, start + n_samples), mode="wrap")


def _level(sound: NDArray[np.float64], name: str) -> float:
    level = float(np.sqrt(np.mean(np.square(sound)))) if sound.size else 0.0
    if not level > SILENT_LEVEL:
        raise EvaluationError(f"{name}: expected sound to mix, found silence")
    return level


def plan_mixtures(corpus: Corpus, spec: MixtureSpec, limit: int | None = None) -> list[MixturePlan]:
    """One mixture for each clip of the split (or `limit` clips spread over the speakers).

    Interferers are other people of the same split: everybody once before anybody twice, never
    the target's speaker and no clip twice while there are others. Conditions with the same seed
    share the interferers of a clip as far as they go.

    Raises:
        InvalidOptions: The split, the noise or other speakers are missing.
    """
    clips = corpus.of_split(spec.split)
    return [_plan(corpus, spec, clip, clips) for clip in choose_clips(clips, limit, spec.seed)]


def _plan(
    corpus: Corpus, spec: MixtureSpec, clip: ClipEntry, clips: Sequence[ClipEntry]
) -> MixturePlan:
    voices = _draw_voices(spec, clip, clips)
    noise = None
    if spec.noise is not None:
        noises = corpus.noises(spec)
        noise = noises[int(stream(spec.seed, clip.path, "noise").integers(len(noises)))]
    snr_db = None
    if voices or noise:
        snr_db = round(float(stream(spec.seed, clip.path, "snr").uniform(*spec.snr_db)), 3)
    paths = tuple(voice.path for voice in voices)
    facts = TrialFacts(
        clip=clip.path,
        condition=spec.name,
        split=spec.split,
        speaker=clip.speaker,
        gender=clip.gender,
        corpus=clip.corpus,
        n_talkers=spec.n_talkers,
        snr_db=snr_db,
        noise_class=noise.label if noise else "",
        sources=paths + ((noise.path,) if noise else ()),
    )
    return MixturePlan(facts, corpus.root, spec.seed, paths, noise.path if noise else "")


def _draw_voices(spec: MixtureSpec, clip: ClipEntry, clips: Sequence[ClipEntry]) -> list[ClipEntry]:
    n_voices = spec.n_talkers - 1
    others = [c for c in clips if c.speaker != clip.speaker]
    if n_voices and not others:
        raise InvalidOptions(f"{spec.name}: expected other speakers in split {spec.split!r}")
    rng = stream(spec.seed, clip.path, "voices")
    shuffled: list[list[ClipEntry]] = []
    for speaker in sorted({c.speaker for c in others}):
        own = [c for c in others if c.speaker == speaker]
        shuffled.append([own[i] for i in rng.permutation(len(own))])
    shuffled = [shuffled[i] for i in rng.permutation(len(shuffled))]
    return [_nth(shuffled, index) for index in range(n_voices)]


def _nth(shuffled: list[list[ClipEntry]], index: int) -> ClipEntry:
    own = shuffled[index % len(shuffled)]
    return own[(index // len(shuffled)) % len(own)]
