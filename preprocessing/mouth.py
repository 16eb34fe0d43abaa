"""Mouth crops of followed faces: landmarks while decoding, smoothed poses, crops at 25 fps."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import BundleInvalid
from models.mouth_clarity import MouthClarityNet
from models.mouth_landmarks import N_MOUTH_POINTS, MouthLandmarksConfig, MouthLandmarksNet
from models.weights import load_strict, load_weights, packaged, read_spec
from preprocessing.face_patch import FacePatch, check_box, cut_patch
from preprocessing.mouth_clarity import ClarityWatch, is_obscured
from preprocessing.mouth_geometry import (
    face_pose,
    head_turn,
    nearest_pictures,
    smoothed_value,
    turned_about,
    warp_affine,
)
from preprocessing.mouth_store import CropStore
from preprocessing.profiles import seen_in_profile_alone
from preprocessing.stillness import Span, is_within
from preprocessing.timeline import VIDEO_FPS, video_frame_time_s
from preprocessing.types import Frame, MouthTrack

_SAME_TIME_S = 0.012
_TIE_S = 1e-4


@dataclass(frozen=True, slots=True)
class CropConfig:
    """How mouths are cut out.

    Attributes:
        size_px: Side of a crop.
        width_eye_distances: Side of a crop in distances between the eyes' centres.
        centre_sigma_s: Width of the Gaussian that smooths the mouth's centre over time.
        pose_sigma_s: The same for scale and angle, which change more slowly.
        max_gap_s: A face missing for longer splits the smoothing; shorter gaps are bridged with
            the nearest crop.
        max_distance_s: A 25 fps frame farther than this from any picture of the face is invisible.
        max_turn: A head turned farther (`head_turn`, smoothed as the pose is) shows its profile.
            News anchors stay below 0.15; our landmark network sees a full profile as 0.22 to 0.3.
        front_reach_s: Seconds around a profile in which the head must be seen from the front, too,
            or the mouth is invisible: a profile alone says too little, see `profiles`.
        least_front: Least share of the pictures in there that show the front.
        patch_boxes: Side of the patch that is kept of each picture, in longer edges of the box.
        patch_px: Largest side of that patch in pixels.
        batch_size: Faces that go through the network at once.
    """

    size_px: int = 122
    width_eye_distances: float = 1.5
    centre_sigma_s: float = 0.06
    pose_sigma_s: float = 0.25
    max_gap_s: float = 0.2
    max_distance_s: float = 0.1
    max_turn: float = 0.2
    front_reach_s: float = 2.0
    least_front: float = 0.25
    patch_boxes: float = 1.7
    patch_px: int = 384
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is not positive.
        """
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"CropConfig.{name}: expected > 0, found {getattr(self, name)}")

    @property
    def look_ahead_s(self) -> float:
        """Later pictures that a crop waits for."""
        return 3 * max(self.centre_sigma_s, self.pose_sigma_s)


