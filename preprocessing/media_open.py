"""Opening a container safely and walking its packets; no decoding policy beyond that."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from preprocessing.errors import (
    MissingFile,
    NoAudioStream,
    ResolutionLimit,
    TooDamaged,
    TooManyStreams,
    Unreadable,
    UnsupportedCodec,
    UnsupportedContainer,
)
from preprocessing.media_limits import (
    BROADCASTS,
    DEMUXERS,
    DEMUXERS_WITHOUT_ZERO,
    VIDEO_CODECS,
    MediaLimits,
    is_audio_codec,
)

logger = logging.getLogger(__name__)

N_DECODER_THREADS = 2
MAX_DEMUX_FAILURES = 16
MAX_SAMPLES_PER_BYTE = 64
MAX_BEFORE_KEY = 300
_NOT_MOVING = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails


@contextlib.contextmanager
def open_container(path: Path, limits: MediaLimits) -> Iterator[InputContainer]:
    """Open a media file by its path and content, never by what its name or body points to.

    Raises:
        MissingFile: The path is not a regular file.
        UnsupportedContainer: The content belongs to a demuxer that is not accepted.
        Unreadable: FFmpeg finds no media in it.
        TooManyStreams: There are more streams than the limit.
    """
    if not path.is_file():
        found = "a directory" if path.is_dir() else "no such file"
        raise MissingFile(path, "a media file", found)
    if path.stat().st_size == 0:
        raise Unreadable(path, "a media file", "an empty file")
    container = _open(path, limits)
    with container:
        if container.format.name not in DEMUXERS:
            raise UnsupportedContainer(path, "a sound or video file", container.format.name)
        if len(container.streams) > limits.max_streams:
            found = f"{len(container.streams)}"
            raise TooManyStreams(path, f"at most {limits.max_streams} streams", found)
        _check_index(path, container)
        yield container


def _check_index(path: Path, container: InputContainer) -> None:
    """Refuse an MP4 of a few bytes that claims millions of samples: each opening would list them.

    Raises:
        Unreadable: It does.
    """
    if not container.format.name.startswith("mov"):
        return
    n_samples = max((stream.frames for stream in container.streams), default=0)
    if n_samples > MAX_SAMPLES_PER_BYTE * path.stat().st_size:
        raise Unreadable(path, "an index that fits the file", f"{n_samples} samples in it")


def _open(path: Path, limits: MediaLimits) -> InputContainer:
    try:
        try:
            return _call_open(path, [{"max_pixels": str(limits.max_pixels)}] * limits.max_streams)
        except ValueError as error:
            if isinstance(error, FFmpegError):
                raise
            return _call_open(path, [])  # FLV and MPEG show their streams only while being read
    except PermissionError as error:
        raise Unreadable(path, "a file that may be read", "permission denied") from error
    except FFmpegError as error:
        raise _explain_failed_open(path, error) from error


def _call_open(path: Path, stream_options: list[dict[str, str]]) -> InputContainer:
    container: InputContainer = av.open(  # type: ignore[call-overload]  # stub: list[str]
        f"file:{path.resolve()}",
        mode="r",
        container_options={"protocol_whitelist": "file", "format_whitelist": ",".join(DEMUXERS)},
        stream_options=stream_options,
        metadata_errors="replace",
    )
    return container


def _explain_failed_open(path: Path, error: FFmpegError) -> UnsupportedContainer | Unreadable:
    if isinstance(error, av.error.ArgumentError):
        return UnsupportedContainer(path, "a sound or video file", "a format that is not accepted")
    return Unreadable(
        path, "a sound or video file", f"content FFmpeg cannot open ({_words(error)})"
    )


def _words(error: FFmpegError) -> str:
    """FFmpeg's own words, without the path that the exception's text ends in."""
    return (error.strerror or type(error).__name__).lower()


def clock_zero_s(container: InputContainer) -> float:
    """Time, in the container's own stamps, that the clip's clock calls zero, seconds."""
    if container.format.name not in DEMUXERS_WITHOUT_ZERO or container.start_time is None:
        return 0.0
    return container.start_time / av.time_base


def container_duration_s(container: InputContainer) -> float:
    """Length that the container claims, 0.0 where it does not."""
    return max(0.0, (container.duration or 0) / av.time_base)


def least_duration_s(container: InputContainer) -> float:
    """Length that the container claims for certain; the rest shows itself while decoding.

    A broadcast's length is guessed from its first and last stamps, between which its clock may
    jump, and a recording cut out of a longer one may count from the start of that one.
    """
    if container.format.name in BROADCASTS:
        return 0.0
    start_s = max(0, container.start_time or 0) / av.time_base
    return max(0.0, container_duration_s(container) - start_s)


def choose_audio(path: Path, container: InputContainer, audio_track: int) -> AudioStream:
    """Return sound stream number `audio_track`, counted from 0.

    Raises:
        NoAudioStream: There is no sound, or no such track.
        UnsupportedCodec: Its codec is not accepted.
    """
    streams = container.streams.audio
    if not streams:
        raise NoAudioStream(path, "a sound track", "none")
    if not 0 <= audio_track < len(streams):
        raise NoAudioStream(path, f"sound track {audio_track}", f"tracks 0 to {len(streams) - 1}")
    stream = streams[audio_track]
    name = codec_name(stream)
    if not is_audio_codec(name):
        raise UnsupportedCodec(path, "a known sound codec", name)
    return stream


def choose_video(path: Path, container: InputContainer, limits: MediaLimits) -> VideoStream | None:
    """Return the first moving picture, or None; attached pictures do not count.

    Raises:
        UnsupportedCodec: Its codec is not accepted.
        ResolutionLimit: Its header names more pixels than the limit.
    """
    for stream in container.streams.video:
        if stream.disposition & _NOT_MOVING:
            continue
        name = codec_name(stream)
        if name not in VIDEO_CODECS:
            raise UnsupportedCodec(path, "a known picture codec", name)
        check_pixels(path, stream.codec_context.width, stream.codec_context.height, limits)
        return stream
    return None


def codec_name(stream: Stream) -> str:
    """FFmpeg's canonical name of a stream's codec, `unknown` where it has no decoder."""
    context = stream.codec_context
    return context.codec.canonical_name if context is not None else "unknown"


def check_pixels(path: Path, width: int, height: int, limits: MediaLimits) -> None:
    """Refuse a picture above the limit.

    Raises:
        ResolutionLimit: Width times height is above `limits.max_pixels`.
    """
    if width * height > limits.max_pixels:
        expected = f"at most {limits.max_pixels} pixels a picture"
        raise ResolutionLimit(path, expected, f"{width}x{height}")


@dataclass(slots=True)
class PacketDecoder:
    """Decodes one stream packet by packet; damaged ones are counted and skipped.

    Attributes:
        path: The file, for messages.
        container: The open container.
        stream: The stream to decode; the others are not read.
        limits: The budget of damaged packets.
        n_packets: Packets seen so far.
        n_damaged: Packets, of those, that could not be decoded.
    """

    path: Path
    container: InputContainer
    stream: AudioStream | VideoStream
    limits: MediaLimits
    n_packets: int = 0
    n_damaged: int = 0
    _last_error: str = field(default="", init=False)
    _has_decoded: bool = field(default=False, init=False)
    _n_before_key: int = field(default=0, init=False)

    def frames(self) -> Iterator[AudioFrame | VideoFrame]:
        """Yield frames in presentation order.

        Raises:
            TooDamaged: More packets are damaged than the budget allows.
        """
        for packet in self.packets():
            yield from self._decode(packet)
        if self.n_packets <= self.n_damaged and self.n_damaged:
            self._give_up()

    def packets(self) -> Iterator[Packet[Any]]:
        """Yield the stream's packets, the empty one that ends it included.

        Raises:
            TooDamaged: The container itself is too damaged.
        """
        self._prepare()
        n_failures = 0
        while n_failures < MAX_DEMUX_FAILURES:
            try:
                for packet in self.container.demux(self.stream):
                    self.n_packets += 1
                    yield packet
                return
            except IndexError:  # PyAV's word for a packet of a stream that appeared on the way
                logger.debug("%s: a packet of a late stream was passed over", self.path)
            except FFmpegError as error:
                n_failures += 1
                self.n_packets += 1
                self._count_damaged(error)

    def _prepare(self) -> None:
        for other in self.container.streams:
            if other.index != self.stream.index:
                other.discard = av.stream.Discard.all
        self.stream.codec_context.options = {"max_pixels": str(self.limits.max_pixels)}
        self.stream.codec_context.thread_type = ThreadType.AUTO
        self.stream.codec_context.thread_count = N_DECODER_THREADS

    def _decode(self, packet: Packet[Any]) -> Sequence[AudioFrame | VideoFrame]:
        try:
            frames = packet.decode()
        except FFmpegError as error:
            if not self._is_before_key(packet):
                self._count_damaged(error)
            return []
        self._has_decoded = self._has_decoded or bool(frames)
        return frames

    def _is_before_key(self, packet: Packet[Any]) -> bool:
        """Whether the recording starts in the middle: nothing before a key picture is damage."""
        if self._has_decoded or packet.is_keyframe or self.stream.type != "video":
            return False
        self._n_before_key += 1
        return self._n_before_key <= MAX_BEFORE_KEY

    def _count_damaged(self, error: FFmpegError) -> None:
        self.n_damaged += 1
        self._last_error = _words(error)
        logger.debug("%s: packet %d is damaged: %s", self.path, self.n_packets, error)
        forgiven = self.limits.max_damaged_packets
        if self.n_damaged > forgiven + self.limits.max_damaged_share * self.n_packets:
            self._give_up()

    def _give_up(self) -> None:
        found = f"{self.n_damaged} damaged of {self.n_packets} packets ({self._last_error})"
        raise TooDamaged(self.path, f"a decodable {self.stream.type} stream", found)
