"""Bundles of the recognition heads: found by name or path, verified, opened with their settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from avse.bundle import find_bundle
from avse.config import from_mapping
from avse.errors import ConfigError
from models.errors import BundleInvalid
from models.registry import open_bundle
from models.weights import BundleSpec, read_spec
from preprocessing.square_view import SquareView
from preprocessing.stream_config import Normalisation, SkeletonConfig, StreamConfig

DEFAULT_HEADS = {"gesture": "gesture-mmtm", "action": "action-mmtm"}
"""The bundle of each task when none is named."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """What inference needs beside the network; training writes it, the bundle carries it.

    Attributes:
        labels: Names of the classes, in the order of the logits.
        streams: What the head looks at.
        fps: Pictures a second.
        n_frames: Pictures of a window.
        size_px: Edge of each picture.
        view: The square of the clip's picture that is looked at.
        normalisation: How bytes and pixels become -1..1.
        skeleton: Shape of the skeleton's window.
        is_mirrored: The head learned from mirrored pictures (see `StreamConfig`).
        window_s: Length of a window over a long clip.
        stride_s: Step between windows.
        whole_s: A clip up to so long is one window, as in training.
    """

    labels: tuple[str, ...]
    streams: tuple[str, ...]
    fps: float = 15.0
    n_frames: int = 16
    size_px: int = 112
    view: SquareView = field(default_factory=SquareView)
    normalisation: Normalisation = field(default_factory=Normalisation)
    skeleton: SkeletonConfig = field(default_factory=SkeletonConfig)
    is_mirrored: bool = False
    window_s: float = 2.2
    stride_s: float = 0.55
    whole_s: float = 4.5

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: There is no label, or window and stride are not positive, or what
                `StreamConfig` refuses.
        """
        StreamConfig(self.streams, self.fps, self.n_frames, self.size_px)
        if not self.labels or min(self.window_s, self.stride_s) <= 0:
            raise ValueError("expected labels, and window_s and stride_s above 0")

    @property
    def prepare(self) -> StreamConfig:
        """What `preprocessing.streams.prepare_streams` needs."""
        return StreamConfig(
            streams=self.streams,
            fps=self.fps,
            n_frames=self.n_frames,
            size_px=self.size_px,
            view=self.view,
            normalisation=self.normalisation,
            skeleton=self.skeleton,
            is_mirrored=self.is_mirrored,
        )


@dataclass(frozen=True, slots=True)
class HeadBundle:
    """An open head: description, network in eval mode on the CPU, checked settings."""

    spec: BundleSpec
    module: nn.Module
    settings: HeadSettings

    @property
    def label(self) -> str:
        """Name and the first digits of the weights' sha256, for reports."""
        return f"{self.spec.name}@{self.spec.sha256[:12]}"


def load_head(name: str | Path, places: Sequence[Path] | None = None) -> HeadBundle:
    """Find, verify and open a recognition head.

    Args:
        name: A folder, or a bundle's name such as `gesture-mmtm`.
        places: Folders of bundles; None: packaged, then the user's cache.

    Raises:
        BundleNotFound: It is nowhere.
        BundleInvalid: It is no recognition head, or a setting is unknown or does not fit.
        ChecksumMismatch, StateMismatch: The weights are not the ones described.
    """
    folder = find_bundle(name, places)
    settings = read_head_settings(read_spec(folder), str(folder / "bundle.json"))
    spec, module = open_bundle(folder)
    known = getattr(getattr(module, "config", None), "streams", settings.streams)
    if not set(settings.streams) <= set(known):
        raise BundleInvalid(f"{folder}: settings.streams: expected some of {known}")
    return HeadBundle(spec, module, settings)


def read_head_settings(spec: BundleSpec, origin: str) -> HeadSettings:
    """The settings of a head's description, checked; the weights are not needed.

    Raises:
        BundleInvalid: It is no recognition head, or a setting is unknown or does not fit.
    """
    if spec.task not in DEFAULT_HEADS:
        wanted = " or ".join(DEFAULT_HEADS)
        raise BundleInvalid(f"{origin}: expected task {wanted}, found {spec.task!r}")
    try:
        settings = from_mapping(HeadSettings, spec.settings, origin, "settings.")
    except ConfigError as error:
        raise BundleInvalid(str(error)) from error
    n_classes = spec.model_config.get("n_classes")
    if n_classes != len(settings.labels):
        raise BundleInvalid(f"{origin}: {n_classes} classes, {len(settings.labels)} labels")
    return settings
