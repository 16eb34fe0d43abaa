"""Painted faces that a fake detector finds: squares of saturated magenta."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.types import Detections, Frame

FACE_RGB = (230, 20, 230)


def scenery(width_px: int, height_px: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth greenish picture without faces; another seed gives another place."""
    coarse = np.random.default_rng(seed).integers(40, 200, (5, 6, 1), np.uint8)
    plane = cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    return np.stack([plane // 2, plane, plane // 2], 2).astype(np.uint8)


def paint(image: NDArray[np.uint8], box_xyxy: Sequence[float]) -> NDArray[np.uint8]:
    """The picture with one more face."""
    painted = image.copy()
    x0, y0, x1, y1 = (round(edge) for edge in box_xyxy)
    painted[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = FACE_RGB
    return painted


@dataclass
class ScriptedDetector:
    """Finds the painted squares; blind to the pictures whose call number is listed."""

    name: str = "scripted"
    blind_calls: frozenset[int] = frozenset()
    score: float = 0.9
    n_calls: int = 0
    n_images: int = 0
    largest_batch: int = field(default=0)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self.n_calls += 1
        self.n_images += len(images)
        self.largest_batch = max(self.largest_batch, len(images))
        is_blind = self.n_calls in self.blind_calls
        return [_nothing() if is_blind else self._find(image) for image in images]

    def _find(self, image: NDArray[np.uint8]) -> Detections:
        colour = image.astype(np.int16)
        is_face = np.minimum(colour[..., 0], colour[..., 2]) - colour[..., 1] > 90
        n_labels, _, stats, _ = cv2.connectedComponentsWithStats(is_face.astype(np.uint8))
        rows = [row for row in stats[1:n_labels] if row[4] >= 16]
        boxes = [[row[0], row[1], row[0] + row[2], row[1] + row[3]] for row in rows]
        found = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(found, np.full(len(found), self.score, np.float32))


def _nothing() -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass
class PaintedStream:
    """A `FrameStream` from a list of lists of boxes, one list a picture; `seeds` change places."""

    boxes: list[list[tuple[float, float, float, float]]]
    fps: float = 25.0
    size_px: tuple[int, int] = (320, 240)
    seeds: list[int] | None = None
    n_damaged: int = 0
    start_s: float = 0.0

    @property
    def duration_s(self) -> float:
        return len(self.boxes) / self.fps

    def __iter__(self):
        for index, boxes in enumerate(self.boxes):
            seed = self.seeds[index] if self.seeds else 0
            image = scenery(*self.size_px, seed=seed)
            for box in boxes:
                image = paint(image, box)
            yield Frame(index, self.start_s + index / self.fps, image)