def load_mouth_landmarks() -> MouthLandmarksNet:
    """The landmark network that ships with the package, ready for inference.

    Raises:
        ModelError: The bundle is missing, damaged or of another shape.
    """
    folder = packaged("mouth-landmarks")
    spec = read_spec(folder)
    if spec.model != "mouth_landmarks":
        raise BundleInvalid(f"{folder}: expected model mouth_landmarks, found {spec.model!r}")
    net = MouthLandmarksNet(MouthLandmarksConfig(**spec.model_config))
    load_strict(net, load_weights(folder, spec), str(folder))
    return net.fused()


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A patch and what the network saw: source pixels; pose = `face_pose` and `head_turn`."""

    patch: FacePatch
    mouth_px: NDArray[np.float32]
    pose: NDArray[np.float64]


@dataclass(slots=True)
class _Following:
    """One track: poses within reach of the smoothing, sightings that wait, results."""

    poses: deque[tuple[float, NDArray[np.float64]]] = field(default_factory=deque)
    waiting: deque[_Sighting] = field(default_factory=deque)
    times_s: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    mouths_px: list[NDArray[np.float32]] = field(default_factory=list)
    is_turned: list[bool] = field(default_factory=list)

    def append(self, sighting: _Sighting) -> None:
        self.poses.append((sighting.patch.time_s, sighting.pose))
        self.waiting.append(sighting)

    def forget_before(self, time_s: float) -> None:
        while self.poses and self.poses[0][0] < time_s:
            self.poses.popleft()


class MouthAccumulator:
    """Turns sightings of faces, in order of time, into finished crops with bounded look-ahead."""

    def __init__(self, config: CropConfig, clarity: MouthClarityNet | None = None) -> None:
        """Start empty; with `clarity`, mouths that cannot be seen for what is before them go."""
        self._config = config
        self._watch = ClarityWatch(clarity)
        self._store = CropStore(config.size_px)
        self._tracks: dict[int, _Following] = {}

    def append(self, sighting: _Sighting) -> None:
        """Take one sighting; finish the crops that have seen all they wait for."""
        now_s = sighting.patch.time_s
        following = self._tracks.setdefault(sighting.patch.track_id, _Following())
        self._end_segments(now_s)
        following.append(sighting)
        self._advance(following, now_s - self._config.look_ahead_s)

    def _end_segments(self, now_s: float) -> None:
        """Finish the tracks that have not been seen for too long to be bridged."""
        limit_s = now_s - self._config.max_gap_s - _TIE_S
        for following in self._tracks.values():
            if following.poses and following.poses[-1][0] < limit_s:
                self._advance(following, math.inf)

    def _advance(self, following: _Following, until_s: float) -> None:
        """Finish the waiting sightings up to `until_s`; drop poses nobody looks back to."""
        waiting = following.waiting
        if waiting and waiting[0].patch.time_s <= until_s:
            times_s = np.array([time_s for time_s, _ in following.poses])
            poses = np.stack([pose for _, pose in following.poses])
            poses[:, 3] = np.unwrap(poses[:, 3])
            while waiting and waiting[0].patch.time_s <= until_s:
                self._finish(following, waiting.popleft(), times_s, poses)
        following.forget_before(until_s - self._config.look_ahead_s)

    def _finish(
        self,
        following: _Following,
        sighting: _Sighting,
        times_s: NDArray[np.float64],
        poses: NDArray[np.float64],
    ) -> None:
        patch, config = sighting.patch, self._config
        centre = smoothed_value(times_s, poses[:, :2], patch.time_s, config.centre_sigma_s)
        log_eyes, angle, turn = smoothed_value(
            times_s, poses[:, 2:], patch.time_s, config.pose_sigma_s
        )
        crop_px = config.width_eye_distances * math.exp(log_eyes)
        matrix = turned_about((centre - patch.corner_px) * patch.scale, angle)
        zoom = config.size_px / (crop_px * patch.scale)
        matrix *= zoom
        matrix[:, 2] += config.size_px / 2
        following.times_s.append(patch.time_s)
        following.is_turned.append(abs(turn) > config.max_turn)
        following.mouths_px.append(sighting.mouth_px)
        crop = warp_affine(patch.grey, matrix, config.size_px)
        following.rows.append(self._store.append(crop))
        self._watch.append(crop)

    def finish(
        self, start_s: float, n_video_frames: int, still_s: Sequence[Span] = ()
    ) -> dict[int, MouthTrack]:
        """Crops of every track on the 25 fps grid from `start_s`; the accumulator is used up.

        In the stretches `still_s` the picture did not move: lips that stand still there say
        nothing, and count as absent.
        """
        for following in self._tracks.values():
            self._advance(following, math.inf)
        clarity = self._watch.finish()
        mouths = {
            track_id: self._on_grid(following, clarity, (start_s, n_video_frames), still_s)
            for track_id, following in self._tracks.items()
        }
        self._store.close()
        return mouths

    def _on_grid(
        self,
        following: _Following,
        clarity: NDArray[np.float32],
        grid: tuple[float, int],
        still_s: Sequence[Span],
    ) -> MouthTrack:
        start_s, n_frames = grid
        centres_s = video_frame_time_s(0, start_s) + np.arange(n_frames) / VIDEO_FPS
        shown = nearest_pictures(
            np.array(following.times_s), centres_s, self._config.max_distance_s
        )
        is_present = (shown >= 0) & ~is_within(centres_s, still_s)
        is_turned = seen_in_profile_alone(
            is_present,
            np.array(following.is_turned)[shown],
            self._config.front_reach_s,
            self._config.least_front,
        )
        is_visible = is_present & ~is_turned
        rows = np.array(following.rows)[shown]
        obscured = is_obscured(clarity[rows], is_visible)
        is_visible &= ~obscured
        rows = np.where(is_visible, rows, -1)
        landmarks_px = np.full((n_frames, N_MOUTH_POINTS, 2), np.nan, np.float32)
        landmarks_px[is_visible] = np.stack(following.mouths_px)[shown[is_visible]]
        crops = self._store.gather(rows)
        return MouthTrack(crops, is_visible, start_s, landmarks_px, is_turned, obscured)


class MouthCropper:
    """Follows the mouths of several faces through one pass over the pictures.

    Of each picture only a small grey patch a face is kept, and that for about a second.

    Args:
        net: The landmark network.
        config: Size and smoothing of the crops.
        clarity: Tells whether lips are to be seen; None takes every crop for one with lips.
    """

    def __init__(
        self,
        net: MouthLandmarksNet,
        config: CropConfig = CropConfig(),
        clarity: MouthClarityNet | None = None,
    ) -> None:
        """Start with no face."""
        self._net = net
        self._config = config
        self._accumulator = MouthAccumulator(config, clarity)
        self._waiting: list[FacePatch] = []
        self._last_s: dict[int, float] = {}

    def add(self, track_id: int, frame: Frame, box_xyxy: NDArray[Any]) -> None:
        """Take one face of one picture; the pictures of a track come in order of time.

        A picture less than 12 ms after the track's last one is passed over.

        Args:
            track_id: Which track the face belongs to.
            frame: The decoded picture; it is not kept.
            box_xyxy: `[4]` source pixels, half-open.

        Raises:
            ValueError: The box has no area, is not finite or is far larger than the picture.
        """
        check_box(box_xyxy, frame.image)
        if frame.time_s - self._last_s.get(track_id, -math.inf) < _SAME_TIME_S:
            return
        self._last_s[track_id] = frame.time_s
        patch_boxes, patch_px = self._config.patch_boxes, self._config.patch_px
        self._waiting.append(cut_patch(track_id, frame, box_xyxy, patch_boxes, patch_px))
        if len(self._waiting) >= self._config.batch_size:
            self._look()

    def finish(
        self, start_s: float, n_video_frames: int, still_s: Sequence[Span] = ()
    ) -> dict[int, MouthTrack]:
        """Crops of every track on the sound's clock; the cropper is used up.

        Frame v covers `start_s + v / 25` to `start_s + (v + 1) / 25`.

        Args:
            start_s: Time of the first sample of the sound.
            n_video_frames: How many 25 fps frames cover the sound.
            still_s: Stretches in which the picture stood still; the mouths are absent there.
        """
        self._look()
        return self._accumulator.finish(start_s, n_video_frames, still_s)

    def _look(self) -> None:
        patches, self._waiting = self._waiting, []
        if not patches:
            return
        matrices = [self._face_matrix(patch) for patch in patches]
        side_px = self._net.config.face_px
        faces = [
            warp_affine(patch.grey, matrix, side_px)
            for patch, matrix in zip(patches, matrices, strict=True)
        ]
        with torch.inference_mode():
            points = self._net(torch.from_numpy(np.stack(faces))).cpu().numpy()
        for patch, matrix, found in zip(patches, matrices, points, strict=True):
            in_patch = (found * side_px - matrix[:, 2]) / matrix[0, 0]
            points_px = in_patch / patch.scale + patch.corner_px
            mouth_px = points_px[:N_MOUTH_POINTS].astype(np.float32)
            pose = np.append(face_pose(points_px), head_turn(points_px))
            self._accumulator.append(_Sighting(patch, mouth_px, pose))

    def _face_matrix(self, patch: FacePatch) -> NDArray[np.float64]:
        """`[2, 3]` from patch pixels to the network's face crop; no rotation."""
        net_config = self._net.config
        side_px = patch.face_side_px * net_config.box_enlargement
        zoom = net_config.face_px / (side_px * patch.scale)
        corner = patch.face_centre_px - side_px / 2
        offset = (patch.corner_px - corner) * patch.scale * zoom
        return np.array([[zoom, 0.0, offset[0]], [0.0, zoom, offset[1]]])
