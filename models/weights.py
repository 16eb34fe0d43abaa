"""Bundles on disk: `bundle.json` + `weights.safetensors`, checked and loaded strictly."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from models.errors import BundleInvalid, BundleNotFound, ChecksumMismatch, StateMismatch

FORMAT = 1
PACKAGED = Path(__file__).parent / "bundles"


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """The description that travels with the weights.

    Attributes:
        name: Bundle id, e.g. `avse-mmtm`.
        task: `enhancement`, `face_detection`, `mouth_landmarks`, `lip_sync`, `gesture`, `action`.
        model: Key in `models.registry.MODELS`.
        model_config: Keyword arguments of that model's config dataclass.
        settings: Everything else inference needs (STFT, crops, normalisation, window).
        card: Model card: training files and terms, command, commit, seed, scores, limits.
        sha256: Of `weights.safetensors`; filled in by `save_bundle`.
        format: Version of this layout.
    """

    name: str
    task: str
    model: str
    model_config: dict[str, Any]
    settings: dict[str, Any]
    card: dict[str, Any]
    sha256: str = ""
    format: int = FORMAT


def packaged(name: str) -> Path:
    """Folder of a bundle that ships with the package (it need not exist)."""
    return PACKAGED / name


def read_spec(folder: Path) -> BundleSpec:
    """Read and check a bundle's description.

    Raises:
        BundleNotFound: There is no `bundle.json` in `folder`.
        BundleInvalid: It is not JSON, lacks a field or has another format.
    """
    path = folder / "bundle.json"
    if not path.is_file():
        raise BundleNotFound(f"{folder}: expected a bundle (bundle.json + weights), found none")
    try:
        spec = BundleSpec(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        wanted = ", ".join(field.name for field in fields(BundleSpec))
        raise BundleInvalid(f"{path}: expected JSON with {wanted}, found: {error}") from error
    if spec.format != FORMAT:
        raise BundleInvalid(f"{path}: expected format {FORMAT}, found {spec.format}")
    return spec


def load_weights(folder: Path, spec: BundleSpec) -> dict[str, Tensor]:
    """Read the weights after checking their sha256; floating tensors come back as float32.

    Raises:
        BundleInvalid: A weight is not finite.
        BundleNotFound: There is no `weights.safetensors`.
        ChecksumMismatch: The file is not the one the description names.
    """
    path = folder / "weights.safetensors"
    if not path.is_file():
        raise BundleNotFound(f"{path}: expected the weights of {spec.name}, found no file")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != spec.sha256:
        raise ChecksumMismatch(f"{path}: expected sha256 {spec.sha256}, found {found}")
    tensors = load(content)
    _check_finite(tensors, folder)
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


def load_strict(module: nn.Module, state: dict[str, Tensor], origin: str) -> nn.Module:
    """Load a state into a module, every key and shape matching, and set it to eval.

    Raises:
        StateMismatch: A key is missing, unexpected or of another shape.
    """
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise StateMismatch(f"{origin}: the weights do not fit the model: {error}") from error
    return module.eval()


def save_bundle(folder: Path, spec: BundleSpec, module: nn.Module) -> BundleSpec:
    """Write a bundle so that a kill leaves either the old files or the new ones.

    Kernels and matrices are stored in fp16; vectors, such as a normalisation's running variance,
    may lie beyond its range of 65,504 and stay as they are.

    Returns:
        The description with its sha256.

    Raises:
        BundleInvalid: A weight is not finite, in the module or in fp16.
    """
    stored = {key: _half(value) for key, value in module.state_dict().items()}
    _check_finite(stored, folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = save(stored)
    described = asdict(spec) | {"sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    _replace(folder / "weights.safetensors", content)
    _replace(folder / "bundle.json", text.encode())
    return BundleSpec(**described)


def _half(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.to(torch.float16) if value.is_floating_point() and value.dim() > 1 else value


def _check_finite(tensors: dict[str, Tensor], folder: Path) -> None:
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BundleInvalid(f"{folder}: expected finite weights, found inf or NaN in {key}")


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
