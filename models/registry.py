"""Every network by name: the bundle's `model` field -> (config dataclass, module)."""

from pathlib import Path
from typing import Any, cast

from torch import nn

from models.action import ActionConfig, ActionHead
from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.errors import BundleInvalid
from models.face_detector import FaceDetectorConfig, FaceDetectorNet
from models.gesture import GestureConfig, GestureHead
from models.i3d import I3D, I3DConfig
from models.lip_sync import LipSync, LipSyncConfig
from models.mouth_clarity import MouthClarityConfig, MouthClarityNet
from models.mouth_landmarks import MouthLandmarksConfig, MouthLandmarksNet
from models.mouth_prior import MouthPrior, MouthPriorConfig
from models.sound_net import SoundNet, SoundNetConfig
from models.weights import BundleSpec, load_strict, load_weights, read_spec

MODELS: dict[str, tuple[Any, Any]] = {
    "action": (ActionConfig, ActionHead),
    "avse_net": (AvseConfig, AvseNet),
    "face_detector": (FaceDetectorConfig, FaceDetectorNet),
    "gesture": (GestureConfig, GestureHead),
    "i3d": (I3DConfig, I3D),
    "lip_sync": (LipSyncConfig, LipSync),
    "mouth_clarity": (MouthClarityConfig, MouthClarityNet),
    "mouth_landmarks": (MouthLandmarksConfig, MouthLandmarksNet),
    "mouth_prior": (MouthPriorConfig, MouthPrior),
    "sound_net": (SoundNetConfig, SoundNet),
}


def build(name: str, model_config: dict[str, Any]) -> nn.Module:
    """A network with fresh weights.

    Raises:
        BundleInvalid: The name or a setting is unknown.
    """
    if name not in MODELS:
        raise BundleInvalid(f"model: expected one of {sorted(MODELS)}, found {name!r}")
    config_class, module_class = MODELS[name]
    try:
        config = config_class(**model_config)
    except (TypeError, ValueError) as error:
        raise BundleInvalid(f"model_config of {name}: {error}") from error
    return cast("nn.Module", module_class(config))


def open_bundle(folder: Path) -> tuple[BundleSpec, nn.Module]:
    """Description and network of a bundle, verified, strict, in eval mode.

    Raises:
        BundleNotFound, BundleInvalid, ChecksumMismatch, StateMismatch: As `models.weights` says.
    """
    spec = read_spec(folder)
    module = build(spec.model, spec.model_config)
    return spec, load_strict(module, load_weights(folder, spec), str(folder))
