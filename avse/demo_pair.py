"""A made clip of two people of whom one talks: there is a choice of whom to listen to."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avse.demo import INTERFERER, SPEAKER, DemoConfig
from avse.demo_face import talking_frames
from avse.demo_voice import SOUNDS, Utterance, coloured_noise, speak
from preprocessing.media_make import make_clip
from preprocessing.timeline import SAMPLE_RATE_HZ, VIDEO_FPS
from preprocessing.types import Waveform

CRF = 25
_DEFAULT = DemoConfig()


def make_pair_clip(path: Path, config: DemoConfig = _DEFAULT) -> Waveform:
    """Write a clip with a listener on the left, grey and mirrored, and the speaker on the right.

    Args:
        path: Where the MP4 goes, 960x480.
        config: What it is like; `is_hd` has no meaning.

    Returns:
        The voice of the speaker, as mixed into the clip.

    Raises:
        OutputError: The clip cannot be written.
    """
    generator = np.random.default_rng(config.seed)
    speech = speak(SPEAKER, config.duration_s, generator)
    unseen = speak(INTERFERER, config.duration_s, generator).samples
    noise = coloured_noise(speech.samples.size, generator)
    mixture = speech.samples + _at(config.interferer_db) * unseen + _at(config.noise_db) * noise
    loudness = min(1.0, 0.9 / np.abs(mixture).max())
    make_clip(path, _pictures(speech), VIDEO_FPS, _wave(loudness * mixture), CRF)
    return _wave(loudness * speech.samples)


def _at(level_db: float) -> float:
    return float(10 ** (-level_db / 20))


def _wave(samples: NDArray[np.floating]) -> Waveform:
    return Waveform(samples.astype(np.float32), SAMPLE_RATE_HZ)


def _pictures(speech: Utterance) -> Iterator[NDArray[np.uint8]]:
    """Both faces side by side: `[480, 960, 3]`."""
    n_frames, still = len(speech.openness), SOUNDS[" "]
    openness, width = np.full(n_frames, still.openness), np.full(n_frames, still.width)
    listening = talking_frames(openness, width, VIDEO_FPS)
    talking = talking_frames(speech.openness, speech.width, VIDEO_FPS)
    for listener, speaker in zip(listening, talking, strict=True):
        grey = cv2.cvtColor(listener[:, ::-1], cv2.COLOR_RGB2GRAY)
        twin = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
        yield np.ascontiguousarray(np.hstack([twin, speaker]), dtype=np.uint8)
