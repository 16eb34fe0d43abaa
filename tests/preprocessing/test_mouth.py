"""Mouth crops follow a drawn face whose points a stand-in network reads off its grey levels."""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import preprocessing.mouth_store as store_module
from models.mouth_landmarks import MouthLandmarksConfig, MouthLandmarksNet
from models.weights import packaged
from preprocessing.mouth import CropConfig, MouthCropper, load_mouth_landmarks
from preprocessing.mouth_geometry import (
    face_pose,
    head_turn,
    nearest_pictures,
    smoothed_value,
    warp_affine,
)
from preprocessing.mouth_store import release_pages
from preprocessing.profiles import seen_in_profile_alone
from preprocessing.types import Frame, MouthTrack

EYES_PX = 60.0
LEFT_GREY, RIGHT_GREY, MOUTH_GREY = 90, 160, 250


class GreyLevelNet(torch.nn.Module):
    """Points of a drawn face: each part is the centroid of its grey level."""

    def __init__(self, noise: float = 0.0, turned_from: int = 10**9) -> None:
        super().__init__()
        self.config = MouthLandmarksConfig()
        self.n_calls = 0
        self._rng = np.random.default_rng(0)
        self._noise = noise
        self._n_faces = 0
        self._turned_from = turned_from

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        return torch.stack([torch.from_numpy(self._points(face.numpy())) for face in faces])

    def _points(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        left, right, mouth = (_centroid(face, g) for g in (LEFT_GREY, RIGHT_GREY, MOUTH_GREY))
        corner = (right - left) * 0.4
        steps = np.linspace(-1, 1, 20)[:, None]
        nose = (left + right + mouth) / 3
        nose[0] += 0.3 * (mouth - left)[1] * (self._n_faces >= self._turned_from)
        self._n_faces += 1
        five = np.stack((left, right, nose, mouth - corner, mouth + corner))
        points = np.concatenate((mouth + steps * corner, five)) / face.shape[0]
        points += self._rng.normal(0, 1, 2) * self._noise
        return points.astype(np.float32)


def _centroid(picture: NDArray[np.uint8], grey: int) -> NDArray[np.float64]:
    """Centroid of the flat parts of one grey level; interpolated edges do not count."""
    square = np.ones((3, 3), np.uint8)
    flat = cv2.dilate(picture, square).astype(int) - cv2.erode(picture, square) < 20
    rows, columns = np.nonzero(flat & (np.abs(picture.astype(int) - grey) < 25))
    return np.array([columns.mean(), rows.mean()]) + 0.5


@cache
def draw_face(
    centre: tuple[float, float], eyes_px: float = EYES_PX, angle: float = 0.0, size_px: int = 400
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Picture and box; `centre` is the mouth's, source pixels."""
    grey = np.zeros((size_px, size_px), np.uint8)
    mouth = np.array(centre)
    y, x = np.mgrid[:size_px, :size_px] + 0.5 - mouth[::-1, None, None]
    along = (x * math.cos(angle) + y * math.sin(angle)) / eyes_px
    down = (y * math.cos(angle) - x * math.sin(angle)) / eyes_px
    for side, level in ((-0.5, LEFT_GREY), (0.5, RIGHT_GREY)):
        grey[np.hypot(along - side, down + 1.1) < 0.2] = level
    grey[(np.abs(along) < 0.4) & (np.abs(down) < 0.12)] = MOUTH_GREY
    x, y = mouth + 0.55 * eyes_px * np.array([math.sin(angle), -math.cos(angle)])
    half = 1.4 * eyes_px
    box = np.array([x - half * 0.8, y - half, x + half * 0.8, y + half], np.float32)
    return np.repeat(grey[..., None], 3, axis=2), box


def _crop_all(
    faces: Iterable[tuple[int, float, NDArray[np.uint8], NDArray[np.float32]]],
    n_frames: int,
    start_s: float = 0.0,
    net: Any = None,
    config: CropConfig | None = None,
) -> dict[int, MouthTrack]:
    cropper = MouthCropper(
        cast("MouthLandmarksNet", net or GreyLevelNet()), config or CropConfig(batch_size=4)
    )
    for index, (track_id, time_s, image, box) in enumerate(faces):
        cropper.add(track_id, Frame(index, time_s, image), box)
    return cropper.finish(start_s, n_frames)


def _tilt(crop: NDArray[np.uint8]) -> float:
    rows, columns = np.nonzero(crop > 200)
    covariance = np.cov(np.stack((columns, rows)))
    return 0.5 * math.atan2(2 * covariance[0, 1], covariance[0, 0] - covariance[1, 1])


def test_crops_follow_a_moving_turning_growing_face() -> None:
    def scene() -> Iterable[tuple[int, float, NDArray[np.uint8], NDArray[np.float32]]]:
        for n in range(50):
            centre = (120 + 3.0 * n, 230 + 20 * math.sin(n / 12))
            image, box = draw_face(centre, 50 * 1.01**n, angle=0.01 * n - 0.2)
            yield 1, n / 25, image, box

    track = _crop_all(scene(), 50)[1]
    assert track.crops.shape == (50, 122, 122)
    assert track.is_visible.all()
    for crop in track.crops:
        centre = _centroid(crop, MOUTH_GREY)
        assert np.abs(centre - 61).max() < 1.5
        assert abs(_tilt(crop)) < 0.03
        width_px = np.ptp(np.nonzero((crop > 125).any(axis=0))[0])
        assert width_px == pytest.approx(122 * 0.8 / 1.5, abs=3)


def test_landmarks_are_in_source_pixels() -> None:
    scene = [(3, n / 25, *draw_face((200.0 + n, 250.0))) for n in range(10)]
    track = _crop_all(scene, 12)[3]
    centres = track.landmarks_px[:10].mean(axis=1)
    expected = np.stack((200.0 + np.arange(10), np.full(10, 250.0)), axis=1)
    np.testing.assert_allclose(centres, expected, atol=0.7)


def test_smoothing_stills_a_shaking_network() -> None:
    def jumps(sigma_s: float) -> float:
        scene = [(1, n / 25, *draw_face((200.0, 250.0))) for n in range(40)]
        config = CropConfig(centre_sigma_s=sigma_s)
        crops = _crop_all(scene, 40, net=GreyLevelNet(noise=0.01), config=config)[1].crops
        centres = np.stack([_centroid(crop, MOUTH_GREY) for crop in crops])
        return float(np.abs(np.diff(centres, axis=0)).mean())

    assert jumps(0.06) < 0.35 * jumps(0.001)


def _marked(time_s: float) -> tuple[int, float, NDArray[np.uint8], NDArray[np.float32]]:
    """A face with its time in milliseconds / 20 written into the grey beside the mouth."""
    image, box = draw_face((200.0, 250.0))
    image = image.copy()
    image[image == 0] = round(time_s * 50)
    return 1, time_s, image, box


@pytest.mark.parametrize("fps", [25.0, 29.97, 23.976, 50.0])
@pytest.mark.parametrize("start_s", [0.0, 0.013, -0.02])
def test_crops_lie_on_the_clock_of_the_sound(fps: float, start_s: float) -> None:
    track = _crop_all((_marked(n / fps) for n in range(int(fps))), 24, start_s)[1]
    shown_s = np.median(track.crops[:, :20].reshape(24, -1), axis=1) / 50
    wanted_s = start_s + np.arange(24) / 25
    off_s = shown_s + 0.5 / fps - (wanted_s + 0.02)
    assert np.abs(off_s[1:-1]).max() <= 0.5 / fps + 0.0101  # the marks are 20 ms apart


def test_exact_25_fps_maps_one_to_one() -> None:
    times_s = np.arange(100) / 25
    shown = nearest_pictures(times_s, times_s + 0.02, 0.1)
    assert shown.tolist() == list(range(100))


def test_variable_frame_rate_takes_the_nearest() -> None:
    times_s = np.array([0.0, 0.04, 0.1, 0.11, 0.2, 0.9])
    centres_s = np.arange(25) / 25 + 0.02
    shown = nearest_pictures(times_s, centres_s, 0.1)
    middles_s = times_s + np.median(np.diff(times_s)) / 2
    for centre_s, index in zip(centres_s, shown, strict=True):
        nearest_s = np.abs(middles_s - centre_s).min()
        if index < 0:
            assert nearest_s > 0.1
        else:
            assert abs(middles_s[index] - centre_s) == pytest.approx(nearest_s, abs=1e-3)


def test_short_gaps_are_bridged_and_long_ones_are_not() -> None:
    times = [n for n in range(60) if not 10 <= n < 14 and not 30 <= n < 45]
    scene = [(1, n / 25, *draw_face((200.0, 250.0))) for n in times]
    track = _crop_all(scene, 70)[1]
    assert track.is_visible[:30].all()
    assert not track.is_visible[33:42].any()
    assert track.is_visible[45:60].all()
    assert not track.is_visible[63:].any()
    assert not track.crops[~track.is_visible].any()
    assert np.isnan(track.landmarks_px[~track.is_visible]).all()
    assert np.isfinite(track.landmarks_px[track.is_visible]).all()


def test_two_faces_in_one_pass_keep_apart() -> None:
    def scene() -> Iterable[tuple[int, float, NDArray[np.uint8], NDArray[np.float32]]]:
        for n in range(20):
            left, left_box = draw_face((100.0, 150.0), 40)
            right, right_box = draw_face((290.0, 250.0), 40, angle=0.3)
            image = np.maximum(left, right)
            yield 1, n / 25, image, left_box
            yield 2, n / 25, image, right_box

    tracks = _crop_all(scene(), 20)
    assert set(tracks) == {1, 2}
    for track in tracks.values():
        assert track.is_visible.all()
        assert abs(_tilt(track.crops[10])) < 0.03
        assert np.abs(_centroid(track.crops[10], MOUTH_GREY) - 61).max() < 1.5


def test_a_face_at_the_edge_of_the_picture_is_cropped() -> None:
    scene = [(1, n / 25, *draw_face((40.0, 385.0), 40)) for n in range(5)]
    track = _crop_all(scene, 5)[1]
    assert np.abs(_centroid(track.crops[2], MOUTH_GREY) - 61).max() < 12


def test_faces_go_through_the_network_in_batches() -> None:
    net = GreyLevelNet()
    scene = [(1, n / 25, *draw_face((200.0, 250.0))) for n in range(18)]
    _crop_all(scene, 18, net=net, config=CropConfig(batch_size=8))
    assert net.n_calls == 3


def test_look_ahead_is_bounded() -> None:
    cropper = MouthCropper(cast("MouthLandmarksNet", GreyLevelNet()), CropConfig(batch_size=2))
    image, box = draw_face((200.0, 250.0))
    for n in range(150):
        cropper.add(1 + n // 100, Frame(n, n / 25, image), box)
    following = cropper._accumulator._tracks
    assert len(following[1].poses) == len(following[1].waiting) == 0
    assert len(following[1].rows) == 100
    assert len(following[2].waiting) <= 25 * CropConfig().look_ahead_s + 1
    assert len(following[2].poses) <= 25 * 2 * CropConfig().look_ahead_s + 2


def test_results_do_not_depend_on_batches() -> None:
    scene = [(1, n / 25, *draw_face((150.0 + 2 * n, 250.0))) for n in range(30)]
    one = _crop_all(scene, 30, config=CropConfig(batch_size=1))[1]
    many = _crop_all(scene, 30, config=CropConfig(batch_size=16))[1]
    np.testing.assert_array_equal(one.crops, many.crops)


def test_many_crops_lie_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = [(1, n / 25, *draw_face((200.0, 250.0 + n))) for n in range(20)]
    in_memory = _crop_all(scene, 25)[1]
    monkeypatch.setattr(store_module, "BYTES_IN_MEMORY", 10 * 122 * 122)
    in_file = _crop_all(scene, 25)[1]
    assert isinstance(in_file.crops, np.memmap)
    assert not isinstance(in_memory.crops, np.memmap)
    for _ in range(2):
        np.testing.assert_array_equal(in_file.crops, in_memory.crops)
        release_pages(in_file.crops)
        release_pages(in_memory.crops)


def test_nothing_added_gives_no_tracks() -> None:
    assert _crop_all([], 10) == {}


def test_pictures_at_the_same_time_count_once() -> None:
    image, box = draw_face((200.0, 250.0))
    track = _crop_all([(1, 0.0, image, box), (1, 0.001, image, box)], 1)[1]
    assert track.is_visible.tolist() == [True]


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 10), (0, 0, float("nan"), 10), (0, 0, 9e4, 9e4), (10, 10, 5, 5)]
)
def test_impossible_boxes_are_refused(box: tuple[float, ...]) -> None:
    image, _ = draw_face((200.0, 250.0))
    with pytest.raises(ValueError, match="box_xyxy"):
        _crop_all([(1, 0.0, image, np.array(box, np.float32))], 1)


