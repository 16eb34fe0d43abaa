"""What a recognition head looks at: streams, rates, sizes, ranges; travels in its bundle."""

from dataclasses import dataclass, field

from preprocessing.square_view import SquareView


@dataclass(frozen=True, slots=True)
class DepthRange:
    """Grey levels of a depth picture: below `low` is background (-1), `high` is nearest (1)."""

    low: float = 0.0
    high: float = 255.0


@dataclass(frozen=True, slots=True)
class FlowLimit:
    """Motion that becomes 1, in pixels of the head's picture from one picture to the next."""

    limit_px: float = 20.0


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What becomes -1 and 1; colour is always the whole range of a byte."""

    depth: DepthRange = field(default_factory=DepthRange)
    flow: FlowLimit = field(default_factory=FlowLimit)


@dataclass(frozen=True, slots=True)
class SkeletonConfig:
    """Shape of a skeleton's window.

    Attributes:
        n_frames: Frames of a window.
        torso_joint: Origin of every frame.
        n_joints: Joints of a person.
        max_people: More than so many are left out.
    """

    n_frames: int = 32
    torso_joint: int = 2
    n_joints: int = 20
    max_people: int = 2


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What a head looks at; travels in its bundle.

    Attributes:
        streams: Out of `rgb`, `depth`, `flow` and `skeleton`.
        fps: Pictures a second; flow is the motion from one to the next.
        n_frames: Pictures of a window, spread evenly over it.
        size_px: Edge of each picture.
        view: The square of the clip's picture that is looked at.
        normalisation: How bytes and pixels become -1..1.
        skeleton: Shape of the skeleton's window.
        is_mirrored: The head learned from pictures that are mirrored, as some depth cameras give
            them; pictures that are not depth are then mirrored too, for left and right may be
            classes.
    """

    streams: tuple[str, ...] = ("depth", "flow")
    fps: float = 15.0
    n_frames: int = 16
    size_px: int = 112
    view: SquareView = field(default_factory=SquareView)
    normalisation: Normalisation = field(default_factory=Normalisation)
    skeleton: SkeletonConfig = field(default_factory=SkeletonConfig)
    is_mirrored: bool = False

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: A stream is unknown, none is wanted, or a number is not positive.
        """
        known = ("rgb", "depth", "flow", "skeleton")
        if not self.streams or not set(self.streams) <= set(known):
            raise ValueError(f"streams: expected some of {known}, found {self.streams}")
        if min(self.fps, self.n_frames, self.size_px) <= 0:
            raise ValueError("fps, n_frames and size_px: expected numbers above 0")
