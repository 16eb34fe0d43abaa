"""The default chooser of the speaking face: the lips/sound network that ships."""

from collections.abc import Sequence

import torch

from avse.bundle import find_bundle
from avse.speaker import choose_speaker, shift_mouth
from avse.targets import Chosen
from models.errors import BundleInvalid
from models.lip_sync import LipSync
from models.registry import open_bundle
from preprocessing.types import MouthTrack, PreparedClip

LIP_SYNC_BUNDLE = "lip-sync"


class LipSyncSpeaker:
    """Chooses by agreement of lips and sound; the network opens when a face is first met."""

    def __init__(self, device: torch.device, bundle: str = LIP_SYNC_BUNDLE) -> None:
        """Keep the place of the network; nothing is opened yet."""
        self._device = device
        self._bundle = bundle
        self._lip_sync: LipSync | None = None

    def choose(self, prepared: PreparedClip, face: str) -> Sequence[Chosen]:
        """Faces that `face` means, best first.

        Raises:
            FaceNotFound: A track or a box was asked for and is not there.
            ModelError: The lips/sound network cannot be opened.
        """
        lip_sync = self._opened() if prepared.tracks else None
        return choose_speaker(prepared, face, lip_sync)

    def shift(self, mouth: MouthTrack, offset_frames: float) -> MouthTrack:
        """The mouth moved so that it agrees with the sound."""
        return shift_mouth(mouth, offset_frames)

    def _opened(self) -> LipSync:
        if self._lip_sync is None:
            _, module = open_bundle(find_bundle(self._bundle))
            if not isinstance(module, LipSync):
                found = type(module).__name__
                raise BundleInvalid(f"bundle {self._bundle!r}: expected LipSync, found {found}")
            self._lip_sync = module.to(self._device)
        return self._lip_sync
