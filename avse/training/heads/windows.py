"""Windows of a recording as the towers read them, whole or varied for training.

Nothing is ever mirrored: left and right are classes.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from preprocessing.motion import farneback_flow
from preprocessing.skeleton import centre_skeleton, stretch_skeleton
from preprocessing.square_view import SquareView


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """What a window is made of; travels in the bundle's settings.

    Attributes:
        fps: Pictures a second that are looked at; flow is the motion from one to the next.
        n_frames: Pictures of a window, spread evenly over it.
        size_px: Edge of each picture.
        view: Square that is cut from the picture.
        depth_low: Grey level that becomes -1; everything below is background.
        depth_high: Grey level that becomes 1.
        flow_limit_px: Motion that becomes 1, in pixels of `size_px`.
        n_skeleton_frames: Frames of a skeleton's window.
        torso_joint: Origin of the skeleton.
    """

    fps: float = 15.0
    n_frames: int = 16
    size_px: int = 112
    view: SquareView = field(default_factory=lambda: SquareView(0.5, 0.575, 0.85))
    depth_low: float = 70.0
    depth_high: float = 160.0
    flow_limit_px: float = 5.0
    n_skeleton_frames: int = 32
    torso_joint: int = 2


@dataclass(frozen=True, slots=True)
class Variation:
    """How one training variant of a clip differs from the clip.

    Attributes:
        start: Where its window begins, 0..1 of the clip.
        length: How much of the clip it takes.
        shift_x: Of the view, in parts of its side.
        shift_y: Likewise.
        zoom: Multiplies the view's side.
        levels: Added to the depth, in grey levels: the person stands nearer or farther.
    """

    start: float = 0.0
    length: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: float = 1.0
    levels: float = 0.0

    def move(self, view: SquareView) -> SquareView:
        """The view of this variant."""
        x = view.centre_x + self.shift_x * view.side
        y = view.centre_y + self.shift_y * view.side
        return SquareView(x, y, view.side * self.zoom)


PLAIN = Variation()


@dataclass(frozen=True, slots=True)
class VariationConfig:
    """Ranges of the variations; each is drawn evenly.

    Attributes:
        min_length: Shortest part of a clip.
        shift: Largest move of the view, in parts of its side.
        zoom: Largest relative change of its side.
        levels: Largest change of the depth, in grey levels.
    """

    min_length: float = 0.6
    shift: float = 0.06
    zoom: float = 0.1
    levels: float = 10.0

    def draw(self, rng: np.random.Generator) -> Variation:
        """A random variation."""
        length = rng.uniform(self.min_length, 1.0)
        return Variation(
            rng.uniform(0, 1 - length),
            length,
            rng.uniform(-self.shift, self.shift),
            rng.uniform(-self.shift, self.shift),
            rng.uniform(1 - self.zoom, 1 + self.zoom),
            rng.uniform(-self.levels, self.levels),
        )


def sampled_frames(n_source: int, n_frames: int, variation: Variation = PLAIN) -> NDArray[np.intp]:
    """Indices of `n_frames` pictures spread evenly over the part that a variation takes."""
    last = n_source - 1
    start, end = variation.start * last, (variation.start + variation.length) * last
    return np.round(np.linspace(start, min(end, last), n_frames)).astype(np.intp)


def at_rate(frames: NDArray[np.uint8], source_fps: float, fps: float) -> NDArray[np.uint8]:
    """Pictures `[T', H, W]` at another rate: the nearest one in time to each instant."""
    n_out = max(1, int((len(frames) - 1) * fps / source_fps) + 1)
    nearest = np.round(np.arange(n_out) * source_fps / fps).astype(np.intp)
    return frames[np.minimum(nearest, len(frames) - 1)]


def depth_window(
    frames: NDArray[np.uint8], spec: WindowSpec, variation: Variation = PLAIN
) -> NDArray[np.float32]:
    """`[1, n_frames, size, size]` in -1..1 from pictures `[T, H, W]` at `spec.fps`."""
    view = variation.move(spec.view)
    indices = sampled_frames(len(frames), spec.n_frames, variation)
    cut = np.stack([view.cut(frames[i], spec.size_px) for i in indices]).astype(np.float32)
    nearer = np.where(cut > 0, cut + variation.levels, 0.0)
    scaled = 2 * (nearer - spec.depth_low) / (spec.depth_high - spec.depth_low) - 1
    return np.clip(scaled, -1, 1).astype(np.float32)[None]


def flow_window(
    frames: NDArray[np.uint8], spec: WindowSpec, variation: Variation = PLAIN
) -> NDArray[np.float32]:
    """`[2, n_frames, size, size]` in -1..1: motion from the picture before; none in the first."""
    view = variation.move(spec.view)
    indices = sampled_frames(len(frames), spec.n_frames, variation)
    flows = [_motion_into(frames, i, view, spec.size_px) for i in indices]
    limited = np.clip(np.stack(flows) / spec.flow_limit_px, -1, 1)
    return np.ascontiguousarray(limited.transpose(3, 0, 1, 2), np.float32)


def _motion_into(
    frames: NDArray[np.uint8], index: int, view: SquareView, size_px: int
) -> NDArray[np.float32]:
    if index == 0:
        return np.zeros((size_px, size_px, 2), np.float32)
    return farneback_flow(view.cut(frames[index - 1], size_px), view.cut(frames[index], size_px))


@dataclass(frozen=True, slots=True)
class SkeletonNoise:
    """Ranges of a skeleton's variations.

    Attributes:
        min_length: Shortest part of a movement (paper: .5).
        turn_rad: Largest turn about the vertical axis.
        scale: Largest relative change of each axis.
        joint_m: Deviation of every joint, constant over the window.
    """

    min_length: float = 0.5
    turn_rad: float = 0.3
    scale: float = 0.1
    joint_m: float = 0.01


def skeleton_window(
    skeleton: NDArray[np.float32],
    spec: WindowSpec,
    noise: SkeletonNoise | None = None,
    rng: np.random.Generator | None = None,
) -> NDArray[np.float32]:
    """`[3, n_skeleton_frames, J, 1]`; varied where a noise and a generator are given."""
    centred = centre_skeleton(skeleton, spec.torso_joint)
    if noise is None or rng is None:
        return _axes_first(stretch_skeleton(centred, spec.n_skeleton_frames))
    length = rng.uniform(noise.min_length, 1.0)
    part = stretch_skeleton(centred, spec.n_skeleton_frames, rng.uniform(0, 1 - length), length)
    angle = rng.uniform(-noise.turn_rad, noise.turn_rad)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    scales = rng.uniform(1 - noise.scale, 1 + noise.scale, 3)
    moved = (part @ turn.T) * scales + rng.normal(0, noise.joint_m, (1, *part.shape[1:]))
    return _axes_first(moved.astype(np.float32))


def _axes_first(skeleton: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(skeleton.transpose(2, 0, 1)[..., None])