def test_a_wrong_config_is_refused() -> None:
    with pytest.raises(ValueError, match="size_px"):
        CropConfig(size_px=0)


def test_smoothed_value_keeps_a_straight_line() -> None:
    times_s = np.sort(np.random.default_rng(0).uniform(0, 1, 30))
    values = np.stack((3 * times_s - 1, 5 - times_s), axis=1)
    for at_s in (times_s[0], times_s[15], times_s[-1]):
        found = smoothed_value(times_s, values, at_s, 0.1)
        np.testing.assert_allclose(found, (3 * at_s - 1, 5 - at_s), atol=1e-9)
    np.testing.assert_allclose(smoothed_value(times_s[:1], values[:1], times_s[0], 0.1), values[0])


def test_a_head_turned_aside_is_not_magnified() -> None:
    points = np.zeros((25, 2))
    points[:20] = (0.0, 100.0)
    points[20], points[21] = (-5.0, 0.0), (5.0, 0.0)
    assert math.exp(face_pose(points)[2]) == pytest.approx(80.0)


def test_a_head_turned_away_is_read_for_a_while_and_the_track_says_for_how_long() -> None:
    scene = [(1, n / 25, *draw_face((200.0, 250.0))) for n in range(150)]
    track = _crop_all(scene, 150, net=GreyLevelNet(turned_from=30))[1]
    last_read = np.flatnonzero(track.is_visible).max()
    assert track.is_visible[: last_read + 1].all()
    assert last_read == pytest.approx(54, abs=4)  # a quarter of four seconds still shows the front
    assert (track.is_visible ^ track.is_turned).all()
    assert track.turned_s == pytest.approx(3.8, abs=0.2)
    assert not track.crops[~track.is_visible].any()


