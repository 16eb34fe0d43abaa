"""Finished mouth crops, in a temporary file where they are many."""

import mmap
import tempfile
import weakref

import numpy as np
from numpy.typing import NDArray

BYTES_IN_MEMORY = 64 * 2**20


class CropStore:
    """Finished crops of all tracks in one temporary file, in memory while they are few."""

    def __init__(self, size_px: int) -> None:
        """Start empty; crops are `[size_px, size_px]` uint8."""
        self._shape = (size_px, size_px)
        self._n_bytes = size_px * size_px
        self._n_crops = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=BYTES_IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def append(self, crop: NDArray[np.uint8]) -> int:
        """Keep a crop; returns its row."""
        self._file.seek(self._n_crops * self._n_bytes)
        self._file.write(crop.tobytes())
        self._n_crops += 1
        return self._n_crops - 1

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """`[V, H, W]` of the crops `rows`; -1 gives zeros. Large results lie in a file."""
        shape = (len(rows), *self._shape)
        if len(rows) * self._n_bytes <= BYTES_IN_MEMORY:
            crops = np.zeros(shape, np.uint8)
            for v in np.flatnonzero(rows >= 0):
                crops[v] = self._read(rows[v])
            return crops
        with tempfile.TemporaryFile() as file:
            file.truncate(len(rows) * self._n_bytes)
            for v in np.flatnonzero(rows >= 0):
                file.seek(int(v) * self._n_bytes)
                file.write(self._read(rows[v]).tobytes())
            file.flush()
            return np.memmap(file, np.uint8, mode="c", shape=shape)

    def _read(self, row: int) -> NDArray[np.uint8]:
        self._file.seek(int(row) * self._n_bytes)
        return np.frombuffer(self._file.read(self._n_bytes), np.uint8).reshape(self._shape)

    def close(self) -> None:
        """Remove the file; what `gather` gave stays."""
        self._file.close()


def release_pages(crops: NDArray[np.uint8]) -> None:
    """Let go of the memory behind crops that were read from a file; they can be read again.

    Crops of an hour lie in a temporary file. Reading them in windows and calling this after each
    keeps the memory bounded. Arrays that live in memory are left as they are.
    """
    mapping = getattr(crops, "_mmap", None)
    if isinstance(mapping, mmap.mmap):
        mapping.madvise(mmap.MADV_DONTNEED)
