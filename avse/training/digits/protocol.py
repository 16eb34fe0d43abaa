"""Who is paired with whom: training pairs of which few have sound, and the two ways to test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avse.errors import ConfigError
from avse.training.digits.recordings import DigitCorpus

N_CLASSES = 10
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ProtocolConfig:
    """The split.

    Attributes:
        speakers: Heard in training; the original protocol's three.
        test_indices: First and one past the last index of the recordings that are tested.
        train_indices: Likewise of those trained on.
        n_images_per_class: Handwritten digits of each class to train on, one for each recording.
        n_test_images: Test images of each class, each with a test recording of that class.
        is_validation: Test on training writers (images that training does not use) instead, for
            choosing settings; combine with other indices.
    """

    speakers: tuple[str, ...] = ("jackson", "nicolas", "theo")
    test_indices: tuple[int, int] = (0, 15)
    train_indices: tuple[int, int] = (15, 50)
    n_images_per_class: int = 105
    n_test_images: int = 400
    is_validation: bool = False

    def __post_init__(self) -> None:
        """Check that nothing is both trained on and tested.

        Raises:
            ValueError: The two ranges overlap.
        """
        (test_first, test_end), (train_first, train_end) = self.test_indices, self.train_indices
        if test_first < train_end and train_first < test_end:
            raise ValueError(f"recordings {self.test_indices} and {self.train_indices} overlap")


VALIDATION = ProtocolConfig(
    test_indices=(15, 25), train_indices=(25, 50), n_images_per_class=75, is_validation=True
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Images with sounds of the same digit.

    Attributes:
        images: `[N, 1, 28, 28]`, 0..1.
        sounds: `[N, 1, 32, 32]`; silent (zeros) where none is known.
        labels: `[N]`.
        has_sound: `[N]` bool.
    """

    images: Tensor
    sounds: Tensor
    labels: Tensor
    has_sound: Tensor

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)

    def part(self, chosen: Tensor) -> "Pairs":
        """Those of the given positions or mask."""
        columns = (self.images, self.sounds, self.labels, self.has_sound)
        return Pairs(*(column[chosen] for column in columns))


@dataclass(frozen=True, slots=True)
class DigitTask:
    """One draw of the experiment.

    Attributes:
        train: All images, a share of them with sound.
        tests: `original`: new recordings of the speakers of the training; `disjoint`: the same
            images with recordings of speakers never heard.
    """

    train: Pairs
    tests: dict[str, Pairs]


def draw_task(
    corpus: DigitCorpus, share: float, seed: int, config: ProtocolConfig | None = None
) -> DigitTask:
    """Pair images and sounds by class at random.

    The same seed draws the same pairs for every share, and a smaller share keeps a part of what a
    larger one keeps. Of each class the sound is kept of as many pairs by each speaker as can be.

    Args:
        corpus: Images and recordings.
        share: Of the training pairs whose sound is known, above 0 and up to 1.
        seed: Of images, pairs and which sounds are kept.
        config: The split.

    Raises:
        ConfigError: The share is out of range, or there are too few images or recordings.
    """
    config = config or ProtocolConfig()
    if not 0 < share <= 1:
        raise ConfigError(f"share of the sound: expected above 0 and up to 1, found {share}")
    rng = np.random.default_rng((seed, 17))
    images, sounds, has_sound, spare = [], [], [], []
    for digit in range(N_CLASSES):
        written = rng.permutation(np.flatnonzero(corpus.train_labels == digit))
        spoken = _in_turn(corpus, digit, config, rng)[: config.n_images_per_class]
        if len(written) < config.n_images_per_class or len(spoken) < config.n_images_per_class:
            found = (len(written), len(spoken))
            raise ConfigError(f"digit {digit}: {config.n_images_per_class} pairs, found {found}")
        images.append(written[: config.n_images_per_class])
        spare.append(written[config.n_images_per_class :][: config.n_test_images])
        sounds.append(spoken)
        n_kept = max(1, round(share * config.n_images_per_class))
        has_sound.append(np.arange(config.n_images_per_class) < n_kept)
    train = _pairs(corpus.train_images, images, corpus, sounds, np.concatenate(has_sound))
    return DigitTask(train, _tests(corpus, config, spare, rng))


def _tests(
    corpus: DigitCorpus, config: ProtocolConfig, spare: list[Indices], rng: np.random.Generator
) -> dict[str, Pairs]:
    pool, images = corpus.train_images, spare
    if not config.is_validation:
        pool, images = corpus.test_images, []
        for digit in range(N_CLASSES):
            written = rng.permutation(np.flatnonzero(corpus.test_labels == digit))
            images.append(written[: config.n_test_images])
    tests = {}
    first, end = config.test_indices
    is_tested = (corpus.indices >= first) & (corpus.indices < end)
    is_known = np.isin(corpus.speakers, config.speakers)
    for name, by_whom in (("original", is_known), ("disjoint", ~is_known)):
        sounds = []
        for digit in range(N_CLASSES):
            usable = np.flatnonzero(is_tested & by_whom & (corpus.digits == digit))
            if not len(usable):
                raise ConfigError(f"digit {digit}: expected recordings to test {name}, found none")
            n_wanted = len(images[digit])
            again = -(-n_wanted // len(usable))
            drawn = [rng.permutation(usable) for _ in range(again)]
            sounds.append(np.concatenate(drawn or [usable])[:n_wanted])
        n_pairs = sum(len(chosen) for chosen in images)
        tests[name] = _pairs(pool, images, corpus, sounds, np.ones(n_pairs, np.bool_))
    return tests


def _in_turn(
    corpus: DigitCorpus, digit: int, config: ProtocolConfig, rng: np.random.Generator
) -> Indices:
    """The digit's training recordings in random order, the speakers taking turns."""
    first, end = config.train_indices
    usable = (corpus.digits == digit) & (corpus.indices >= first) & (corpus.indices < end)
    by_speaker = [
        rng.permutation(np.flatnonzero(usable & (corpus.speakers == speaker)))
        for speaker in rng.permutation(config.speakers)
    ]
    longest = max(len(takes) for takes in by_speaker)
    turns = [takes[turn] for turn in range(longest) for takes in by_speaker if turn < len(takes)]
    return np.array(turns, np.int64)


def _pairs(
    pool: NDArray[np.uint8],
    images: Sequence[Indices],
    corpus: DigitCorpus,
    sounds: Sequence[Indices],
    has_sound: NDArray[np.bool_],
) -> Pairs:
    labels = np.repeat(np.arange(len(images)), [len(chosen) for chosen in images])
    pictures = pool[np.concatenate(images)].astype(np.float32)[:, None] / 255
    heard = corpus.sounds[np.concatenate(sounds)] * has_sound[:, None, None, None]
    return Pairs(
        torch.from_numpy(pictures),
        torch.from_numpy(heard.astype(np.float32)),
        torch.from_numpy(labels),
        torch.from_numpy(has_sound),
    )
