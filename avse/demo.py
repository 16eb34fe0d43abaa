"""A clip that needs nobody's recording: a portrait whose mouth moves, a second voice and noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avse.bundle import DEFAULT_BUNDLE
from avse.demo_face import FRAME_PX, talking_frames
from avse.demo_voice import Utterance, Voice, coloured_noise, speak
from avse.enhancer import Enhancer
from avse.evaluation.metrics import Scores, score
from avse.plots import plot_enhancement
from avse.types import EnhancedClip, EnhanceOptions
from preprocessing.media import read_audio
from preprocessing.media_make import make_clip
from preprocessing.media_write import write_audio
from preprocessing.timeline import SAMPLE_RATE_HZ, VIDEO_FPS
from preprocessing.types import Progress, Waveform, no_progress

SPEAKER = Voice(pitch_hz=205.0, tract_scale=1.16)
INTERFERER = Voice(pitch_hz=112.0, tract_scale=1.0)
METRICS = ("pesq_wb", "stoi", "si_sdr_db")
HD_SIZE_PX = (1280, 720)


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """What the clip is like.

    Attributes:
        duration_s: Length.
        interferer_db: Level of the speaker over the unseen second voice.
        noise_db: Level of the speaker over the noise.
        seed: Of every random choice.
        is_hd: Whether the portrait stands in a 1280x720 picture instead of 480x480.
    """

    duration_s: float = 6.0
    interferer_db: float = 10.0
    noise_db: float = 5.0
    seed: int = 0
    is_hd: bool = False


@dataclass(frozen=True, slots=True)
class DemoClip:
    """A clip on disk and the truth about it.

    Attributes:
        path: The MP4, 25 pictures a second, H.264 and AAC.
        clean: The visible speaker alone, as mixed into the clip.
    """

    path: Path
    clean: Waveform


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a run of the demo gave.

    Attributes:
        enhanced: The result with its report.
        before: Scores of the noisy clip.
        after: Scores of the result.
        files: What was written.
    """

    enhanced: EnhancedClip
    before: Scores
    after: Scores
    files: tuple[Path, ...]


def make_demo_clip(
    path: Path, config: DemoConfig = DemoConfig(), progress: Progress = no_progress
) -> DemoClip:
    """Write a synthetic talking-head clip: visible speaker, unseen second voice, noise.

    Args:
        path: Where the MP4 goes.
        config: What it is like.
        progress: Called as `("drawing", pictures, pictures in all)`.

    Raises:
        OutputError: The clip cannot be written.
    """
    generator = np.random.default_rng(config.seed)
    speech = speak(SPEAKER, config.duration_s, generator)
    other = speak(INTERFERER, config.duration_s, generator)
    noise = coloured_noise(speech.samples.size, generator)
    mixture = speech.samples.astype(np.float64)
    mixture = mixture + _gain(config.interferer_db) * other.samples
    mixture = mixture + _gain(config.noise_db) * noise
    loudness = np.float32(min(1.0, 0.9 / np.abs(mixture).max()))
    noisy = Waveform((loudness * mixture).astype(np.float32), SAMPLE_RATE_HZ)
    make_clip(path, _pictures(speech, config, progress), VIDEO_FPS, noisy)
    return DemoClip(path, Waveform(loudness * speech.samples, SAMPLE_RATE_HZ))


def run_demo(
    folder: Path,
    config: DemoConfig = DemoConfig(),
    bundle: str | None = None,
    device: str = "auto",
    progress: Progress = no_progress,
) -> DemoResult:
    """Make the clip, enhance it as a user would, and judge both against the clean voice.

    Args:
        folder: Receives noisy.mp4, enhanced.mp4, enhanced.wav and enhanced.png.
        config: What the clip is like.
        bundle: Name or folder of the weights; None takes the default.
        device: Where the network runs.
        progress: Called as `(stage, done, total)`.

    Raises:
        OutputError: The folder cannot be written.
        ModelError: The bundle or the device cannot be used.
    """
    enhancer = Enhancer(bundle or DEFAULT_BUNDLE, device=device)
    clip = make_demo_clip(folder / "noisy.mp4", config, progress)
    noisy = read_audio(clip.path)
    files = [clip.path, *(folder / name for name in ("enhanced.mp4", "enhanced.wav"))]
    enhanced = enhancer.enhance_file(clip.path, files[1], EnhanceOptions(), progress)
    if isinstance(enhanced, list):
        raise TypeError("expected one result for one face")
    write_audio(files[2], enhanced.waveform)
    files.append(folder / "enhanced.png")
    plot_enhancement(noisy, enhanced, files[3])
    before = _judge(clip.clean, noisy)
    return DemoResult(enhanced, before, _judge(clip.clean, enhanced.waveform), tuple(files))


def _judge(clean: Waveform, estimate: Waveform) -> Scores:
    """Scores over what both have; AAC may add a few milliseconds at the end."""
    n_samples = min(clean.n_samples, estimate.n_samples)
    return score(clean.samples[:n_samples], estimate.samples[:n_samples], metrics=METRICS)


def _gain(level_db: float) -> float:
    return float(10 ** (-level_db / 20))


def _pictures(
    speech: Utterance, config: DemoConfig, progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    n_frames = len(speech.openness)
    for index, image in enumerate(talking_frames(speech.openness, speech.width, VIDEO_FPS)):
        progress("drawing", index + 1, n_frames)
        yield _in_hd(image) if config.is_hd else image


def _in_hd(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in the middle of a blurred copy of itself: `[720, 1280, 3]`."""
    width_px, height_px = HD_SIZE_PX
    stage = cv2.resize(cv2.blur(image[: FRAME_PX // 4], (31, 31)), HD_SIZE_PX)
    top, left = (height_px - FRAME_PX), (width_px - FRAME_PX) // 2
    stage[top : top + FRAME_PX, left : left + FRAME_PX] = image
    return np.asarray(stage, dtype=np.uint8)
