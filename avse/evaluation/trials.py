"""One thing to be judged: a noisy sound with its clean reference, and where both come from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from preprocessing.types import Waveform

ReadAudio = Callable[[Path], Waveform]


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """What is known of a pair before it is heard; every table groups by these.

    Attributes:
        clip: Name of the pair: the target's path within the data folder.
        condition: Name of the condition, e.g. `two_0db`.
        split: `test`, `elsewhere`, ... or `pairs`.
        speaker: Of the target.
        gender: Of the target, `f`, `m` or empty.
        corpus: Of the target.
        n_talkers: Voices in the mixture, the target's included; 0 where unknown.
        snr_db: Target against the sum of everything else; None where unknown or clean.
        noise_class: Class of the noise, empty without.
        sources: Paths of all interfering sounds.
    """

    clip: str
    condition: str
    split: str
    speaker: str = ""
    gender: str = ""
    corpus: str = ""
    n_talkers: int = 0
    snr_db: float | None = None
    noise_class: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A pair that can be judged.

    Attributes:
        clean: The reference, 16 kHz.
        noisy: What systems are given; None where there are only finished estimates.
        estimates: Outputs that exist already, by the name of their system.
        level_db: What both sounds were scaled by so that the mixture does not clip.
    """

    clean: Waveform
    noisy: Waveform | None
    estimates: dict[str, Waveform] = field(default_factory=dict)
    level_db: float = 0.0


class TrialPlan(Protocol):
    """A pair yet to be read or mixed."""

    @property
    def facts(self) -> TrialFacts:
        """What is known before."""
        ...

    def render(self, read: ReadAudio) -> Trial:
        """Read and mix.

        Raises:
            MediaError: A file cannot be read.
            EvaluationError: The sounds do not make a pair.
        """
        ...


def waveform_like(samples: np.ndarray, origin: Waveform) -> Waveform:
    """Samples on another sound's clock."""
    return Waveform(samples.astype(np.float32), origin.sample_rate_hz, origin.start_s)
