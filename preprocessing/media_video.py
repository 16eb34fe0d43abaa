"""Pictures of a clip, streamed in presentation order on the clip's clock."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from preprocessing.errors import FrameRateLimit, TooLong, Unreadable
from preprocessing.media_limits import BROADCASTS, MediaLimits
from preprocessing.media_open import (
    PacketDecoder,
    check_pixels,
    choose_video,
    clock_zero_s,
    codec_name,
    open_container,
)
from preprocessing.types import Frame

DEFAULT_FPS = 25.0
MAX_PIXEL_ASPECT = 4
FORWARD_JUMP_S = 10.0
BACKWARD_JUMP_S = 1.0
N_MATRIX_VALUES = 9
N_MEASURED_FRAMES = 12


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a decoded picture must be turned to stand upright.

    Attributes:
        is_transposed: Rows become columns first.
        is_flipped_x: Then left and right change places.
        is_flipped_y: Then top and bottom change places.
    """

    is_transposed: bool = False
    is_flipped_x: bool = False
    is_flipped_y: bool = False

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn `[H, W, 3]`; the result is contiguous."""
        if self.is_transposed:
            image = image.transpose(1, 0, 2)
        if self.is_flipped_x:
            image = image[:, ::-1]
        if self.is_flipped_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


def orientation_of(frame: VideoFrame, codec: str = "") -> Orientation:
    """Read a frame's display matrix, rounded to quarter turns and mirrors.

    PNG tells its turn but no mirror: looking at what else lies beside a frame makes PyAV 18 free
    the name of a colour profile twice, and no other codec here names one.
    """
    if codec == "png":
        turn = math.radians(frame.rotation)
        cos, sin = round(math.cos(turn)), round(math.sin(turn))
        return _orientation(cos, -sin, sin, cos)
    side = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]
    if side is None:
        return Orientation()
    matrix = np.frombuffer(bytes(side), np.int32, N_MATRIX_VALUES).astype(np.int64)
    return _orientation(*(int(matrix[i]) for i in (0, 1, 3, 4)))


def _orientation(x_to_x: int, x_to_y: int, y_to_x: int, y_to_y: int) -> Orientation:
    if abs(x_to_y) + abs(y_to_x) > abs(x_to_x) + abs(y_to_y):
        return Orientation(True, y_to_x < 0, x_to_y < 0)
    return Orientation(False, x_to_x < 0, y_to_y < 0)


class FrameClock:
    """Turns timestamps into times that never go back, even where the stamps jump."""

    def __init__(self, zero_s: float, frame_s: float, is_broadcast: bool) -> None:
        """Start at `zero_s`; `frame_s` is assumed where a stamp is missing or has jumped."""
        self._shift_s = -zero_s
        self._frame_s = frame_s
        self._last_s: float | None = None
        self._max_step_s = FORWARD_JUMP_S if is_broadcast else float("inf")

    def time_s(self, stamp_s: float | None) -> float:
        """Time of the next frame on the clip's clock, seconds."""
        if self._last_s is None:
            self._last_s = 0.0 if stamp_s is None else stamp_s + self._shift_s
            return self._last_s
        expected_s = self._last_s + self._frame_s
        if stamp_s is None:
            stamp_s = expected_s - self._shift_s
        step_s = stamp_s + self._shift_s - self._last_s
        if step_s < -BACKWARD_JUMP_S or step_s > self._max_step_s:
            self._shift_s = expected_s - stamp_s
        self._last_s = max(self._last_s, stamp_s + self._shift_s)
        return self._last_s


