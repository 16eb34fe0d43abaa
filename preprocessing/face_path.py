"""One face while it is being followed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.types import FaceTrack, Frame

Box = NDArray[np.float32]


@dataclass(slots=True)
class FacePath:
    """One face on its way: one entry a picture, no holes.

    Attributes:
        number: Running number, in order of first appearance.
        frame_indices: Pictures it is in.
        times_s: Their times.
        boxes: `[4]` xyxy each.
        scores: 0.0 where the box lies between two sightings.
        n_sightings: How often the detector saw it.
    """

    number: int
    frame_indices: list[int]
    times_s: list[float]
    boxes: list[Box]
    scores: list[float]
    n_sightings: int = 1

    @property
    def is_confirmed(self) -> bool:
        """Whether it was seen more than once."""
        return self.n_sightings > 1

    @property
    def settled_index(self) -> int:
        """The last picture in which nothing about this face can change any more."""
        return self.frame_indices[-1] if self.is_confirmed else self.frame_indices[0] - 1

    def see(self, between: list[Frame], frame: Frame, box: Box, score: float) -> None:
        """Add a sighting; the pictures since the last one get boxes on a straight line."""
        start_s, start = self.times_s[-1], self.boxes[-1]
        for passed in between:
            share = (passed.time_s - start_s) / max(frame.time_s - start_s, 1e-9)
            self._append(passed, start + np.float32(share) * (box - start), 0.0)
        self._append(frame, box, score)
        self.n_sightings += 1

    def _append(self, frame: Frame, box: Box, score: float) -> None:
        self.frame_indices.append(frame.index)
        self.times_s.append(frame.time_s)
        self.boxes.append(box)
        self.scores.append(score)

    def box_at(self, frame_index: int) -> Box | None:
        """The box in that picture, None where the face is not in it."""
        position = frame_index - self.frame_indices[0]
        return self.boxes[position] if 0 <= position < len(self.boxes) else None

    @property
    def duration_s(self) -> float:
        """Time on screen, the last picture's own time included; seen twice or more."""
        n_steps = len(self.times_s) - 1
        return (self.times_s[-1] - self.times_s[0]) * (n_steps + 1) / n_steps

    @property
    def screen_presence(self) -> float:
        """Seconds on screen times mean height: what is watched most has most."""
        return self.duration_s * float(np.mean([box[3] - box[1] for box in self.boxes]))

    @property
    def mean_score(self) -> float:
        """Mean over the sightings."""
        return sum(self.scores) / self.n_sightings

    def finished(self, track_id: int) -> FaceTrack:
        """The path as the product's type, under its final number."""
        return FaceTrack(
            track_id,
            np.array(self.frame_indices, np.int64),
            np.array(self.times_s, np.float64),
            np.stack(self.boxes).astype(np.float32),
            np.array(self.scores, np.float32),
        )
