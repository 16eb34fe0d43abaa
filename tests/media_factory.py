"""Clips and sound files made for tests: a flash and a click at the same instants."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

Picture = Callable[[float], NDArray[np.uint8]]
FLASH_LEVEL = 128
TIME_BASE = Fraction(1, 90_000)


@dataclass(frozen=True, slots=True)
class Codecs:
    """How a container is filled."""

    video: str
    audio: str
    pix_fmt: str = "yuv420p"


CODECS = {
    ".mp4": Codecs("libx264", "aac"),
    ".mov": Codecs("libx264", "aac"),
    ".mkv": Codecs("libx264", "libopus"),
    ".webm": Codecs("libvpx", "libopus"),
    ".ts": Codecs("libx264", "aac"),
    ".avi": Codecs("mjpeg", "pcm_s16le", "yuvj420p"),
    ".flv": Codecs("flv", "aac"),
    ".mpg": Codecs("mpeg2video", "mp2"),
}


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """What to make; times are on the clip's clock, seconds.

    Attributes:
        events_s: Instants of the clicks; the picture nearest to each is white.
        frame_times_s: Instants of the pictures; None means `fps` from `video_start_s`.
        picture: Draws the picture of an instant, `[height, width, 3]`; None: flashes on black.
        sound: `[C, L]` or `[L]` float32 from `audio_start_s`; None: clicks in silence.
        rotation_deg: Counter-clockwise turn that the display matrix asks for.
    """

    events_s: tuple[float, ...] = (0.4, 1.2)
    duration_s: float = 1.6
    fps: Fraction = Fraction(25)
    size_px: tuple[int, int] = (64, 48)
    rate_hz: int = 48_000
    layout: str = "mono"
    video_start_s: float = 0.0
    audio_start_s: float = 0.0
    frame_times_s: tuple[float, ...] | None = None
    picture: Picture | None = None
    sound: NDArray[np.float32] | None = None
    n_audio_tracks: int = 1
    rotation_deg: int = 0
    codecs: Codecs | None = None
    has_video: bool = True
    has_cover: bool = False
    muxer_options: tuple[tuple[str, str], ...] = ()

    @property
    def times_s(self) -> tuple[float, ...]:
        """Instants of the pictures."""
        if self.frame_times_s is not None:
            return self.frame_times_s
        n_frames = round((self.duration_s - self.video_start_s) * self.fps)
        return tuple(self.video_start_s + float(i / self.fps) for i in range(n_frames))


_MADE: dict[tuple[str, ClipSpec], bytes] = {}


def make_clip(path: Path, spec: ClipSpec | None = None) -> Path:
    """Write the clip; the container is the one of the path's suffix. Equal clips are made once."""
    spec = spec or ClipSpec()
    if spec.sound is not None:
        return _write_clip(path, spec)
    key = (path.suffix, spec)
    if key not in _MADE:
        _MADE[key] = _write_clip(path, spec).read_bytes()
    path.write_bytes(_MADE[key])
    return path


def _write_clip(path: Path, spec: ClipSpec) -> Path:
    codecs = spec.codecs or CODECS[path.suffix]
    options = dict(spec.muxer_options)
    with av.open(str(path), "w", container_options=options) as container:
        video = _add_video(container, codecs, spec) if spec.has_video else None
        tracks = [_add_audio(container, codecs, spec) for _ in range(spec.n_audio_tracks)]
        cover = _add_cover(container) if spec.has_cover else None
        packets = list(_video_packets(video, spec)) if video is not None else []
        for track_index, track in enumerate(tracks):
            packets += _audio_packets(track, spec, gain=1.0 / (1 + track_index))
        if cover is not None:
            packets.insert(0, _cover_packet(cover))
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


def _add_video(container: OutputContainer, codecs: Codecs, spec: ClipSpec):
    options = {
        "libx264": {"preset": "ultrafast"},
        "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    }
    stream = container.add_stream(
        codecs.video, rate=spec.fps, options=options.get(codecs.video, {})
    )
    stream.width, stream.height = spec.size_px
    stream.pix_fmt = codecs.pix_fmt
    stream.thread_count = 1
    if codecs.video == "libx264":
        stream.codec_context.time_base = TIME_BASE
    if spec.rotation_deg:
        stream.set_display_rotation(spec.rotation_deg)
    return stream


def _add_audio(container: OutputContainer, codecs: Codecs, spec: ClipSpec):
    stream = container.add_stream(codecs.audio, rate=spec.rate_hz)
    stream.layout = spec.layout
    return stream


def _add_cover(container: OutputContainer):
    stream = container.add_stream("png", rate=1)
    stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
    stream.disposition = av.stream.Disposition.attached_pic
    return stream


def _cover_packet(stream):
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 200, np.uint8))
    frame.pts, frame.time_base = 0, Fraction(1)
    return stream.encode(frame)[0]