def test_a_head_seen_in_profile_alone_is_not_read() -> None:
    present = np.ones(40, np.bool_)
    assert seen_in_profile_alone(present, present, 2.0, 0.25).all()
    glance = np.arange(40) >= 12
    assert not seen_in_profile_alone(present, glance, 2.0, 0.25).any()
    assert not seen_in_profile_alone(present & ~glance, glance, 2.0, 0.25).any()


@pytest.mark.parametrize("angle", [0.0, 0.4, -0.3])
def test_the_turn_of_a_head_is_that_of_the_nose_whatever_the_tilt(angle: float) -> None:
    points = np.zeros((25, 2))
    points[:20] = (0.0, 100.0)
    points[20], points[21], points[22] = (-50.0, 0.0), (50.0, 0.0), (25.0, 60.0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    assert head_turn(points @ turn * 3 + 7) == pytest.approx(0.25)


def test_warp_keeps_positions() -> None:
    picture, _ = draw_face((200.0, 250.0))
    for zoom in (0.3, 0.8, 1.7):
        matrix = np.array([[zoom, 0.0, 5.0], [0.0, zoom, -3.0]])
        warped = warp_affine(picture[..., 0], matrix, 700)
        found = _centroid(warped, MOUTH_GREY)
        np.testing.assert_allclose(found, (200 * zoom + 5, 250 * zoom - 3), atol=0.5)


def test_the_network_that_ships_loads() -> None:
    assert packaged("mouth-landmarks").is_dir()
    net = load_mouth_landmarks()
    points = net(torch.zeros(2, net.config.face_px, net.config.face_px, dtype=torch.uint8))
    assert points.shape == (2, 25, 2)
    assert not net.training
