"""Named arrays and a JSON header in one file, without pickle; read by mapping it into memory.

A decode child that read a hostile file may have been taken over: whatever it leaves is checked
against the file's true size and a short list of types before it is used.
"""

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.spool import part_path, put_in_place

_MAGIC = b"AVSEARR1"
_PREFIX = struct.Struct("<8sI")
_ALIGNMENT = 64
_MAX_HEADER_BYTES = 8 * 2**20
_BLOCK_BYTES = 16 * 2**20
_TYPES = ("bool", "float16", "float32", "float64", "int8", "int64", "uint8")
_MAX_AXES = 4

Arrays = Mapping[str, NDArray[Any]]


class ArrayFileInvalid(ValueError):
    """The file is not what `write_arrays` makes."""


def write_arrays(path: Path, arrays: Arrays, header: Mapping[str, Any]) -> None:
    """Write arrays and a header of JSON values; the name appears when all is written.

    Raises:
        OSError: The disk is full or the file would pass the limit.
        ValueError: A type that is not taken, or a header with NaN.
    """
    places: dict[str, Any] = {}
    offset = 0
    for name, array in arrays.items():
        if array.dtype.name not in _TYPES:
            raise ValueError(f"{name}: expected one of {_TYPES}, found {array.dtype.name}")
        places[name] = {"type": array.dtype.name, "shape": array.shape, "offset": offset}
        offset += array.nbytes + (-array.nbytes) % _ALIGNMENT
    text = json.dumps({"header": dict(header), "arrays": places}, allow_nan=False).encode()
    text += b" " * (-(_PREFIX.size + len(text)) % _ALIGNMENT)
    part = part_path(path)
    with part.open("wb") as file:
        file.write(_PREFIX.pack(_MAGIC, len(text)) + text)
        for array in arrays.values():
            _write_blocks(file.fileno(), array, file.flush)
            file.write(b"\0" * ((-array.nbytes) % _ALIGNMENT))
    put_in_place(part, path)


def _write_blocks(descriptor: int, array: NDArray[Any], flush: Any) -> None:
    """Write an array some megabytes at a time: mapped crops of an hour never lie in memory."""
    flush()
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, flat.shape[0], _BLOCK_BYTES):
        block = flat[start : start + _BLOCK_BYTES].data.cast("B")
        while block:
            block = block[os.write(descriptor, block) :]


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Map the arrays of a file (copy on write) and read its header.

    Raises:
        ArrayFileInvalid: It is not such a file, or it is cut short.
        OSError: It cannot be opened.
    """
    with path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        magic, n_text = _read_prefix(file.read(_PREFIX.size))
        if magic != _MAGIC or n_text > min(_MAX_HEADER_BYTES, n_bytes - _PREFIX.size):
            raise ArrayFileInvalid(f"{path.name}: not a file of arrays")
        try:
            described = json.loads(file.read(n_text), parse_constant=_refuse_constant)
            places, header = dict(described["arrays"]), dict(described["header"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArrayFileInvalid(f"{path.name}: its header cannot be read") from error
    start = _PREFIX.size + n_text
    return {name: _map(path, start, n_bytes, place) for name, place in places.items()}, header


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def _read_prefix(content: bytes) -> tuple[bytes, int]:
    if len(content) < _PREFIX.size:
        return b"", 0
    magic, n_text = _PREFIX.unpack(content)
    return magic, n_text


def _map(path: Path, start: int, n_bytes: int, place: Any) -> NDArray[Any]:
    """One array, if it lies within the file."""
    try:
        name, shape = str(place["type"]), [int(length) for length in place["shape"]]
        offset = start + int(place["offset"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArrayFileInvalid(f"{path.name}: an array is not described") from error
    if name not in _TYPES or len(shape) > _MAX_AXES or min([0, offset - start, *shape]) < 0:
        raise ArrayFileInvalid(f"{path.name}: {name} of shape {shape} is not taken")
    size = math.prod(shape) * np.dtype(name).itemsize
    if offset + size > n_bytes:
        raise ArrayFileInvalid(f"{path.name}: an array reaches past the end of the file")
    if size == 0:
        return np.zeros(shape, name)
    return np.memmap(path, name, mode="c", offset=offset, shape=tuple(shape))
