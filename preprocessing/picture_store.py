"""Pictures in the order of time, in a temporary file where they are many."""

import tempfile
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES_IN_MEMORY = 64 * 2**20


class PictureStore:
    """Pictures of one shape and type; a clip of half an hour never lies in memory.

    Attributes:
        last: The newest picture, None before the first.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.last: NDArray[Any] | None = None
        self._n_pictures = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=BYTES_IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        """Pictures kept."""
        return self._n_pictures

    def append(self, picture: NDArray[Any]) -> None:
        """Keep a picture.

        Raises:
            ValueError: It differs in shape or type from the first.
            OSError: The disk is full.
        """
        if self.last is not None:
            expected, found = (self.last.shape, self.last.dtype), (picture.shape, picture.dtype)
            if expected != found:
                raise ValueError(f"picture: expected {expected}, found {found}")
        self._file.write(np.ascontiguousarray(picture).data)
        self.last = picture
        self._n_pictures += 1

    def array(self) -> NDArray[Any]:
        """All pictures, `[N, ...]`; many of them stay in the file until they are looked at.

        Raises:
            ValueError: There is none.
        """
        if self.last is None:
            raise ValueError("PictureStore: expected a picture, found none")
        shape, dtype = (self._n_pictures, *self.last.shape), self.last.dtype
        if self._n_pictures * self.last.nbytes <= BYTES_IN_MEMORY:
            self._file.seek(0)
            found = np.frombuffer(bytearray(self._file.read()), dtype).reshape(shape)
            self._file.seek(0, 2)
            return found
        self._file.flush()
        return np.memmap(self._file, dtype, mode="c", shape=shape)
