"""Pictures in a row: as they were given, in memory or in a file, and none lost."""

import numpy as np
import pytest

from preprocessing import picture_store
from preprocessing.picture_store import PictureStore


@pytest.mark.parametrize("most_bytes", [0, 2**20])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_pictures_come_back_as_they_were(monkeypatch, most_bytes, dtype):
    monkeypatch.setattr(picture_store, "BYTES_IN_MEMORY", most_bytes)
    pictures = np.random.default_rng(0).integers(0, 127, (9, 8, 12, 2)).astype(dtype)
    store = PictureStore()
    for picture in pictures[:5]:
        store.append(picture[:, ::-1])
    np.testing.assert_array_equal(store.array(), pictures[:5, :, ::-1])
    for picture in pictures[5:]:
        store.append(picture[:, ::-1])
    found = store.array()
    assert isinstance(found, np.memmap) == (most_bytes == 0)
    assert (len(store), found.dtype) == (9, dtype)
    np.testing.assert_array_equal(store.last, pictures[-1, :, ::-1])
    del store
    np.testing.assert_array_equal(found, pictures[:, :, ::-1])
    found[0] = 1  # nobody else's


def test_nothing_and_another_shape_are_refused():
    store = PictureStore()
    with pytest.raises(ValueError, match="found none"):
        store.array()
    store.append(np.zeros((4, 4), np.uint8))
    for other in (np.zeros((4, 5), np.uint8), np.zeros((4, 4), np.int8)):
        with pytest.raises(ValueError, match="expected"):
            store.append(other)
