"""Putting new sound under a clip's picture: picture packets are copied, not encoded again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from av.error import FFmpegError

from preprocessing.errors import OutputError
from preprocessing.media_limits import BROADCASTS, MediaLimits
from preprocessing.media_open import (
    PacketDecoder,
    choose_video,
    clock_zero_s,
    codec_name,
    open_container,
)
from preprocessing.media_video import BACKWARD_JUMP_S, FORWARD_JUMP_S
from preprocessing.media_write import (
    VIDEO_FORMATS,
    SoundEncoder,
    atomic_file,
    format_for,
    open_output,
)
from preprocessing.types import Progress, Waveform, no_progress

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_DEFAULT_LIMITS = MediaLimits()
INTERLEAVE_S = 0.5


def remux_with_audio(
    source: Path | str,
    waveform: Waveform,
    out_path: Path | str,
    *,
    limits: MediaLimits = _DEFAULT_LIMITS,
    progress: Progress = no_progress,
) -> None:
    """Write the source's picture with `waveform` as its only sound.

    Both keep their places on the clip's clock; where one of them starts before zero, both move by
    the same time so that nothing is lost. Other sound tracks, subtitles and covers are left out.

    Raises:
        OutputError: There is no picture, the container cannot hold it, or the write fails.
        MediaError: The source cannot be read.
    """
    source, out_path = Path(source), Path(out_path)
    sound_format = format_for(out_path, VIDEO_FORMATS)
    with open_container(source, limits) as clip:
        video = choose_video(source, clip, limits)
        if video is None:
            raise OutputError(out_path, "a picture to put the sound under", "a sound-only source")
        with atomic_file(out_path) as part, open_output(part, sound_format) as container:
            _check_codec(out_path, container, video)
            reader = PacketDecoder(source, clip, video, limits)
            zero_s = clock_zero_s(clip) - _lead_s(clip, video, waveform)
            encoder = SoundEncoder(
                container, sound_format, waveform, waveform.start_s + clock_zero_s(clip) - zero_s
            )
            # Opaque: copied as it is, for which no encoder is needed (there is none for all).
            picture = container.add_stream_from_template(video, opaque=True)
            _write_header(out_path, container, video)
            _mux(container, encoder, reader, picture, zero_s, progress)


def _check_codec(out_path: Path, container: OutputContainer, video: VideoStream) -> None:
    if codec_name(video) not in container.supported_codecs:
        raise _wrong_codec(out_path, video)


def _write_header(out_path: Path, container: OutputContainer, video: VideoStream) -> None:
    try:
        container.start_encoding()
    except FFmpegError as error:
        raise _wrong_codec(out_path, video) from error


def _wrong_codec(out_path: Path, video: VideoStream) -> OutputError:
    expected = f"a picture codec that {out_path.suffix} can hold"
    return OutputError(out_path, expected, f"{codec_name(video)} (try .mkv or .mp4)")


def _lead_s(clip: InputContainer, video: VideoStream, waveform: Waveform) -> float:
    """Seconds by which the earlier of sound and picture starts before zero."""
    video_start_s = 0.0
    if video.start_time is not None and video.time_base is not None:
        video_start_s = float(video.start_time * video.time_base) - clock_zero_s(clip)
    return max(0.0, -waveform.start_s, -video_start_s)


def _mux(
    container: OutputContainer,
    encoder: SoundEncoder,
    reader: PacketDecoder,
    picture: VideoStream,
    zero_s: float,
    progress: Progress,
) -> None:
    total_s = max(0.0, (reader.container.duration or 0) / 1e6)
    for packet in _shifted(reader, zero_s):
        assert packet.dts is not None
        time_s = float(packet.dts * packet.time_base)
        for sound_packet in encoder.packets(until_s=time_s + INTERLEAVE_S):
            container.mux(sound_packet)
        packet.stream = picture
        container.mux(packet)
        progress("write", time_s, max(total_s, time_s))
    for sound_packet in encoder.packets():
        container.mux(sound_packet)


def _shifted(reader: PacketDecoder, zero_s: float) -> Iterator[Packet[Any]]:
    """Yield copyable packets with stamps on the output's clock, decoding order increasing."""
    last_dts: int | None = None
    clock = _PacketClock(reader.container.format.name in BROADCASTS)
    for packet in reader.packets():
        if packet.size == 0 or (packet.pts is None and packet.dts is None):
            continue
        pts = packet.dts if packet.pts is None else packet.pts
        dts = packet.pts if packet.dts is None else packet.dts
        assert pts is not None
        assert dts is not None
        assert packet.time_base is not None
        shift = round(Fraction(zero_s) / packet.time_base) + clock.jump(dts, packet.time_base)
        dts = dts - shift if last_dts is None else max(dts - shift, last_dts + 1)
        packet.pts, packet.dts = max(pts - shift, dts), dts
        last_dts = dts
        yield packet


class _PacketClock:
    """Finds jumps of a broadcast's clock, which the sound has lost already."""

    def __init__(self, may_jump: bool) -> None:
        """Start without a jump."""
        self._may_jump = may_jump
        self._last_dts: int | None = None
        self._step = 0
        self._jump = 0

    def jump(self, dts: int, time_base: Fraction) -> int:
        """What all jumps so far add up to, in ticks."""
        if self._last_dts is not None:
            step = dts - self._last_dts
            if self._may_jump and not -BACKWARD_JUMP_S <= step * time_base <= FORWARD_JUMP_S:
                self._jump += step - self._step
            else:
                self._step = step
        self._last_dts = dts
        return self._jump
