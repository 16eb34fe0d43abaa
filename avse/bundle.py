"""Bundles of the enhancer: found by name or path, verified, opened with their settings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avse.config import from_mapping
from avse.errors import ConfigError
from models.avse_net import AvseNet
from models.errors import BundleInvalid, BundleNotFound
from models.registry import open_bundle
from models.sound_net import SoundNet
from models.weights import PACKAGED, BundleSpec, read_spec
from preprocessing.spectral import StftConfig
from preprocessing.timeline import STFT_FRAMES_PER_VIDEO_FRAME

DEFAULT_BUNDLE = "avse-mmtm"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """Windows over a long clip; MMTM pools over them, so they belong to the bundle.

    Attributes:
        window_frames: STFT frames of one window.
        hop_frames: Step between windows; the rest is cross-faded.
    """

    window_frames: int = 348
    hop_frames: int = 232

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: Window or hop are not multiples of four, or the hop exceeds the window.
        """
        window, hop, unit = self.window_frames, self.hop_frames, STFT_FRAMES_PER_VIDEO_FRAME
        if window % unit or hop % unit or not 0 < hop <= window:
            found = f"window {window}, hop {hop}"
            raise ValueError(f"expected 0 < hop <= window, multiples of {unit}, found {found}")


@dataclass(frozen=True, slots=True)
class EnhancementSettings:
    """What inference needs beside the network; training writes it, the bundle carries it.

    Attributes:
        stft: Sizes of the spectrum.
        level_rms: Root mean square the network hears each window at.
        chunk: Windows over a long clip.
        crop_px: Side of the centre crop that goes into the network.
        min_face_px: Faces whose median width is below are not read.
        min_fps: Pictures per second below which lips are not read.
        audio_only_bundle: Bundle for clips without any visible mouth, and for stretches far from
            one; None: this one.
    """

    stft: StftConfig = field(default_factory=StftConfig)
    level_rms: float = 0.05
    chunk: ChunkSettings = field(default_factory=ChunkSettings)
    crop_px: int = 112
    min_face_px: float = 24.0
    min_fps: float = 10.0
    audio_only_bundle: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """An open bundle.

    Attributes:
        spec: The description that travels with the weights.
        module: The network, in eval mode, on the CPU.
        settings: Checked settings.
    """

    spec: BundleSpec
    module: AvseNet | SoundNet
    settings: EnhancementSettings

    @property
    def label(self) -> str:
        """Name and the first digits of the weights' sha256, for reports."""
        return f"{self.spec.name}@{self.spec.sha256[:12]}"

    @property
    def identity(self) -> str:
        """Name and sha256 of all weights that results depend on.

        Raises:
            BundleNotFound: The bundle for clips without a mouth is not there.
        """
        own = f"{self.spec.name}@{self.spec.sha256}"
        if self.settings.audio_only_bundle is None:
            return own
        other = read_spec(find_bundle(self.settings.audio_only_bundle))
        return f"{own}+{other.name}@{other.sha256}"


@dataclass(frozen=True, slots=True)
class FoundBundle:
    """A bundle on disk, not yet opened."""

    folder: Path
    spec: BundleSpec


def user_cache() -> Path:
    """Where bundles that do not ship with the package are looked for."""
    return Path.home() / ".cache" / "avse" / "bundles"


def search_places() -> tuple[Path, ...]:
    """Packaged bundles first, then the user's cache."""
    return (PACKAGED, user_cache())


def find_bundle(name: str | Path, places: Sequence[Path] | None = None) -> Path:
    """Folder of a bundle: an explicit path, or a name looked up in `places`.

    Args:
        name: A folder, or a bundle's name such as `avse-mmtm`.
        places: Folders of bundles; None takes `search_places()`.

    Raises:
        BundleNotFound: It is nowhere; the message lists the places.
    """
    if isinstance(name, Path) or not _NAME.fullmatch(name):
        candidates = [Path(name)]
    else:
        places = search_places() if places is None else places
        candidates = [*(place / name for place in places), Path(name)]
    for folder in candidates:
        if (folder / "bundle.json").is_file():
            return folder
    searched = ", ".join(str(folder) for folder in candidates)
    raise BundleNotFound(f"bundle {str(name)!r}: expected it at one of: {searched}; found none")


def list_bundles(places: Sequence[Path] | None = None) -> list[FoundBundle]:
    """Every bundle in the search places, by name; a packaged one hides its namesakes.

    Raises:
        BundleInvalid: A description is not readable.
    """
    found: dict[str, FoundBundle] = {}
    for place in search_places() if places is None else places:
        for path in sorted(place.glob("*/bundle.json")):
            spec = read_spec(path.parent)
            found.setdefault(spec.name, FoundBundle(path.parent, spec))
    return [found[name] for name in sorted(found)]


def load_bundle(name: str | Path = DEFAULT_BUNDLE, places: Sequence[Path] | None = None) -> Bundle:
    """Find, verify and open a bundle for enhancement.

    Args:
        name: As in `find_bundle`.
        places: As in `find_bundle`.

    Raises:
        BundleNotFound: It is nowhere.
        BundleInvalid: It is not for enhancement, or a setting is unknown or of another type.
        ChecksumMismatch: The weights are not the ones described.
        StateMismatch: They do not fit the network.
    """
    folder = find_bundle(name, places)
    described = read_spec(folder)
    if described.task != "enhancement":
        found = f"{described.task!r}"
        raise BundleInvalid(f"{folder}: expected task 'enhancement', found {found}")
    settings = read_settings(described, str(folder / "bundle.json"))
    spec, module = open_bundle(folder)
    if not isinstance(module, AvseNet | SoundNet):
        raise BundleInvalid(f"{folder}: expected a network that gives masks, found {spec.model}")
    return Bundle(spec, module, settings)


def read_settings(spec: BundleSpec, origin: str) -> EnhancementSettings:
    """The settings of a description, checked.

    Raises:
        BundleInvalid: A setting is unknown or of another type.
    """
    try:
        return from_mapping(EnhancementSettings, spec.settings, origin, "settings.")
    except ConfigError as error:
        raise BundleInvalid(str(error)) from error
