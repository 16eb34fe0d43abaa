"""Networks from their bundles, warm, and their memory back to the system."""

import ctypes
import gc
import logging
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avse.enhancer import Enhancer, EnhancerConfig
from preprocessing.timeline import SAMPLE_RATE_HZ, VIDEO_FPS, n_video_frames
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip, SourceInfo, Waveform

if TYPE_CHECKING:
    from avse.recognition import Recogniser

logger = logging.getLogger(__name__)

_WARM_UP_S = 1.0
_CROP_PX = 122


def open_enhancer(folder: Path, device: str, batch_windows: int | None = None) -> Enhancer:
    """The enhancer of a bundle, run once.

    Raises:
        ModelError: It cannot be opened.
    """
    start = time.perf_counter()
    enhancer = Enhancer(folder, device=device, config=EnhancerConfig(batch_windows=batch_windows))
    opened_s = time.perf_counter() - start
    enhancer.enhance(warm_up_clip())
    warm_s = time.perf_counter() - start - opened_s
    logger.info("opened %s in %.2f s, warm in %.2f s", folder.name, opened_s, warm_s)
    return enhancer


def open_recogniser(folder: Path, device: str) -> "Recogniser":
    """The recognition head of a bundle; its code is imported with the first one.

    Raises:
        ModelError: It cannot be opened.
    """
    recogniser: Recogniser = import_module("avse.recognition").Recogniser(folder, device=device)
    return recogniser


def warm_up_clip() -> PreparedClip:
    """A second of noise with a face whose mouth flickers: every network runs once."""
    generator = np.random.default_rng(0)
    n_samples = round(_WARM_UP_S * SAMPLE_RATE_HZ)
    audio = generator.normal(0.0, 0.05, n_samples).astype(np.float32)
    n_pictures = n_video_frames(n_samples)
    times_s = np.arange(n_pictures) / VIDEO_FPS
    boxes = np.tile(np.array([0, 0, 200, 200], np.float32), (n_pictures, 1))
    scores = np.ones(n_pictures, np.float32)
    track = FaceTrack(1, np.arange(n_pictures), times_s, boxes, scores)
    crops = generator.integers(0, 256, (n_pictures, _CROP_PX, _CROP_PX)).astype(np.uint8)
    landmarks = np.full((n_pictures, 20, 2), 100.0, np.float32)
    mouth = MouthTrack(crops, np.ones(n_pictures, np.bool_), 0.0, landmarks)
    source = SourceInfo(Path("warm-up"), "none", SAMPLE_RATE_HZ, 1, 1, True, float(VIDEO_FPS))
    return PreparedClip(Waveform(audio, SAMPLE_RATE_HZ), (track,), {1: mouth}, source, n_pictures)


def give_memory_back() -> None:
    """Return to the system what was freed; the C library keeps it otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
