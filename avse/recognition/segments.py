"""From the windows' probabilities to segments of time."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from avse.recognition.types import Segment
from preprocessing.stream_windows import Span

EDGE_WEIGHT = 0.05


def over_time(
    spans: Sequence[Span], probabilities: NDArray[np.float32], n_pictures: int
) -> NDArray[np.float32]:
    """`[N, K]` for each picture: the mean of the windows over it, their middles weighing most.

    Args:
        spans: Of the windows; every picture lies in one.
        probabilities: `[W, K]` of the windows.
        n_pictures: N.
    """
    total = np.zeros((n_pictures, probabilities.shape[1]), np.float64)
    weight = np.zeros((n_pictures, 1), np.float64)
    for (first, end), window in zip(spans, probabilities, strict=True):
        places = (np.arange(end - first) + 0.5) / (end - first)
        tent = np.maximum(1 - np.abs(2 * places - 1), EDGE_WEIGHT)[:, None]
        total[first:end] += tent * window
        weight[first:end] += tent
    return (total / weight).astype(np.float32)


def merged(
    scores: NDArray[np.float32],
    labels: Sequence[str],
    frame_s: float,
    duration_s: float,
    top_k: int,
    threshold: float,
) -> tuple[Segment, ...]:
    """Neighbours with the same likeliest label as one segment.

    Args:
        scores: `[N, K]` of pictures `frame_s` apart.
        labels: K names.
        frame_s: Seconds between two pictures.
        duration_s: Where the last segment ends.
        top_k: Labels told for each.
        threshold: Segments that score less are left out.
    """
    segments = []
    best = scores.argmax(1)
    for label, group in groupby(range(len(best)), key=lambda index: int(best[index])):
        indices = list(group)
        mean = scores[indices].mean(0)
        if mean[label] < threshold:
            continue
        is_last = indices[-1] == len(best) - 1
        end_s = duration_s if is_last else (indices[-1] + 1) * frame_s
        order = [label, *(int(k) for k in np.argsort(-mean) if k != label)][:top_k]
        top = tuple((labels[k], float(mean[k])) for k in order)
        segments.append(Segment(indices[0] * frame_s, end_s, labels[label], top[0][1], top))
    return tuple(segments)
