"""Covered and dark mouths: decided over neighbours, told in the track, found by what ships."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import BundleInvalid
from models.mouth_clarity import MouthClarityNet
from models.mouth_landmarks import MouthLandmarksNet
from preprocessing import mouth_clarity
from preprocessing.mouth import CropConfig, MouthCropper
from preprocessing.mouth_clarity import (
    ClarityWatch,
    hide_obscured,
    is_obscured,
    load_mouth_clarity,
)
from preprocessing.types import Frame, MouthTrack
from tests.preprocessing.test_mouth import GreyLevelNet, draw_face


class BrightnessNet:
    """As sure of lips as the crop's middle is bright; counts its calls."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, crops: Tensor) -> Tensor:
        self.sizes.append(len(crops))
        return crops[:, 61, 61].float() / 10 - 10


def watch_of(net: BrightnessNet) -> ClarityWatch:
    return ClarityWatch(cast("MouthClarityNet", net))


def test_crops_are_looked_at_in_batches_and_answered_in_order() -> None:
    net = BrightnessNet()
    watch = watch_of(net)
    for grey in range(70):
        watch.append(np.full((122, 122), grey, np.uint8))
    np.testing.assert_allclose(watch.finish(), np.arange(70) / 10 - 10, rtol=1e-5)
    assert net.sizes == [32, 32, 6]
    assert watch_of(net).finish().shape == (0,)


def test_without_a_network_everything_is_clear() -> None:
    watch = ClarityWatch(None)
    watch.append(np.zeros((122, 122), np.uint8))
    assert watch.finish() > 0


def test_a_mouth_is_obscured_where_its_neighbours_are_too() -> None:
    clarity = np.full(40, 6.0, np.float32)
    clarity[5] = -9  # one picture says nothing
    clarity[20:30] = -7
    found = is_obscured(clarity, np.ones(40, np.bool_))
    assert not found[:18].any()
    assert found[21:29].all()
    assert not found[32:].any()


def test_what_is_invisible_is_neither_obscured_nor_asked() -> None:
    clarity = np.full(20, -8.0, np.float32)
    is_visible = np.zeros(20, np.bool_)
    assert not is_obscured(clarity, is_visible).any()
    is_visible[10:] = True
    clarity[:10] = 8
    assert np.array_equal(is_obscured(clarity, is_visible), is_visible)


def test_a_covered_mouth_is_absent_and_the_track_says_so() -> None:
    picture, box = draw_face((200.0, 250.0))
    hand = picture.copy()
    hand[200:300, 150:250] = 40
    cropper = MouthCropper(
        cast("MouthLandmarksNet", SteadyNet()),
        CropConfig(),
        cast("MouthClarityNet", BrightnessNet()),
    )
    for n in range(50):
        cropper.add(1, Frame(n, n / 25, hand if 20 <= n < 40 else picture), box)
    track = cropper.finish(0.0, 50)[1]
    assert track.is_obscured[22:38].all()
    assert track.obscured_s == pytest.approx(0.8, abs=0.17)
    assert (track.is_visible ^ track.is_obscured).all()
    assert not track.crops[track.is_obscured].any()
    assert np.isnan(track.landmarks_px[track.is_obscured]).all()


class SteadyNet:
    """Finds the face of the first batch for ever, whatever is before it."""

    def __init__(self) -> None:
        self.config = GreyLevelNet().config
        self._points: Tensor | None = None

    def __call__(self, faces: Tensor) -> Tensor:
        if self._points is None:
            self._points = GreyLevelNet()(faces)[:1]
        return self._points.expand(len(faces), -1, -1)


def test_what_ships_finds_the_dark_and_a_flat_thing() -> None:
    net = load_mouth_clarity()
    rng = np.random.default_rng(0)
    dark = np.clip(rng.normal(4, 4, (8, 122, 122)), 0, 255).astype(np.uint8)
    flat = np.clip(rng.normal(130, 4, (8, 122, 122)), 0, 255).astype(np.uint8)
    for crops in (dark, flat):
        assert bool((net(torch.from_numpy(crops)) < mouth_clarity.LEAST_CLARITY).all())
    assert not net.training


def test_a_bundle_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    landmarks = mouth_clarity.packaged("mouth-landmarks")
    monkeypatch.setattr(mouth_clarity, "packaged", lambda name: landmarks)
    with pytest.raises(BundleInvalid, match="mouth_clarity"):
        load_mouth_clarity()


def test_a_track_is_hidden_as_the_cropper_would() -> None:
    crops = np.full((20, 122, 122), 160, np.uint8)
    crops[5:15] = 10
    points = np.ones((20, 20, 2), np.float32)
    net = cast("MouthClarityNet", BrightnessNet())
    track = hide_obscured(MouthTrack(crops, np.ones(20, np.bool_), 0.0, points), net)
    assert (track.is_visible ^ track.is_obscured).all()
    assert track.is_obscured[7:13].all()
    assert not track.crops[track.is_obscured].any()
    assert np.isnan(track.landmarks_px[track.is_obscured]).all()
    assert crops[5:15].all()
    clear = MouthTrack(np.full_like(crops, 160), np.ones(20, np.bool_), 0.0, points)
    assert hide_obscured(clear, net) is clear
