"""Lips that are seen for a moment only: too little to tell whom to follow."""

from dataclasses import replace

import numpy as np

from preprocessing.types import MouthTrack

LEAST_FRAMES = 12
"""Visible pictures, half a second, that lips need to tell a voice from another."""
AROUND_FRAMES = 44
"""Pictures on each side among which they are counted: a window of the network, 3.5 s, in all."""


def without_glimpses(mouth: MouthTrack) -> MouthTrack:
    """The mouth with the pictures hidden around which too few are visible.

    Half a second counts, or all of a clip that is shorter.
    """
    shown = mouth.is_visible.astype(np.int64)
    n_before = np.concatenate([[0], np.cumsum(shown)])
    places = np.arange(len(shown))
    first = np.maximum(places - AROUND_FRAMES, 0)
    last = np.minimum(places + AROUND_FRAMES + 1, len(shown))
    enough = n_before[last] - n_before[first] >= min(LEAST_FRAMES, len(shown))
    return replace(mouth, is_visible=mouth.is_visible & enough)
