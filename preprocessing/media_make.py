"""Writes clips that the project makes itself: pictures at a steady rate with one sound."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import OutputError
from preprocessing.types import Waveform

AUDIO_CHUNK_SAMPLES = 1024


def make_clip(
    path: Path, images: Iterable[NDArray[np.uint8]], fps: int, sound: Waveform, crf: int = 20
) -> None:
    """Write H.264 and AAC into an MP4; both streams start at 0.

    Args:
        path: Where the clip goes; replaced only when it is complete.
        images: `[H, W, 3]` uint8 RGB, all of one even size.
        fps: Pictures a second.
        sound: Mono.
        crf: Quality of the pictures; lower is better and larger.

    Raises:
        OutputError: FFmpeg or the disk refuses.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        _encode(partial, images, fps, sound, crf)
        partial.replace(path)
    except (av.FFmpegError, OSError) as error:
        raise OutputError(path, "a place for a clip", str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(
    path: Path, images: Iterable[NDArray[np.uint8]], fps: int, sound: Waveform, crf: int
) -> None:
    with av.open(path, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
        audio = container.add_stream("aac", rate=sound.sample_rate_hz, layout="mono")
        audio.bit_rate = 128_000
        video.pix_fmt = "yuv420p"
        video.thread_count = 1
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if index == 0:
                video.height, video.width = image.shape[:2]
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in range(0, sound.n_samples, AUDIO_CHUNK_SAMPLES):
            chunk = sound.samples[None, start : start + AUDIO_CHUNK_SAMPLES]
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), "fltp", "mono")
            piece.sample_rate, piece.pts = sound.sample_rate_hz, start
            piece.time_base = Fraction(1, sound.sample_rate_hz)
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
