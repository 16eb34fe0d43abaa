"""What is asked of a recognition head and what it answers."""

import json
from dataclasses import dataclass
from typing import Any

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class RecognitionOptions:
    """The user's choices.

    Attributes:
        top_k: Labels told for each segment.
        window_s: Length of the windows; None: the head's own, a short clip as one window.
        stride_s: Step between windows; None: the head's own, or a quarter of `window_s`.
        threshold: Segments that score less are left out.
    """

    top_k: int = 5
    window_s: float | None = None
    stride_s: float | None = None
    threshold: float = 0.0

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: A number is out of range, or the stride exceeds the window.
        """
        if self.top_k < 1 or not 0 <= self.threshold <= 1:
            raise ValueError(f"expected top_k >= 1 and threshold in 0..1, found {self}")
        for value in (self.window_s, self.stride_s):
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"expected window and stride above 0 s, found {value}")
        if self.window_s is not None and (self.stride_s or 0.0) > self.window_s:
            raise ValueError(f"expected a stride within the window, found {self}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time with one label.

    Attributes:
        start_s: On the clip's clock, seconds from its first picture.
        end_s: Likewise.
        label: The likeliest.
        score: Its mean probability over the segment, 0..1.
        top_k: The likeliest labels with their mean probabilities, best first.
    """

    start_s: float
    end_s: float
    label: str
    score: float
    top_k: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """As the service shows it."""
        top = [{"label": label, "score": round(score, _DIGITS)} for label, score in self.top_k]
        return {
            "start": round(self.start_s, 3),
            "end": round(self.end_s, 3),
            "label": self.label,
            "score": round(self.score, _DIGITS),
            "top_k": top,
        }


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a head found in a clip.

    Attributes:
        model: Name of the bundle.
        duration_s: Length of the clip's pictures.
        streams: What was there to look at.
        notes: Sentences about what was missing or stands in for something else.
        segments: In order of time, not overlapping.
    """

    model: str
    duration_s: float
    streams: tuple[str, ...]
    notes: tuple[str, ...]
    segments: tuple[Segment, ...]

    def to_json(self) -> str:
        """One JSON object, as the service answers."""
        shown = {
            "model": self.model,
            "duration": round(self.duration_s, 3),
            "segments": [segment.to_json() for segment in self.segments],
            "streams": list(self.streams),
            "notes": list(self.notes),
        }
        return json.dumps(shown, indent=2, ensure_ascii=False)
