"""What the batcher calls: enhancers from the shelf, the lips/sound network, or a stand-in."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avse.device import resolve_device
from avse.speaker_choice import LipSyncSpeaker
from avse.types import EnhancedClip
from preprocessing.types import PreparedClip, Progress
from server.batcher import Fraction
from server.model_shelf import ModelShelf

if TYPE_CHECKING:
    from avse.recognition import Recognition, RecognitionOptions
    from preprocessing.streams import PreparedStreams

FACES = "faces"
STAND_IN = "stand-in"


@dataclass(frozen=True, slots=True)
class HeadGroup:
    """Clips that go through one recognition head in the same way."""

    model_id: str
    options: "RecognitionOptions"


class Networks:
    """Runs a batch of one group.

    A group is `(model, EnhanceOptions)` for enhancement, `FACES` for scores of lips and sound, a
    `HeadGroup` for recognition.

    Args:
        shelf: Where enhancers come from.
        device: Where the lips/sound network runs.
    """

    def __init__(self, shelf: ModelShelf, device: str = "auto") -> None:
        """Open nothing yet."""
        self._shelf = shelf
        self._speaker = LipSyncSpeaker(resolve_device(device))

    def __call__(
        self, group: Hashable, clips: Sequence[Any], on_fraction: Fraction
    ) -> Sequence[Any]:
        """One result for each clip, in order.

        Raises:
            ModelError: The model cannot be loaded.
            FaceNotFound: The face that was asked for is not there.
        """
        if group == FACES:
            return [self._lip_scores(clip) for clip in clips]
        if isinstance(group, HeadGroup):
            return self._recognise(group, clips, on_fraction)
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

    def _recognise(
        self, group: HeadGroup, clips: Sequence["PreparedStreams"], on_fraction: Fraction
    ) -> list["Recognition"]:
        found = []
        for number, clip in enumerate(clips):
            recogniser = self._shelf.head(group.model_id)
            share = _share(on_fraction, number, len(clips))
            found.append(recogniser.recognise(clip, group.options, share))
        return found

    def _lip_scores(self, clip: PreparedClip) -> dict[int, float | None]:
        """How well each mouth moves with the sound, by track id."""
        return {face.track_id: face.score for face in self._speaker.choose(clip, "all")}


def _share(on_fraction: Fraction, number: int, n_clips: int) -> Progress:
    """Progress of one clip as a part of the whole batch's."""
    return lambda _, done, total: on_fraction((number + done / max(total, 1.0)) / n_clips)


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
