"""A small picture of each followed face, cut out in a second look at the clip."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.media import MediaLimits, open_frames
from preprocessing.types import FaceTrack, PreparedClip
from server.spool import INPUT, THUMBS

SIDE_PX = 160
MARGIN = 0.35
JPEG_QUALITY = 85


def best_view(track: FaceTrack) -> int:
    """Position in a track of the largest box that was detected, not bridged."""
    boxes = track.boxes_xyxy
    heights = (boxes[:, 3] - boxes[:, 1]) * np.where(track.scores > 0, 1.0, 0.5)
    return int(heights.argmax())


def write_thumbnails(folder: Path, clip: PreparedClip, limits: MediaLimits) -> dict[str, str]:
    """Write a JPEG of each track's best view; returns the file names by track id.

    Raises:
        MediaError: The pictures cannot be read again.
    """
    wanted: dict[int, list[FaceTrack]] = {}
    for track in clip.tracks:
        wanted.setdefault(int(track.frame_indices[best_view(track)]), []).append(track)
    written: dict[str, str] = {}
    if not wanted:
        return written
    (folder / THUMBS).mkdir(exist_ok=True)
    last = max(wanted)
    for frame in open_frames(folder / INPUT, limits=limits):
        for track in wanted.get(frame.index, []):
            name = f"{THUMBS}/{track.track_id}.jpg"
            box = track.boxes_xyxy[best_view(track)]
            (folder / name).write_bytes(_jpeg(_portrait(frame.image, box)))
            written[str(track.track_id)] = name
        if frame.index >= last:
            break
    return written


def _portrait(image: NDArray[np.uint8], box_xyxy: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A square around a face, black where it leaves the picture."""
    x0, y0, x1, y1 = (float(edge) for edge in box_xyxy)
    half = max(4.0, (0.5 + MARGIN) * max(x1 - x0, y1 - y0))
    scale = SIDE_PX / (2 * half)
    left, top = (x0 + x1) / 2 - half, (y0 + y1) / 2 - half
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float32)
    return np.asarray(cv2.warpAffine(image, matrix, (SIDE_PX, SIDE_PX)), np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    is_written, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert is_written
    return bytes(coded)
