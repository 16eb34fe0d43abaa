"""A picture of what was recognised: frames with their labels, and the labels over time."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from avse.plots import save_figure
from avse.recognition.types import Recognition, Segment
from preprocessing.media import open_frames
from preprocessing.types import FrameStream

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

N_TILES = 12
N_COLUMNS = 6
TILE_WIDTH_PX = 320
N_RUNNERS_UP = 3
TITLE_LETTERS = 26
"""What fits above a frame."""
TIMELINE_LETTERS = 180
"""What fits beside each other along the whole clip."""
UPRIGHT_LETTERS = 22
"""What fits into its height."""
UNNAMED_COLOUR = "#b8b8b8"
COLOURS = (
    "#1f6fb4", "#c8442f", "#2e9e5b", "#be8c14", "#8250b4", "#14969f", "#d1558f", "#6b7280",
)  # fmt: skip


def plot_recognition(clip: Path, found: Recognition, path: Path) -> None:
    """Write one PNG: up to twelve frames with their labels, and below them the labels over time.

    Args:
        clip: The file that was recognised; it is decoded once more.
        found: What was found in it.
        path: Where the picture goes; replaced only when it is complete.

    Raises:
        MediaError: The clip cannot be read.
        OutputError: The picture cannot be written.
    """
    tiles = pick_tiles(open_frames(clip), found.duration_s)
    colours = colours_of(found.segments)
    n_rows = -(-len(tiles) // N_COLUMNS)
    figure = Figure(figsize=(13, 2.6 + 2.1 * n_rows), layout="constrained")
    grid = figure.add_gridspec(n_rows + 1, N_COLUMNS, height_ratios=[1.0] * n_rows + [0.9])
    for number, (time_s, image) in enumerate(tiles):
        axis = figure.add_subplot(grid[number // N_COLUMNS, number % N_COLUMNS])
        _tile(axis, time_s, image, segment_at(found.segments, time_s), colours)
    _timeline(figure.add_subplot(grid[n_rows, :]), found, colours)
    seen = ", ".join(found.streams)
    notes = "".join(f"\n{note}" for note in found.notes)
    figure.suptitle(f"{clip.name}  |  {found.model}  |  looked at: {seen}{notes}", fontsize=11)
    save_figure(figure, path)


def pick_tiles(video: FrameStream, duration_s: float) -> list[tuple[float, NDArray[np.uint8]]]:
    """Frames spread evenly over the clip, each with its seconds since the first, made small."""
    wanted_s = [duration_s * (index + 0.5) / N_TILES for index in range(N_TILES)]
    tiles: list[tuple[float, NDArray[np.uint8]]] = []
    start_s: float | None = None
    for frame in video:
        start_s = frame.time_s if start_s is None else start_s
        time_s = frame.time_s - start_s
        if len(tiles) < N_TILES and time_s >= wanted_s[len(tiles)]:
            tiles.append((time_s, _small(frame.image)))
        last = (time_s, frame.image)
    return tiles or [(last[0], _small(last[1]))]


def colours_of(segments: Sequence[Segment]) -> dict[str, str]:
    """A colour for each label in the order of their first appearance."""
    labels = dict.fromkeys(segment.label for segment in segments)
    return {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(labels)}


def segment_at(segments: Sequence[Segment], time_s: float) -> Segment | None:
    """The segment over an instant, None where nothing reached the threshold."""
    for segment in segments:
        if segment.start_s <= time_s < segment.end_s:
            return segment
    return None


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = min(1.0, TILE_WIDTH_PX / width)
    size_px = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size_px, interpolation=cv2.INTER_AREA), np.uint8)


def _tile(
    axis: Axes,
    time_s: float,
    image: NDArray[np.uint8],
    segment: Segment | None,
    colours: dict[str, str],
) -> None:
    """A frame, framed in its label's colour."""
    axis.imshow(image)
    axis.set_xticks([])
    axis.set_yticks([])
    colour = UNNAMED_COLOUR if segment is None else colours[segment.label]
    for spine in axis.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(3)
    label = "-" if segment is None else segment.label
    axis.set_title(fill(f"{time_s:.2f} s  {label}", TITLE_LETTERS), fontsize=9, color=colour)


def _timeline(axis: Axes, found: Recognition, colours: dict[str, str]) -> None:
    """Segments as bars as high as their score, the runners-up written below the name."""
    for segment in found.segments:
        width_s = segment.end_s - segment.start_s
        colour = colours[segment.label]
        axis.bar(
            segment.start_s,
            segment.score,
            width_s,
            align="edge",
            color=colour,
            alpha=0.45,
            edgecolor="white",
        )
        others = [f"{label} {score:.2f}" for label, score in segment.top_k[1 : 1 + N_RUNNERS_UP]]
        is_wide = width_s > 0.12 * found.duration_s
        names, n_letters = [segment.label], UPRIGHT_LETTERS
        if is_wide:
            names = [f"{segment.label} {segment.score:.2f}", *others]
            n_letters = round(TIMELINE_LETTERS * width_s / found.duration_s)
        axis.text(
            segment.start_s + width_s / 2,
            0.04,
            "\n".join(fill(name, n_letters) for name in names),
            ha="center",
            va="bottom",
            fontsize=8,
            rotation=0 if is_wide else 90,
            color="black",
        )
    axis.set_xlim(0, max(found.duration_s, 1e-3))
    axis.set_ylim(0, 1)
    axis.set_ylabel("score")
    axis.set_xlabel("time (s)")
