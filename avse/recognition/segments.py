"""From the windows' probabilities to segments of time."""

from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from avse.recognition.types import RecognitionOptions, Segment
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


def without_slivers(scores: NDArray[np.float32], n_min: int) -> NDArray[np.intp]:
    """The likeliest label `[N]` of each picture; runs below `n_min` go to a neighbour's label.

    Where two windows disagree a third label may be the likeliest for a moment between them. The
    shortest run goes first, to the neighbour that is likelier in it.
    """
    best = np.asarray(scores.argmax(1), np.intp)
    while True:
        edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
        runs = sorted(pairwise(edges), key=lambda run: run[1] - run[0])
        first, end = runs[0]
        if len(runs) == 1 or end - first >= n_min:
            return best
        beside = [int(best[place]) for place in (first - 1, end) if 0 <= place < len(best)]
        best[first:end] = max(beside, key=lambda label: float(scores[first:end, label].mean()))


def merged(
    scores: NDArray[np.float32],
    best: NDArray[np.intp],
    labels: Sequence[str],
    frame_s: float,
    duration_s: float,
    options: RecognitionOptions,
) -> tuple[Segment, ...]:
    """Neighbours with the same label as one segment.

    Args:
        scores: `[N, K]` of pictures `frame_s` apart.
        best: `[N]`, the label of each picture.
        labels: K names.
        frame_s: Seconds between two pictures.
        duration_s: Where the last segment ends.
        options: How many labels are told for each, and which segments are left out.
    """
    segments = []
    for label, group in groupby(range(len(best)), key=lambda index: int(best[index])):
        indices = list(group)
        mean = scores[indices].mean(0)
        if mean[label] < options.threshold:
            continue
        is_last = indices[-1] == len(best) - 1
        end_s = duration_s if is_last else (indices[-1] + 1) * frame_s
        order = [label, *(int(k) for k in np.argsort(-mean) if k != label)][: options.top_k]
        top = tuple((labels[k], float(mean[k])) for k in order)
        segments.append(Segment(indices[0] * frame_s, end_s, labels[label], top[0][1], top))
    return tuple(segments)
