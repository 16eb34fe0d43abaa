"""Gestures and actions in a clip: a head's bundle opened once, windows over the clip, segments.

Example:
    >>> from avse.recognition import Recogniser  # doctest: +SKIP
    >>> found = Recogniser("gesture-mmtm").recognise_file("clip.mp4")  # doctest: +SKIP
    >>> [(segment.label, segment.start_s, segment.end_s) for segment in found.segments]
    ... # doctest: +SKIP
    [('swipe left', 0.0, 1.6)]
"""

from avse.recognition.bundle import DEFAULT_HEADS, HeadBundle, HeadSettings, load_head
from avse.recognition.recogniser import Recogniser
from avse.recognition.types import Recognition, RecognitionOptions, Segment
from preprocessing.streams import PreparedStreams, StreamSources, prepare_streams

__all__ = [
    "DEFAULT_HEADS",
    "HeadBundle",
    "HeadSettings",
    "PreparedStreams",
    "Recogniser",
    "Recognition",
    "RecognitionOptions",
    "Segment",
    "StreamSources",
    "load_head",
    "prepare_streams",
]
