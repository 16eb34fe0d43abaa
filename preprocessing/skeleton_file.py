"""Skeletons that somebody else recorded, from `.npy` and `.npz` files."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import MediaError
from preprocessing.skeleton import COORDINATES

MAX_METRES = 1000.0
_MAGICS = (b"\x93NUMPY", b"PK")
_LONGEST_MAGIC = 6
# What NumPy and zipfile raise for a torn, encrypted or oddly packed file.
_UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class SkeletonInvalid(MediaError):
    """The file holds no skeleton that fits the head."""

    code = "undecodable"


def read_skeleton(path: Path, name: str, n_joints: int) -> NDArray[np.float32]:
    """People `[T, P, J, 3]` in metres.

    Args:
        path: `.npy` or `.npz`, `[T, J, 3]` or `[T, P, J, 3]`; of several arrays in an archive the
            one called `name` or `skeleton` is taken.
        name: The clip's.
        n_joints: Joints that the head knows.

    Raises:
        SkeletonInvalid: There is no such array, or its shape or numbers do not fit.
    """
    expected = f"a skeleton [T, {n_joints}, {COORDINATES}]"
    try:
        array = _load(path, name)
    except _UNREADABLE as error:
        raise SkeletonInvalid(path, expected, str(error) or type(error).__name__) from error
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[2:] != (n_joints, COORDINATES) or 0 in array.shape:
        raise SkeletonInvalid(path, expected, f"shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise SkeletonInvalid(path, expected, f"{array.dtype}")
    people = array.astype(np.float32)
    if not np.isfinite(people).all() or np.abs(people).max() > MAX_METRES:
        raise SkeletonInvalid(path, "finite coordinates in metres", "others")
    return people


def _load(path: Path, name: str) -> NDArray[Any]:
    """The array of a file.

    Raises:
        ValueError: There is none, or an archive has none of that name.
    """
    with path.open("rb") as file:
        if not file.read(_LONGEST_MAGIC).startswith(_MAGICS):
            raise ValueError("neither .npy nor .npz")
        file.seek(0)
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded as arrays:
                loaded = _member(arrays, name)
    if not isinstance(loaded, np.ndarray):
        raise ValueError("no array of numbers")
    return loaded


def _member(arrays: Any, name: str) -> Any:
    names = list(arrays.files)
    wanted = [n for n in (name, "skeleton") if n in names] or (names if len(names) == 1 else [])
    if not wanted:
        raise ValueError(f"{len(names)} arrays, none called {name} or skeleton")
    return arrays[wanted[0]]
