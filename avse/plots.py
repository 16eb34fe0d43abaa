"""Pictures of a result: spectrograms before and after, mask, waveforms and the mouth strip."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from avse.types import EnhancedClip, Mask
from preprocessing.errors import OutputError
from preprocessing.timeline import HOP_MS, VIDEO_FPS, WINDOW_MS
from preprocessing.types import MouthTrack, Waveform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

MAX_COLUMNS = 2000
N_CROPS = 24
FLOOR_DB = -80.0
NOISY_COLOUR = "#9a9a9a"
CLEAN_COLOUR = "#1f6fb4"
SEEN_COLOUR = "#2e9e5b"
UNSEEN_COLOUR = "#c8442f"


def plot_enhancement(noisy: Waveform, enhanced: EnhancedClip, path: Path, title: str = "") -> None:
    """Write one PNG that shows what was done to a clip.

    Args:
        noisy: The sound that went in, mono.
        enhanced: What came out; rows for mask and mouth are left out where it has none.
        path: Where the picture goes; replaced only when it is complete.
        title: Headline.

    Raises:
        OutputError: The picture cannot be written.
    """
    mask, mouth = enhanced.mask, enhanced.mouth
    rows = ["before", "after", *(["mask"] if mask else []), "wave", *(["mouth"] if mouth else [])]
    heights = [{"wave": 0.55, "mouth": 0.5}.get(row, 1.0) for row in rows]
    figure = Figure(figsize=(11, 1.1 + 1.75 * sum(heights)), layout="constrained")
    axes = dict(zip(rows, figure.subplots(len(rows), 1, height_ratios=heights), strict=True))
    _spectrograms(axes["before"], axes["after"], noisy, enhanced.waveform)
    _waveforms(axes["wave"], noisy, enhanced.waveform)
    if mask:
        _mask(axes["mask"], mask, noisy)
    if mouth:
        _mouth_strip(axes["mouth"], mouth)
    for axis in axes.values():
        axis.set_xlim(noisy.start_s, noisy.start_s + noisy.duration_s)
    axes[rows[-1]].set_xlabel("time (s)")
    figure.suptitle(title or _headline(enhanced), fontsize=11)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG so that a failure leaves nothing half-written.

    Raises:
        OutputError: The picture cannot be written.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    write_file(path, content.getvalue())


def write_file(path: Path, content: bytes) -> None:
    """Write a small file in one step: readers see the old file or the whole new one.

    Raises:
        OutputError: The folder does not exist or may not be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise OutputError(path, "a place that can be written", reason) from error


def log_spectrogram(sound: Waveform) -> tuple[NDArray[np.float32], float]:
    """Levels of at most 2000 moments.

    Returns:
        `[F, T]` dB relative to a full-scale sine, F = bins up to half the rate, and the
        seconds between two columns.
    """
    window_samples = sound.sample_rate_hz * WINDOW_MS // 1000
    hop_samples = max(sound.sample_rate_hz * HOP_MS // 1000, -(-sound.n_samples // MAX_COLUMNS))
    window = np.hanning(window_samples).astype(np.float32)
    padded = np.pad(sound.samples, (window_samples // 2, window_samples))
    starts = np.arange(0, max(sound.n_samples, 1), hop_samples)
    columns = np.stack([padded[start : start + window_samples] * window for start in starts])
    magnitude = np.abs(np.fft.rfft(columns, axis=1)).T * (2.0 / window.sum())
    levels = 20.0 * np.log10(np.maximum(magnitude, 1e-8))
    return levels.astype(np.float32), hop_samples / sound.sample_rate_hz


def _headline(enhanced: EnhancedClip) -> str:
    report = enhanced.report
    seen = f"mouth seen {report.face_s:.1f} of {report.duration_s:.1f} s"
    return f"{report.bundle}  |  path: {report.path}  |  {seen}"


def _spectrograms(before: Axes, after: Axes, noisy: Waveform, enhanced: Waveform) -> None:
    peak_db = float(log_spectrogram(noisy)[0].max())
    for axis, sound, name in ((before, noisy, "before"), (after, enhanced, "after")):
        levels, step_s = log_spectrogram(sound)
        extent = _extent(sound, levels.shape[1] * step_s, sound.sample_rate_hz / 2000)
        picture = axis.imshow(
            levels, origin="lower", aspect="auto", cmap="magma", extent=extent,
            vmin=peak_db + FLOOR_DB, vmax=peak_db,
        )  # fmt: skip
        axis.set_ylabel(f"{name}\nkHz")
        after.figure.colorbar(picture, ax=axis, pad=0.01, label="dB")


def _mask(axis: Axes, mask: Mask, noisy: Waveform) -> None:
    step = max(1, -(-mask.values.shape[1] // MAX_COLUMNS))
    values = mask.values[:, ::step].astype(np.float32)
    extent = _extent(noisy, mask.values.shape[1] * HOP_MS / 1000, 8.0)
    picture = axis.imshow(
        values, origin="lower", aspect="auto", cmap="viridis", extent=extent, vmin=0, vmax=1
    )
    axis.set_ylabel("mask\nkHz")
    axis.figure.colorbar(picture, ax=axis, pad=0.01, label="kept")


def _waveforms(axis: Axes, noisy: Waveform, enhanced: Waveform) -> None:
    for sound, colour, name in (
        (noisy, NOISY_COLOUR, "before"),
        (enhanced, CLEAN_COLOUR, "after"),
    ):
        low, high, times_s = _envelope(sound)
        axis.fill_between(times_s, low, high, color=colour, label=name, linewidth=0.3)
    axis.legend(loc="upper right", ncols=2, fontsize=8, frameon=False)
    axis.set_ylabel("wave")


def _envelope(sound: Waveform) -> tuple[NDArray[np.float32], ...]:
    """Lowest and highest sample of at most 2000 spans, and the time of each."""
    span = max(1, -(-sound.n_samples // MAX_COLUMNS))
    starts = np.arange(0, sound.n_samples, span)
    times_s = (sound.start_s + starts / sound.sample_rate_hz).astype(np.float32)
    low = np.minimum.reduceat(sound.samples, starts)
    return low, np.maximum.reduceat(sound.samples, starts), times_s


def _mouth_strip(axis: Axes, mouth: MouthTrack) -> None:
    """Crops over time; the bar below them is green where the mouth was visible."""
    n_frames = mouth.crops.shape[0]
    n_crops = min(N_CROPS, n_frames)
    span_s = n_frames / VIDEO_FPS
    chosen = ((np.arange(n_crops) + 0.5) * n_frames / n_crops).astype(np.int64)
    strip = np.concatenate(list(mouth.crops[chosen]), axis=1)
    extent = (mouth.start_s, mouth.start_s + span_s, 0.0, 1.0)
    axis.imshow(strip, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=extent)
    seen = [to_rgb(SEEN_COLOUR if is_seen else UNSEEN_COLOUR) for is_seen in mouth.is_visible]
    axis.imshow(np.array([seen]), aspect="auto", extent=(*extent[:2], -0.16, -0.03))
    axis.set_ylim(-0.18, 1.0)
    axis.set_yticks([])
    axis.set_ylabel("mouth")


def _extent(sound: Waveform, span_s: float, top_khz: float) -> tuple[float, float, float, float]:
    return (sound.start_s, sound.start_s + span_s, 0.0, top_khz)
