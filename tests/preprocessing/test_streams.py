"""Streams of a clip: on a steady grid, normalised, and honest about what is missing."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.errors import MediaError, TooLong
from preprocessing.media import MediaLimits
from preprocessing.motion import farneback_flow
from preprocessing.people import bridged
from preprocessing.skeleton_file import SkeletonInvalid, read_skeleton
from preprocessing.square_view import SquareView
from preprocessing.stream_config import (
    DepthRange,
    FlowLimit,
    Normalisation,
    SkeletonConfig,
    StreamConfig,
)
from preprocessing.stream_windows import sampled, spans, whole, window_inputs
from preprocessing.streams import (
    NoStream,
    PreparedStreams,
    StreamSources,
    chroma,
    on_grid,
    prepare_streams,
)
from preprocessing.types import Frame
from tests.media_factory import ClipSpec, make_clip

SHAPE = SkeletonConfig(n_frames=16, torso_joint=1, n_joints=4)
CONFIG = StreamConfig(
    streams=("depth", "flow", "skeleton"), fps=10.0, n_frames=8, size_px=48, skeleton=SHAPE
)
SPEED_PX_S = 30.0


def moving(time_s: float, colour: tuple[int, int, int] = (140, 140, 140)) -> np.ndarray:
    """A textured square that moves right on black, as a depth camera sees a hand."""
    image = np.zeros((96, 96, 3), np.uint8)
    left = 10 + round(SPEED_PX_S * time_s) % 56
    texture = np.random.default_rng(0).integers(-50, 50, (40, 30, 1))
    image[30:70, left : left + 30] = np.clip(np.array(colour) + texture, 60, 255)
    return image


def coloured(time_s: float) -> np.ndarray:
    return moving(time_s, (220, 120, 60))


def clip(tmp_path: Path, picture: Any = moving, **spec: Any) -> Path:
    spec = {"duration_s": 2.0, "fps": Fraction(20), "size_px": (96, 96)} | spec
    return make_clip(tmp_path / "clip.mp4", ClipSpec(picture=picture, **spec))


def frames(*times_s: float) -> list[Frame]:
    image = np.zeros((2, 2, 3), np.uint8)
    return [Frame(index, time_s, image) for index, time_s in enumerate(times_s)]


def test_the_grid_takes_the_nearest_picture_from_the_first_on() -> None:
    found = [(round(t, 3), f.index, new) for t, f, new in on_grid(frames(5.0, 5.04, 5.11, 5.4), 10)]
    assert found == [
        (5.0, 0, True), (5.1, 2, True), (5.2, 2, False), (5.3, 3, True), (5.4, 3, False),
    ]  # fmt: skip


def test_a_depth_clip_gives_depth_and_flow(tmp_path: Path) -> None:
    prepared = prepare_streams(clip(tmp_path), CONFIG)
    assert prepared.streams == ("depth", "flow")
    assert prepared.duration_s == pytest.approx(2.0, abs=0.05)
    assert np.allclose(np.diff(prepared.times_s), 0.1)
    assert prepared.arrays["depth"].shape == (len(prepared.times_s), 48, 48)
    assert prepared.arrays["flow"].shape == (len(prepared.times_s), 48, 48, 2)
    assert prepared.notes == (
        "no skeleton was given and no pose estimator asked for: it is left out",
    )


def test_the_flow_is_the_motion_in_the_heads_pixels(tmp_path: Path) -> None:
    limits = Normalisation(flow=FlowLimit(4.0))
    config = StreamConfig(("flow",), fps=10.0, n_frames=8, size_px=48, normalisation=limits)
    prepared = prepare_streams(clip(tmp_path), config)
    assert not prepared.arrays["flow"][0].any()
    index = 8
    left_px = (10 + SPEED_PX_S * prepared.times_s[index]) / 2
    inside = prepared.arrays["flow"][index, 20:30, round(left_px) + 4 : round(left_px) + 11]
    speed_px = 4.0 * inside.reshape(-1, 2).mean(0) / 127
    # 30 px a second are 1.5 px of the half-size picture from one instant to the next.
    assert speed_px[0] == pytest.approx(1.5, abs=0.4)
    assert speed_px[1] == pytest.approx(0.0, abs=0.3)


def test_still_pictures_do_not_move() -> None:
    still = moving(0.0)[..., 0]
    assert np.abs(farneback_flow(still, still)).max() < 0.1


def test_a_colour_clip_leaves_depth_out_where_something_else_is_there(tmp_path: Path) -> None:
    prepared = prepare_streams(clip(tmp_path, coloured), CONFIG)
    assert prepared.streams == ("flow",)
    assert any("not depth: the depth stream is left out" in note for note in prepared.notes)


def test_the_picture_stands_in_where_nothing_else_is_there(tmp_path: Path) -> None:
    alone = StreamConfig(("depth", "skeleton"), size_px=32, skeleton=SHAPE)
    prepared = prepare_streams(clip(tmp_path, coloured), alone)
    assert prepared.streams == ("depth",)
    assert any("stands in for it" in note for note in prepared.notes)
    grey = prepare_streams(clip(tmp_path), StreamConfig(("rgb",), size_px=32))
    assert any("stand in for colour" in note for note in grey.notes)


def test_who_knows_better_may_say_what_the_pictures_are(tmp_path: Path) -> None:
    path = clip(tmp_path, coloured)
    prepared = prepare_streams(path, CONFIG, StreamSources(picture="depth"))
    assert prepared.streams == ("depth", "flow")
    only = StreamConfig(("rgb",), size_px=32)
    assert prepare_streams(path, only).notes == ()


def test_a_head_of_mirrored_pictures_sees_others_mirrored(tmp_path: Path) -> None:
    path = clip(tmp_path, coloured)
    plain = prepare_streams(path, StreamConfig(("flow",), size_px=48))
    head = StreamConfig(("flow",), size_px=48, is_mirrored=True)
    other = prepare_streams(path, head)
    assert any("were mirrored" in note for note in other.notes)
    flow = plain.arrays["flow"]
    np.testing.assert_array_equal(other.arrays["flow"][..., 1], flow[:, :, ::-1, 1])
    np.testing.assert_array_equal(other.arrays["flow"][..., 0], -flow[:, :, ::-1, 0])
    assert not prepare_streams(path, head, StreamSources(picture="depth")).notes


def test_a_skeleton_is_read_and_spread_over_the_clip(tmp_path: Path) -> None:
    movement = np.random.default_rng(0).normal(size=(40, 4, 3)).astype(np.float32)
    np.savez(tmp_path / "all.npz", clip=movement, other=movement[:3])
    prepared = prepare_streams(clip(tmp_path), CONFIG, StreamSources(skeleton=tmp_path / "all.npz"))
    assert prepared.notes == ()
    assert prepared.arrays["skeleton"].shape == (40, 1, 4, 3)
    found = window_inputs(prepared, CONFIG, whole(prepared))["skeleton"]
    assert found.shape == (3, 16, 4, 1)
    assert not found[:, :, SHAPE.torso_joint].any()
    expected = movement[0] - movement[0, SHAPE.torso_joint]
    np.testing.assert_allclose(found[:, 0, :, 0].T, expected, atol=1e-6)


def test_a_windows_skeleton_is_that_of_its_seconds() -> None:
    movement = np.zeros((41, 1, 4, 3), np.float32)
    movement[:, 0, 0, 0] = np.arange(41)
    pictures = np.zeros((21, 8, 8), np.uint8)
    arrays = {"depth": pictures, "skeleton": movement}
    prepared = PreparedStreams(np.arange(21) / 10, 2.1, arrays, np.arange(41) / 20)
    found = window_inputs(prepared, CONFIG, (5, 16))["skeleton"]
    np.testing.assert_allclose(found[0, :, 0, 0], np.linspace(10, 30, 16), atol=1e-5)


class TwoPeople:
    """A pose estimator that finds somebody else from the second picture on."""

    name = "scripted"

    def __init__(self) -> None:
        self.n_calls = 0

    def estimate(self, image: np.ndarray, time_s: float) -> np.ndarray:
        self.n_calls += 1
        n_people = min(self.n_calls, 3)
        return np.full((n_people, 4, 3), 1.0 + time_s, np.float32)

    def close(self) -> None:
        """Nothing is open."""


def test_a_pose_estimator_fills_in_and_empty_places_are_zero(tmp_path: Path) -> None:
    pose = TwoPeople()
    prepared = prepare_streams(clip(tmp_path), CONFIG, StreamSources(pose=pose))
    people = prepared.arrays["skeleton"]
    assert pose.n_calls == len(people) == len(prepared.times_s)
    assert people.shape[1] == SHAPE.max_people
    assert people.all()
    # The second person, first seen in the second picture, stands there from the beginning.
    np.testing.assert_array_equal(people[0, 1], people[1, 1])
    assert prepared.notes == ()


def test_holes_between_sightings_are_bridged() -> None:
    def seen(*places: float) -> np.ndarray:
        return np.stack([np.full((4, 3), x, np.float32) for x in places] or [np.zeros((4, 3))])[
            : len(places)
        ]

    found = [seen(), seen(1.0), seen(), seen(), seen(4.0, 9.0), seen()]
    people = bridged(found, 4, 2)
    assert people.shape == (6, 1, 4, 3)  # the other one is there in one picture of six only
    assert people[:, 0, 0, 0].tolist() == [1, 1, 2, 3, 4, 4]
    assert bridged([seen(), seen()], 4, 2).shape == (2, 0, 4, 3)
    both = bridged([seen(1.0, 5.0), seen(2.0), seen(3.0, 7.0)], 4, 2)
    assert both[:, 1, 0, 0].tolist() == [5, 6, 7]


class Nobody(TwoPeople):
    """A pose estimator that finds nobody."""

    def estimate(self, image: np.ndarray, time_s: float) -> np.ndarray:
        return np.zeros((0, 4, 3), np.float32)


def test_a_pose_estimator_that_finds_nobody_says_so(tmp_path: Path) -> None:
    prepared = prepare_streams(clip(tmp_path), CONFIG, StreamSources(pose=Nobody()))
    assert prepared.streams == ("depth", "flow")
    assert prepared.notes == ("scripted found nobody: the skeleton is left out",)


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"a": np.zeros((3, 4, 3)), "b": np.zeros((3, 4, 3))}, "none called clip or skeleton"),
        ({"skeleton": np.zeros((3, 5, 3))}, "shape"),
        ({"skeleton": np.zeros((0, 4, 3))}, "shape"),
        ({"skeleton": np.full((3, 4, 3), np.nan)}, "others"),
        ({"skeleton": np.full((3, 4, 3), 1e6)}, "others"),
        ({"skeleton": np.full((3, 4, 3), "x")}, "<U1"),
        ({"skeleton": np.full((3, 4, 3), None)}, "allow_pickle"),
    ],
)
def test_skeletons_that_do_not_fit_are_refused(
    arrays: dict[str, Any], found: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "skeleton.npz", **arrays)
    with pytest.raises(SkeletonInvalid, match=found):
        read_skeleton(tmp_path / "skeleton.npz", "clip", 4)


def test_a_plain_array_and_two_people_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.ones((6, 2, 4, 3)))
    assert read_skeleton(tmp_path / "two.npy", "clip", 4).shape == (6, 2, 4, 3)
    (tmp_path / "no.npy").write_bytes(b"nothing of the kind")
    with pytest.raises(SkeletonInvalid):
        read_skeleton(tmp_path / "no.npy", "clip", 4)
    with pytest.raises(SkeletonInvalid):
        read_skeleton(tmp_path / "absent.npy", "clip", 4)


def test_windows_cover_the_clip_and_end_with_it() -> None:
    assert spans(30, 30, 5) == [(0, 30)]
    assert spans(20, 30, 5) == [(0, 20)]
    assert spans(23, 10, 5) == [(0, 10), (5, 15), (10, 20), (13, 23)]
    assert sampled((4, 9), 3).tolist() == [4, 6, 8]
    assert sampled((4, 5), 3).tolist() == [4, 4, 4]


def test_inputs_lie_between_minus_one_and_one() -> None:
    arrays: dict[str, Any] = {
        "depth": np.stack([np.full((4, 4), level, np.uint8) for level in (0, 115, 255)]),
        "rgb": np.stack([np.full((4, 4, 3), level, np.uint8) for level in (0, 51, 255)]),
        "flow": np.stack([np.full((4, 4, 2), step, np.int8) for step in (-127, 0, 127)]),
    }
    limits = Normalisation(DepthRange(70.0, 160.0))
    config = StreamConfig(("rgb", "depth", "flow"), n_frames=3, size_px=4, normalisation=limits)
    prepared = PreparedStreams(np.arange(3) / 15.0, 0.2, arrays)
    found = window_inputs(prepared, config, whole(prepared))
    assert found["depth"].shape == (1, 3, 4, 4)
    assert found["flow"].shape == (2, 3, 4, 4)
    assert found["depth"][0, :, 0, 0].tolist() == [-1, 0, 1]
    assert found["flow"][1, :, 0, 0].tolist() == [-1, 0, 1]
    np.testing.assert_allclose(found["rgb"][2, :, 0, 0], [-1, -0.6, 1], atol=1e-6)


def test_a_slow_clip_says_that_its_flow_is_poor(tmp_path: Path) -> None:
    config = StreamConfig(("flow",), fps=15.0, size_px=32)
    notes = prepare_streams(clip(tmp_path, fps=Fraction(8)), config).notes
    assert notes == ("8 pictures a second, fewer than 15: the flow is poor",)


def test_one_picture_has_no_flow(tmp_path: Path) -> None:
    path = clip(tmp_path, frame_times_s=(0.0,), events_s=(0.1,), duration_s=0.5)
    with pytest.raises(NoStream):
        prepare_streams(path, StreamConfig(("flow",), size_px=32))
    prepared = prepare_streams(path, StreamConfig(("depth", "flow"), size_px=32))
    assert prepared.streams == ("depth",)


def test_the_limits_hold(tmp_path: Path) -> None:
    with pytest.raises(TooLong):
        prepare_streams(clip(tmp_path), CONFIG, limits=MediaLimits(max_duration_s=1.0))
    with pytest.raises(MediaError):
        prepare_streams(tmp_path / "absent.mp4", CONFIG)


def test_what_is_inconsistent_is_refused() -> None:
    with pytest.raises(ValueError, match="expected some of"):
        StreamConfig(("infrared",))
    with pytest.raises(ValueError, match="above 0"):
        StreamConfig(("flow",), fps=0.0)
    with pytest.raises(ValueError, match="3 frames and 2 times"):
        PreparedStreams(np.zeros(2), 1.0, {"depth": np.zeros((3, 4, 4), np.uint8)})
    with pytest.raises(ValueError, match="found none"):
        PreparedStreams(np.zeros(2), 1.0, {})


def test_grey_has_no_chroma_and_a_view_keeps_it_so() -> None:
    assert chroma(moving(0.3)) == 0
    assert chroma(coloured(0.3)) > 2
    assert SquareView(0.5, 0.5, 1.0).cut(moving(0.3), 96).shape == (96, 96, 3)
