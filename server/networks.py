"""What the batcher calls: enhancers from the shelf, the lips/sound network, or a stand-in."""

import time
from collections.abc import Hashable, Sequence
from typing import Any

from avse.device import resolve_device
from avse.speaker_choice import LipSyncSpeaker
from avse.types import EnhancedClip
from preprocessing.types import PreparedClip
from server.batcher import Fraction
from server.model_shelf import ModelShelf

FACES = "faces"
STAND_IN = "stand-in"


class Networks:
    """Runs a batch of one group.

    A group is `(model, EnhanceOptions)` for enhancement, `FACES` for scores of lips and sound.

    Args:
        shelf: Where enhancers come from.
        device: Where the lips/sound network runs.
    """

    def __init__(self, shelf: ModelShelf, device: str = "auto") -> None:
        """Open nothing yet."""
        self._shelf = shelf
        self._speaker = LipSyncSpeaker(resolve_device(device))

    def __call__(
        self, group: Hashable, clips: Sequence[PreparedClip], on_fraction: Fraction
    ) -> Sequence[Any]:
        """One result for each clip, in order.

        Raises:
            ModelError: The model cannot be loaded.
            FaceNotFound: The face that was asked for is not there.
        """
        if group == FACES:
            return [self._lip_scores(clip) for clip in clips]
        assert isinstance(group, tuple)
        return self._enhance(group, clips, on_fraction)

    def _enhance(
        self, group: tuple[Any, ...], clips: Sequence[PreparedClip], on_fraction: Fraction
    ) -> list[EnhancedClip]:
        model_id, options = group
        enhancer = self._shelf.get(model_id)
        return enhancer.enhance_batch(
            clips, options, lambda stage, done, total: on_fraction(done / max(total, 1.0))
        )

    def _lip_scores(self, clip: PreparedClip) -> dict[int, float | None]:
        """How well each mouth moves with the sound, by track id."""
        return {face.track_id: face.score for face in self._speaker.choose(clip, "all")}


class StandIn:
    """Sleeps instead of a network: what the service costs by itself, for load tests."""

    def __init__(self, sleep_s: float) -> None:
        """Keep how long a batch takes."""
        self._sleep_s = sleep_s

    def __call__(
        self, group: Hashable, items: Sequence[Any], on_fraction: Fraction
    ) -> Sequence[Any]:
        """The items as they came, after the sleep."""
        time.sleep(self._sleep_s)
        on_fraction(1.0)
        return items