def flash_indices(spec: ClipSpec) -> list[int]:
    """Indices of the white pictures."""
    times = np.array(spec.times_s)
    return [int(np.abs(times - event_s).argmin()) for event_s in spec.events_s]


def _video_packets(stream, spec: ClipSpec):
    width, height = spec.size_px
    flashes = set(flash_indices(spec))
    tick = TIME_BASE if stream.codec_context.name == "libx264" else 1 / spec.fps
    for index, time_s in enumerate(spec.times_s):
        if spec.picture is not None:
            image = spec.picture(time_s)
        else:
            image = np.full((height, width, 3), 255 if index in flashes else 0, np.uint8)
        frame = av.VideoFrame.from_ndarray(image)
        frame.time_base = tick
        frame.pts = round(Fraction(time_s).limit_denominator(10**6) / tick)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def clicks(spec: ClipSpec) -> NDArray[np.float32]:
    """`[L]` silence with a click of about 1 ms at every event."""
    n_samples = round((spec.duration_s - spec.audio_start_s) * spec.rate_hz)
    times_s = spec.audio_start_s + np.arange(n_samples) / spec.rate_hz
    sound = np.zeros(n_samples)
    for event_s in spec.events_s:
        sound += 0.8 * np.exp(-(((times_s - event_s) / 2e-4) ** 2))
    return sound.astype(np.float32)


def _audio_packets(stream, spec: ClipSpec, gain: float):
    sound = np.atleast_2d(clicks(spec) if spec.sound is None else spec.sound)
    n_channels = len(stream.layout.channels)
    sound = np.broadcast_to(sound * np.float32(gain), (n_channels, sound.shape[1]))
    first_pts = round(spec.audio_start_s * spec.rate_hz)
    return list(_encode_sound(stream, sound, spec.rate_hz, spec.layout, first_pts))


def _encode_sound(stream, sound, rate_hz: int, layout: str, first_pts: int):
    for start in range(0, sound.shape[1], 4096):
        block = np.ascontiguousarray(sound[:, start : start + 4096], np.float32)
        frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
        frame.sample_rate = rate_hz
        frame.time_base = Fraction(1, rate_hz)
        frame.pts = first_pts + start
        yield from stream.encode(frame)
    yield from stream.encode(None)


def make_sound(
    path: Path,
    sound: NDArray[np.float32],
    rate_hz: int = 16_000,
    *,
    layout: str = "mono",
    codec: str = "pcm_f32le",
) -> Path:
    """Write `[L]` or `[C, L]` float samples as a sound file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        if codec == "pcm_f32le":
            stream.format = "flt"
        for packet in _encode_sound(stream, np.atleast_2d(sound), rate_hz, layout, 0):
            container.mux(packet)
    return path


def flash_times_s(frames) -> list[float]:
    """Instants of the white pictures of a `FrameStream`."""
    return [frame.time_s for frame in frames if frame.image.mean() > FLASH_LEVEL]


def click_times_s(waveform, n_clicks: int = 2) -> list[float]:
    """Instants of the loudest clicks of a `Waveform`, in order."""
    loudness = np.abs(waveform.samples).astype(np.float64)
    reach = waveform.sample_rate_hz // 10
    found = []
    for _ in range(n_clicks):
        peak = int(loudness.argmax())
        found.append(waveform.start_s + peak / waveform.sample_rate_hz)
        loudness[max(0, peak - reach) : peak + reach] = 0.0
    return sorted(found)


def truncate(path: Path, share: float) -> Path:
    """Keep only the first `share` of a file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def flip_bytes(path: Path, positions: Sequence[int]) -> Path:
    """Invert single bytes of a file."""
    content = bytearray(path.read_bytes())
    for position in positions:
        content[position] ^= 0xFF
    path.write_bytes(bytes(content))
    return path
