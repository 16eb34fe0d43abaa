"""Stage (c), second half: mixtures in which nothing but the lips names the target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from avse.training.batch import Batch
from avse.training.cache import CachedClip
from avse.training.crop_augmentation import MILD, augmented
from avse.training.faceless_lips import FacelessLips
from avse.training.features import LipFeatures, features_between, mixed_up, with_noise
from avse.training.mix_config import MixConfig
from avse.training.sounds import (
    Samples,
    Voice,
    VoicePool,
    level,
    random_equaliser,
    random_room,
    stretched,
    voiced_excerpt,
)
from preprocessing.timeline import SAMPLES_PER_VIDEO_FRAME


@dataclass(frozen=True, slots=True)
class _Target:
    voice: Voice
    clean: Samples
    features: NDArray[np.float32]
    shown: NDArray[np.bool_]
    crops: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class _Example:
    target: _Target
    noisy: Samples
    clean: Samples


class MixtureMaker:
    """Draws batches; the same `(seed, step)` gives the same batch."""

    def __init__(
        self,
        pool: VoicePool,
        noises: Sequence[NDArray[np.int16]],
        lips: LipFeatures,
        faceless: FacelessLips | None,
        config: MixConfig,
        clips: Sequence[CachedClip] | None = None,
    ) -> None:
        """Keep the sources and sort the voices into seen and unseen ones.

        With `clips` the batches hold pictures too, and every target has a face.
        """
        self.clips = clips
        self.pool = pool
        self.noises = noises
        self.lips = lips
        self.faceless = faceless
        self.config = config
        self.n_samples = config.n_frames * SAMPLES_PER_VIDEO_FRAME
        enough = [v for v in pool.voices if len(v.samples) >= self.n_samples]
        faces = [v for v in enough if v.clip_index >= 0]
        faces = [v for v in faces if len(lips.of(v.clip_index)) >= config.n_frames]
        self.seen = VoicePool(faces, config.people_power)
        self.lone = VoicePool(self.seen.only_voices(), config.people_power)
        self._spread = lips.values[0].std(0, dtype=np.float32)
        self._position = {id(v): i for i, v in enumerate(pool.voices)}
        guessed = faceless.predicted if faceless else {}
        lonely = [v for v in enough if self._position[id(v)] in guessed]
        self.unseen = VoicePool(lonely, config.people_power)

    def batch(self, n_items: int, n_voices: int, rng: np.random.Generator) -> Batch:
        """`n_items` mixtures of at most `n_voices` interferers."""
        n_pairs = round(n_items * self.config.pair_share / 2)
        examples = [e for _ in range(n_pairs) for e in self._pair(n_voices, rng)]
        for _ in range(n_items - 2 * n_pairs):
            examples.append(self._single(n_voices, rng))
        crops = [e.target.crops for e in examples if e.target.crops is not None]
        return Batch(
            torch.from_numpy(np.stack([e.noisy for e in examples])),
            torch.from_numpy(np.stack([e.clean for e in examples])),
            torch.from_numpy(np.stack([e.target.features for e in examples])),
            torch.from_numpy(np.stack([e.target.shown for e in examples])),
            torch.from_numpy(np.stack(crops)) if crops else None,
        )

    def _target(
        self, rng: np.random.Generator, rival: Voice | None = None, *, may_hide: bool = True
    ) -> _Target:
        """A voice with lips; beside a rival it is another voice, often of the same corpus."""
        voice = self._same_person(rng, rival) if rival else None
        if voice is None:
            voice = self._stranger(rng, rival)
        return self._seen_as(voice, rng, may_hide=may_hide)

    def _seen_as(self, voice: Voice, rng: np.random.Generator, *, may_hide: bool) -> _Target:
        has_face = voice.clip_index >= 0
        target = self._with_face(voice, rng) if has_face else self._faceless(voice, rng)
        clean = self._coloured(target.clean, rng)
        shown = self._hide(target.shown, rng) if may_hide else target.shown
        lips = mixed_up(target.features, self._spread, self.config.lip_mixing, rng)
        return replace(target, clean=clean, shown=shown, features=lips)

    def _same_person(self, rng: np.random.Generator, rival: Voice) -> Voice | None:
        """Other words of the rival himself, at times: then only the lips' movement can tell."""
        if rng.random() >= self.config.same_speaker_share:
            return None
        pool = self.seen if rival.clip_index >= 0 else self.unseen
        return pool.other_words(rng, rival)

    def _stranger(self, rng: np.random.Generator, rival: Voice | None) -> Voice:
        config = self.config
        may_be_faceless = self.clips is None and bool(self.unseen.voices)
        faceless = may_be_faceless and rng.random() < config.faceless_share
        if rival is None or rng.random() >= config.same_corpus_share:
            name = rival.speaker if rival else ""
            return (self.unseen if faceless else self.seen).draw(rng, not_speaker=name)
        faceless = may_be_faceless and rival.corpus in self.unseen.corpora
        pool = self.unseen if faceless else self.seen
        return pool.draw(rng, corpus=rival.corpus, not_speaker=rival.speaker)

    def _pair(self, n_voices: int, rng: np.random.Generator) -> list[_Example]:
        """One mixture of two voices with lips (and what else there is), twice."""
        if self._is_lone(rng):
            voice = self.lone.draw(rng)
            voices = (voice, self.lone.other_words(rng, voice) or voice)
            first, second = (self._seen_as(v, rng, may_hide=False) for v in voices)
        else:
            first = self._target(rng, may_hide=False)
            second = self._target(rng, first.voice, may_hide=False)
        balance = 10 ** (-rng.uniform(-5, 5) / 20)
        second = replace(second, clean=second.clean * (balance * _ratio(first.clean, second.clean)))
        noisy = first.clean + second.clean
        if rng.random() >= self.config.alone_share:
            rest = np.add(*self._interference(first.voice, max(0, n_voices - 1), rng))
            noisy = noisy + rest * self._gain(first.clean, rest, rng, least_db=rng.uniform(0, 5))
        return [self._levelled(t, noisy, rng) for t in (first, second)]

    def _is_lone(self, rng: np.random.Generator) -> bool:
        share = self.config.lone_share if self.lone.voices else 0.0
        return bool(share) and rng.random() < share

    def _levelled(self, target: _Target, noisy: Samples, rng: np.random.Generator) -> _Example:
        scale = self.config.level_rms / level(noisy) * 10 ** (rng.normal(0, 2) / 20)
        clean = (target.clean * scale).astype(np.float32)
        return _Example(target, (noisy * scale).astype(np.float32), clean)

    def _single(self, n_voices: int, rng: np.random.Generator) -> _Example:
        """One window of its own; the person seen may say nothing in it."""
        if self.clips is None and rng.random() < self.config.silent_share:
            return self._silent(n_voices, rng)
        return self._mix(self._target(rng), n_voices, rng)

    def _silent(self, n_voices: int, rng: np.random.Generator) -> _Example:
        """A mouth that all but stands still beside the voices of others."""
        target = self._still(self.seen.draw(rng), rng)
        voices, noise = self._interference(target.voice, n_voices, rng)
        return self._levelled(target, voices + noise, rng)

    def _still(self, voice: Voice, rng: np.random.Generator) -> _Target:
        """Up to three pictures spread over the window, with a tremble, and no sound."""
        features = self.lips.of(voice.clip_index, int(rng.integers(len(self.lips.values))))
        start = rng.uniform(0, len(features) - 4)
        places = np.linspace(start, start + rng.uniform(0, 3), self.config.n_frames)
        tremble = rng.standard_normal((len(places), features.shape[1]), np.float32)
        spread = features.std(0, dtype=np.float32) * rng.uniform(0, 0.2)
        shown = np.ones(len(places), np.bool_)
        silence = np.zeros(self.n_samples, np.float32)
        return _Target(voice, silence, features_between(features, places) + spread * tremble, shown)

    def _mix(self, target: _Target, n_voices: int, rng: np.random.Generator) -> _Example:
        """The voice seen and the rest; with no lips, or a stranger's, every voice is wanted."""
        strays = self.clips is None and rng.random() < self.config.stray_share
        wants_all = strays or not target.shown.any()
        only_noise = wants_all and rng.random() < 0.5
        voices, noise = self._interference(target.voice, n_voices, rng, only_noise=only_noise)
        gain = self._gain(target.clean, voices + noise, rng)
        noisy = target.clean + (voices + noise) * gain
        if wants_all:
            target = replace(target, clean=target.clean + voices * gain)
        if strays:
            stranger = self._target(rng, target.voice)
            target = replace(target, features=stranger.features, shown=stranger.shown)
        return self._levelled(target, noisy, rng)

    def _with_face(self, voice: Voice, rng: np.random.Generator) -> _Target:
        index = voice.clip_index
        features = self.lips.of(index, int(rng.integers(len(self.lips.values))))
        n_frames = self.config.n_frames
        if self.clips is not None:
            start = int(rng.integers(0, len(features) - n_frames + 1))
            crops = augmented(self.clips[index].crops[start : start + n_frames], rng, MILD)
            shown = self.lips.visible(index)[start : start + n_frames].copy()
            lips = features[start : start + n_frames].astype(np.float32)
            return _Target(voice, self._samples(voice, start, n_frames), lips, shown, crops)
        n_taken = self._n_taken(len(features), rng)
        start = int(rng.integers(0, len(features) - n_taken + 1))
        places = self._places(start, n_taken, len(features), rng)
        shown = self.lips.visible(index)[np.round(places).astype(int)]
        samples = stretched(self._samples(voice, start, n_taken), self.n_samples)
        lips = with_noise(features_between(features, places), self.config.lip_noise, rng)
        return _Target(voice, samples, lips, shown)

    def _n_taken(self, n_available: int, rng: np.random.Generator) -> int:
        """Frames that are played in the time of a window: more make the voice faster."""
        rate = 1 + rng.uniform(-self.config.tempo, self.config.tempo)
        return min(n_available, round(self.config.n_frames * rate))

    def _places(
        self, start: int, n_taken: int, n_available: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Where in a clip the lips of each picture of the window are read."""
        places = np.linspace(start, start + n_taken - 1, self.config.n_frames)
        if self.config.lip_jitter_frames:
            places = places + rng.normal(0, self.config.lip_jitter_frames)
        return np.clip(places, 0, n_available - 1)

    def _faceless(self, voice: Voice, rng: np.random.Generator) -> _Target:
        assert self.faceless is not None
        n_frames = self.config.n_frames
        predicted = self.faceless.predicted[self._position[id(voice)]]
        n_taken = self._n_taken(len(predicted), rng)
        starts = rng.integers(0, len(predicted) - n_taken + 1, 3)
        cuts = [self._samples(voice, int(start), n_taken) for start in starts]
        best = int(np.argmax([level(cut) for cut in cuts]))
        places = self._places(int(starts[best]), n_taken, len(predicted), rng)
        features = features_between(predicted, places) + self._residual(rng) * self.faceless.std
        samples = stretched(cuts[best], self.n_samples)
        return _Target(voice, samples, features, np.ones(n_frames, np.bool_))

    def _residual(self, rng: np.random.Generator) -> NDArray[np.float32]:
        assert self.faceless is not None
        n_frames = self.config.n_frames
        residual = self.faceless.residuals[int(rng.integers(len(self.faceless.residuals)))]
        if len(residual) < n_frames:
            residual = np.concatenate([residual, residual[::-1]])[:n_frames]
        start = int(rng.integers(0, len(residual) - n_frames + 1))
        return residual[start : start + n_frames]

    def _samples(self, voice: Voice, start_frame: int, n_frames: int) -> Samples:
        first = start_frame * SAMPLES_PER_VIDEO_FRAME
        last = first + n_frames * SAMPLES_PER_VIDEO_FRAME
        return voice.samples[first:last].astype(np.float32) * np.float32(1 / 32767)

    def _coloured(self, samples: Samples, rng: np.random.Generator) -> Samples:
        if rng.random() < self.config.room_share:
            samples = random_room(samples, rng)
        return random_equaliser(samples, rng, self.config.equaliser_db)

    def _hide(self, shown: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        draw = rng.random()
        if draw < self.config.hidden_share:
            return np.zeros_like(shown)
        if draw < self.config.hidden_share + self.config.half_hidden_share:
            first, last = np.sort(rng.integers(0, len(shown) + 1, 2))
            shown[first:last] = False
        return shown

    def _interference(
        self, target: Voice, n_voices: int, rng: np.random.Generator, *, only_noise: bool = False
    ) -> tuple[Samples, Samples]:
        """Voices, and noise, at random levels among themselves."""
        voices, noise = np.zeros((2, self.n_samples), np.float32)
        if rng.random() < self.config.target_only_share:
            return voices, noise
        with_noise = only_noise or rng.random() < self.config.noise_share
        fewest = 0 if with_noise or n_voices == 0 else 1
        n_drawn = 0 if only_noise else int(rng.integers(fewest, n_voices + 1))
        for _ in range(n_drawn):
            corpus = target.corpus if rng.random() < self.config.same_corpus_share else None
            voice = self.pool.draw(rng, corpus=corpus, not_speaker=target.speaker)
            voices += self._part(voice.samples, rng, 2.0)
        if with_noise and self.noises:
            noise += self._part(self.noises[int(rng.integers(len(self.noises)))], rng, 5.0)
        return voices, noise

    def _part(
        self, samples: NDArray[np.int16], rng: np.random.Generator, spread_db: float
    ) -> Samples:
        rate = 1 + rng.uniform(-self.config.tempo, self.config.tempo)
        n_taken = fft.next_fast_len(round(self.n_samples * rate), real=True)
        sound = voiced_excerpt(samples, n_taken, rng)
        sound = self._coloured(stretched(sound, self.n_samples), rng)
        wanted = 10 ** (rng.normal(0, spread_db) / 20)
        return (sound * (wanted / max(level(sound), 1e-4))).astype(np.float32)

    def _gain(
        self, clean: Samples, rest: Samples, rng: np.random.Generator, least_db: float = -np.inf
    ) -> float:
        low, high = self.config.snr_db
        snr_db = rng.uniform(low, high)
        if rng.random() < self.config.clean_share:
            snr_db = rng.uniform(10, 35)
        if not rest.any():
            return 0.0
        return _ratio(clean, rest) * float(10 ** (-max(snr_db, least_db) / 20))


def _ratio(first: Samples, second: Samples) -> float:
    return level(first) / max(level(second), 1e-6)
