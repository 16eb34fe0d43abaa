"""A picture of a clip with its followed faces, numbered as `--face` takes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avse.plots import write_file
from preprocessing.errors import OutputError
from preprocessing.types import FaceTrack, Frame, FrameStream

TILE_WIDTH_PX = 400
N_COLUMNS = 4
N_TILES = 12
CAPTION_PX = 26
COLOURS = (
    (46, 158, 91), (31, 111, 180), (200, 68, 47), (190, 140, 20), (130, 80, 180), (20, 150, 160),
)  # fmt: skip

Image = NDArray[np.uint8]


def write_contact_sheet(video: FrameStream, tracks: Sequence[FaceTrack], path: Path) -> None:
    """Decode once more and write up to twelve pictures in which every track is seen.

    Args:
        video: The clip's pictures.
        tracks: What was followed in them.
        path: Where the PNG goes.

    Raises:
        OutputError: The picture cannot be written.
    """
    times_s = sheet_times_s(tracks, video.duration_s)
    tiles = [draw_tile(frame, tracks) for frame in _pick(video, times_s)]
    if not tiles:
        raise OutputError(path, "at least one picture in the clip", "none")
    _, content = cv2.imencode(".png", _grid(tiles)[:, :, ::-1])
    write_file(path, content.tobytes())


def sheet_times_s(tracks: Sequence[FaceTrack], duration_s: float) -> list[float]:
    """When to look: the middle of each track, longest first, then evenly over the clip."""
    longest = sorted(tracks, key=lambda track: -len(track.times_s))[:N_TILES]
    times_s = [float(track.times_s[len(track.times_s) // 2]) for track in longest]
    n_left = N_TILES - len(times_s)
    times_s += [duration_s * (index + 0.5) / n_left for index in range(n_left)]
    return sorted(times_s)


def draw_tile(frame: Frame, tracks: Sequence[FaceTrack]) -> Image:
    """One picture with its numbered boxes and its time: `[H, 400, 3]` uint8 RGB."""
    scale = TILE_WIDTH_PX / frame.image.shape[1]
    height_px = max(1, round(frame.image.shape[0] * scale))
    size_px = (TILE_WIDTH_PX, height_px)
    tile = cv2.resize(frame.image, size_px, interpolation=cv2.INTER_AREA)
    image = np.ascontiguousarray(tile, dtype=np.uint8)
    for track in tracks:
        (places,) = np.nonzero(track.frame_indices == frame.index)
        if places.size:
            colour = COLOURS[(track.track_id - 1) % len(COLOURS)]
            _draw_box(image, track.boxes_xyxy[places[0]] * scale, str(track.track_id), colour)
    caption = np.full((CAPTION_PX, TILE_WIDTH_PX, 3), 255, np.uint8)
    _write(caption, f"{frame.time_s:.2f} s", (6, 18), (40, 40, 40))
    return np.concatenate([image, caption])


def _draw_box(tile: Image, box: NDArray[np.float32], name: str, colour: tuple[int, ...]) -> None:
    left, top, right, bottom = (round(float(edge)) for edge in box)
    cv2.rectangle(tile, (left, top), (right, bottom), colour, 2)
    tab_top = max(0, top - 20)
    cv2.rectangle(tile, (left, tab_top), (left + 12 + 11 * len(name), tab_top + 20), colour, -1)
    _write(tile, name, (left + 5, tab_top + 15), (255, 255, 255))


def _write(image: Image, text: str, place: tuple[int, int], colour: tuple[int, ...]) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, 1, cv2.LINE_AA)


def _pick(video: FrameStream, times_s: list[float]) -> Iterator[Frame]:
    """The first frame at or after each time; the last frame stands in for what lies beyond."""
    waiting = list(times_s)
    last: Frame | None = None
    n_given = 0
    for frame in video:
        last = frame
        if waiting and frame.time_s >= waiting[0] - 1e-6:
            while waiting and frame.time_s >= waiting[0] - 1e-6:
                waiting.pop(0)
            n_given += 1
            yield frame
        if not waiting:
            return
    if last is not None and n_given == 0:
        yield last


def _grid(tiles: list[Image]) -> Image:
    """Tiles in rows of four on white: `[H, W, 3]` uint8 RGB; a size switch is letter-boxed."""
    height_px = max(tile.shape[0] for tile in tiles)
    n_columns = min(N_COLUMNS, len(tiles))
    n_rows = -(-len(tiles) // n_columns)
    sheet = np.full((n_rows * height_px, n_columns * TILE_WIDTH_PX, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // n_columns * height_px, place % n_columns * TILE_WIDTH_PX
        sheet[top : top + tile.shape[0], left : left + TILE_WIDTH_PX] = tile
    return sheet