class VideoFrames:
    """The `FrameStream` of a file: every iteration opens and decodes it again."""

    def __init__(self, path: Path, limits: MediaLimits | None = None) -> None:
        """Decode the first picture to learn size and orientation.

        Raises:
            MediaError: There is no picture, or it is beyond the limits.
        """
        self.path = path
        self._limits = limits or MediaLimits()
        self._n_damaged = 0
        with open_container(path, self._limits) as container:
            stream = self._stream(container)
            self._duration_s = _duration_s(container, stream)
            pictures = self._decoder(container, stream).frames()
            first = next(pictures, None)
            if not isinstance(first, VideoFrame):
                raise Unreadable(path, "a decodable picture", "none that can be decoded")
            self._start_s = (first.time or 0.0) - clock_zero_s(container)
            self._stored_size_px = _square_size_px(first, stream.sample_aspect_ratio)
            check_pixels(path, *self._stored_size_px, self._limits)
            self._orientation = orientation_of(first, codec_name(stream))
            self.fps_nominal = self._rate(stream, itertools.chain([first], pictures))

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height after rotation and with square pixels."""
        width, height = self._stored_size_px
        return (height, width) if self._orientation.is_transposed else (width, height)

    @property
    def start_s(self) -> float:
        """Time of the first picture on the clip's clock, seconds."""
        return self._start_s

    @property
    def duration_s(self) -> float:
        """Expected length in seconds (0.0 where the container does not say)."""
        return self._duration_s

    @property
    def n_damaged(self) -> int:
        """Packets that could not be decoded in the last full iteration."""
        return self._n_damaged

    def __iter__(self) -> Iterator[Frame]:
        """Decode from the start.

        Raises:
            MediaError: The stream is too damaged or beyond the limits.
        """
        with open_container(self.path, self._limits) as container:
            stream = self._stream(container)
            decoder = self._decoder(container, stream)
            is_broadcast = container.format.name in BROADCASTS
            clock = FrameClock(clock_zero_s(container), 1 / self.fps_nominal, is_broadcast)
            scaler = VideoReformatter()
            for index, picture in enumerate(decoder.frames()):
                assert isinstance(picture, VideoFrame)
                time_s = clock.time_s(picture.time if picture.pts is not None else None)
                self._check_place(index, time_s)
                yield Frame(index, time_s, self._image(picture, scaler))
            self._n_damaged = decoder.n_damaged

    def _stream(self, container: InputContainer) -> VideoStream:
        stream = choose_video(self.path, container, self._limits)
        if stream is None:
            raise Unreadable(self.path, "a moving picture", "none")
        return stream

    def _decoder(self, container: InputContainer, stream: VideoStream) -> PacketDecoder:
        return PacketDecoder(self.path, container, stream, self._limits)

    def _image(self, picture: VideoFrame, scaler: VideoReformatter) -> NDArray[np.uint8]:
        """RGB of one picture; one scaler serves a pass: a new one each time costs ten-fold."""
        check_pixels(self.path, picture.width, picture.height, self._limits)
        width, height = self._stored_size_px
        rgb = scaler.reformat(picture, width, height, "rgb24", threads=1).to_ndarray()
        return self._orientation.apply(rgb.astype(np.uint8, copy=False))

    def _rate(self, stream: VideoStream, pictures: Iterator[AudioFrame | VideoFrame]) -> float:
        """Rate from the header; where that is absurd, from the first stamps."""
        stated = stream.average_rate or stream.guessed_rate
        if stated and stated <= self._limits.max_fps:
            return float(stated)
        measured = _measured_fps(list(itertools.islice(pictures, N_MEASURED_FRAMES)))
        if measured > self._limits.max_fps:
            expected = f"at most {self._limits.max_fps:g} pictures a second"
            raise FrameRateLimit(self.path, expected, f"{measured:g}")
        return measured

    def _check_place(self, index: int, time_s: float) -> None:
        elapsed_s = time_s - self._start_s
        if elapsed_s > self._limits.max_duration_s:
            raise TooLong(self.path, f"at most {self._limits.max_duration_s:g} s", "more pictures")
        if index > self._limits.max_fps * (elapsed_s + 1.0):
            expected = f"at most {self._limits.max_fps:g} pictures a second"
            raise FrameRateLimit(self.path, expected, f"{index} in {elapsed_s:.2f} s")


def _measured_fps(pictures: Sequence[AudioFrame | VideoFrame]) -> float:
    times_s = [picture.time for picture in pictures if picture.time is not None]
    span_s = times_s[-1] - times_s[0] if times_s else 0.0
    return (len(times_s) - 1) / span_s if span_s > 0.0 else DEFAULT_FPS


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return max(0.0, (container.duration or 0) / 1e6)


def _square_size_px(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    aspect = pixel_aspect or Fraction(1)
    if aspect <= 0 or not Fraction(1, MAX_PIXEL_ASPECT) <= aspect <= MAX_PIXEL_ASPECT:
        aspect = Fraction(1)
    return max(1, round(frame.width * aspect)), frame.height
