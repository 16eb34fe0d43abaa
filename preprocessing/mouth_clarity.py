"""Where lips are hidden though the face is seen: behind a hand or a microphone, or in the dark."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import BundleInvalid
from models.mouth_clarity import MouthClarityNet
from models.registry import open_bundle
from models.weights import packaged
from preprocessing.types import MouthTrack

LEAST_CLARITY = -3.0
"""Mean logit below which lips are not read.

Of people not in training: covered mouths lie below -8, those with a twentieth of the light below
-3, the crops of news anchors, laboratory and talks above -3, but for single pictures above -1; of
474 labelled pictures 4 lie below -3, with a microphone before the mouth or framed beside it.
"""
MOST_SURE = 8.0
N_SMOOTHED = 5
_BATCH = 32


def load_mouth_clarity() -> MouthClarityNet:
    """The network that ships with the package, ready for inference.

    Raises:
        ModelError: The bundle is missing, damaged or of another shape.
    """
    folder = packaged("mouth-clarity")
    spec, net = open_bundle(folder)
    if not isinstance(net, MouthClarityNet):
        raise BundleInvalid(f"{folder}: expected model mouth_clarity, found {spec.model!r}")
    return net


class ClarityWatch:
    """Looks at crops as they come, a batch at a time; keeps one number each.

    Args:
        net: The network; None looks for nothing, and every crop counts as clear.
    """

    def __init__(self, net: MouthClarityNet | None) -> None:
        """Start empty."""
        self._net = net
        self._waiting: list[NDArray[np.uint8]] = []
        self._clarity: list[NDArray[np.float32]] = []

    def append(self, crop: NDArray[np.uint8]) -> None:
        """Take the next crop `[H, W]`."""
        self._waiting.append(crop)
        if len(self._waiting) >= _BATCH:
            self._look()

    def finish(self) -> NDArray[np.float32]:
        """How clear each crop was, `[N]` logits in the order they came."""
        self._look()
        return np.concatenate(self._clarity) if self._clarity else np.zeros(0, np.float32)

    def _look(self) -> None:
        crops, self._waiting = self._waiting, []
        if not crops:
            return
        if self._net is None:
            self._clarity.append(np.full(len(crops), MOST_SURE, np.float32))
            return
        with torch.inference_mode():
            self._clarity.append(self._net(torch.from_numpy(np.stack(crops))).cpu().numpy())


def hide_obscured(mouth: MouthTrack, net: MouthClarityNet) -> MouthTrack:
    """The mouth as `MouthCropper` would have given it: absent where no lips are to be seen."""
    watch = ClarityWatch(net)
    for crop in mouth.crops:
        watch.append(crop)
    obscured = is_obscured(watch.finish(), mouth.is_visible)
    if not obscured.any():
        return mouth
    crops, landmarks_px = mouth.crops.copy(), mouth.landmarks_px.copy()
    crops[obscured], landmarks_px[obscured] = 0, np.nan
    is_visible = mouth.is_visible & ~obscured
    return replace(
        mouth,
        crops=crops,
        is_visible=is_visible,
        landmarks_px=landmarks_px,
        is_obscured=obscured,
    )


def is_obscured(clarity: NDArray[np.float32], is_visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Visible pictures `[V]` whose neighbours within two, and they themselves, show no lips.

    Args:
        clarity: `[V]` logits; those of invisible pictures do not count.
        is_visible: `[V]`.
    """
    if not is_visible.any():
        return np.zeros_like(is_visible)
    window = np.ones(N_SMOOTHED)
    sure = np.where(is_visible, np.clip(clarity, -MOST_SURE, MOST_SURE), 0.0)
    sums = np.convolve(sure, window)[N_SMOOTHED // 2 :][: len(sure)]
    counts = np.convolve(is_visible.astype(float), window)[N_SMOOTHED // 2 :][: len(sure)]
    obscured: NDArray[np.bool_] = is_visible & (sums < LEAST_CLARITY * np.maximum(counts, 1))
    return obscured
