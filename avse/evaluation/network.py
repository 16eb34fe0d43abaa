"""Bundles as systems: sound and cached mouth crops through the product's own `Enhancer`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from avse.bundle import load_bundle
from avse.enhancer import Enhancer
from avse.types import EnhancedClip, EnhanceOptions, Mode
from models.avse_net import AvseNet
from preprocessing.timeline import VIDEO_FPS, video_frame_time_s
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip, SourceInfo, Waveform

TRACK_ID = 1
FACE_PX = 128.0


class EnhancesPrepared(Protocol):
    """The part of `Enhancer` that is needed here."""

    def enhance(self, prepared: PreparedClip, options: EnhanceOptions) -> EnhancedClip:
        """Enhance sound and crops that are in memory."""
        ...


class NetworkSystem:
    """A bundle, shown crops that were cut out before: faces are not looked for again.

    As in the product, what little the picture comes early or late is measured and mended.
    """

    def __init__(
        self, name: str, enhancer: EnhancesPrepared, *, sees: bool, label: str, fusion: str = ""
    ) -> None:
        """Wrap an enhancer.

        Args:
            name: As tables show it.
            enhancer: What does the work.
            sees: Whether its network uses the mouth.
            label: Bundle and sha256, for the report.
            fusion: How its network joins sound and lips.
        """
        self.name = name
        self.sees = sees
        self.label = label
        self.fusion = fusion
        self._enhancer = enhancer

    def enhance(self, noisy: Waveform, mouth: MouthTrack | None) -> Waveform:
        """The enhanced sound; without a visible mouth by the audio-only path."""
        prepared = prepared_clip(noisy, mouth)
        mode: Mode = "auto" if prepared.tracks else "audio_only"
        options = EnhanceOptions(
            face=str(TRACK_ID) if prepared.tracks else "auto", mode=mode, keep_mask=False
        )
        return self._enhancer.enhance(prepared, options).waveform


def prepared_clip(noisy: Waveform, mouth: MouthTrack | None) -> PreparedClip:
    """A clip in memory as the preprocessing would have given it, with one face or none."""
    has_mouth = mouth is not None and bool(mouth.is_visible.any())
    source = SourceInfo(
        Path("mixture"), "memory", noisy.sample_rate_hz, 1, 1, has_mouth, float(VIDEO_FPS)
    )
    if mouth is None or not has_mouth:
        return PreparedClip(noisy, (), {}, source)
    n_frames = len(mouth.crops)
    times_s = np.array([video_frame_time_s(i, noisy.start_s) for i in range(n_frames)])
    boxes = np.tile(np.array([0, 0, FACE_PX, FACE_PX], np.float32), (n_frames, 1))
    scores = mouth.is_visible.astype(np.float32)
    track = FaceTrack(TRACK_ID, np.arange(n_frames), times_s, boxes, scores)
    shown = replace(mouth, start_s=noisy.start_s)
    return PreparedClip(noisy, (track,), {TRACK_ID: shown}, source, n_frames)


def open_networks(names: Sequence[str], device: str = "auto") -> list[NetworkSystem]:
    """Bundles by name or folder.

    Raises:
        ModelError: One cannot be opened.
    """
    systems = []
    for name in names:
        bundle = load_bundle(name)
        enhancer = Enhancer(bundle, device=device)
        title = bundle.spec.name if "/" not in name else Path(name).name
        net = bundle.module
        fusion = net.config.fusion if isinstance(net, AvseNet) else "audio_only"
        systems.append(
            NetworkSystem(title, enhancer, sees=net.sees, label=bundle.label, fusion=fusion)
        )
    return systems
