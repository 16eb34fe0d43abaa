"""Small pieces that the cases are made of: clips, WAV and FLAC bytes, MP4 boxes, H.264 headers."""

import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.media_factory import ClipSpec, Codecs, make_clip

SMALL = ClipSpec(duration_s=0.6, events_s=(0.2,))
SOUND_ONLY = ClipSpec(duration_s=0.6, events_s=(0.2,), has_video=False)
RATE_HZ = 16_000


def small(path: Path, suffix: str | None = None, **changes: object) -> bytes:
    """A clip of 0.6 s with 15 pictures, as bytes; `path` is only used on the way."""
    spec = ClipSpec(**{"duration_s": 0.6, "events_s": (0.2,), **changes})  # type: ignore[arg-type]
    return made(path, spec, suffix)


def made(path: Path, spec: ClipSpec, suffix: str | None = None) -> bytes:
    """A clip as bytes."""
    part = path.with_name("part" + (suffix or path.suffix))
    content = make_clip(part, spec).read_bytes()
    part.unlink()
    return content


def tone(duration_s: float = 0.6, rate_hz: int = RATE_HZ, level: float = 0.3) -> np.ndarray:
    """`[L]` float32 of 220 Hz."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * 220 * times_s)).astype(np.float32)


def pcm16(sound: np.ndarray) -> bytes:
    """Samples as 16-bit little-endian bytes."""
    return (sound * 32_767).astype("<i2").tobytes()


def wav(
    payload: bytes,
    *,
    channels: int = 1,
    rate_hz: int = RATE_HZ,
    bits: int = 16,
    tag: int = 1,
    size: int | None = None,
) -> bytes:
    """A WAV file; `size` is what its header claims of the payload."""
    block = channels * bits // 8
    fmt = struct.pack(
        "<HHIIHH", tag, channels, rate_hz, (rate_hz * block) & 0xFFFFFFFF, block & 0xFFFF, bits
    )
    stated = len(payload) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
    body += b"data" + struct.pack("<I", stated & 0xFFFFFFFF) + payload
    return b"RIFF" + struct.pack("<I", (len(body) + stated - len(payload)) & 0xFFFFFFFF) + body


def id3(size: int, frame_id: bytes = b"TIT2", body: bytes | None = None) -> bytes:
    """An ID3 tag whose only frame has this many bytes (or this body)."""
    content = b"\0" + b"x" * (size - 1) if body is None else body
    frame = frame_id + struct.pack(">IH", len(content), 0) + content
    return b"ID3\x03\0\0" + bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frame


def picture_file(codec: str, pix_fmt: str, size_px: tuple[int, int] = (16, 16)) -> bytes:
    """One encoded picture: a whole JPEG, PNG, WebP ... file."""
    width, height = size_px
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    context.time_base = Fraction(1, 25)
    image = np.full((height, width, 3), 90, np.uint8)
    frame = av.VideoFrame.from_ndarray(image).reformat(format=pix_fmt)
    frame.pts = 0
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


def write_clip(  # noqa: PLR0913
    path: Path,
    codec: str,
    pix_fmt: str,
    *,
    size_px: tuple[int, int] = (64, 64),
    n_pictures: int = 5,
    options: dict[str, str] | None = None,
    adjust: Callable[[av.VideoStream], None] | None = None,
    audio: str = "pcm_s16le",
) -> Path:
    """Pictures of one codec with a tone of the same length, at 25 fps."""
    width, height = size_px
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.thread_count = 1
        if adjust is not None:
            adjust(video)
        sound = container.add_stream(audio, rate=48_000)
        sound.layout = "mono"
        for index in range(n_pictures):
            image = np.full((height, width, 3), (40 + 10 * index) % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        write_tone(container, sound, n_pictures / 25)
    return path


def write_tone(container: object, stream: av.AudioStream, duration_s: float) -> None:
    """Encode a tone into a stream of an open container."""
    frame = av.AudioFrame.from_ndarray(tone(duration_s, 48_000)[None], "flt", "mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    container.mux(stream.encode(frame))  # type: ignore[attr-defined]
    container.mux(stream.encode(None))  # type: ignore[attr-defined]


Stamped = tuple[bytes, float]


def write_packets(
    path: Path,
    codec: str,
    pictures: Sequence[Stamped],
    *,
    duration_s: float = 0.6,
    size_px: tuple[int, int] = (16, 16),
) -> Path:
    """Encoded pictures at given times, put into a container as they are, with a tone."""
    tick = Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        video = container.add_mux_stream(codec, rate=25, width=size_px[0], height=size_px[1])
        is_avi = path.suffix == ".avi"
        sound = container.add_stream("pcm_s16le" if is_avi else "aac", rate=48_000)
        sound.layout = "mono"
        container.start_encoding()
        for content, time_s in pictures:
            packet = av.Packet(content)
            packet.stream, packet.time_base = video, tick
            packet.pts = packet.dts = round(time_s / tick)
            packet.is_keyframe = True
            container.mux(packet)
        write_tone(container, sound, duration_s)
    return path


BOXES_WITH_BOXES = {
    b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"dinf": 0, b"udta": 0,
    b"dref": 8, b"stsd": 8, b"avc1": 78,
}  # fmt: skip
"""Boxes of an MP4 that hold boxes, with the bytes between their head and the first of those."""


def _around(content: bytes, at: int) -> Iterator[int]:
    """Starts of the boxes that hold a position, outermost first."""
    start, end = 0, len(content)
    while start + 8 <= end:
        size = int.from_bytes(content[start : start + 4], "big")
        kind = content[start + 4 : start + 8]
        if not start <= at < start + size:
            start += max(8, size)
            continue
        yield start
        if kind not in BOXES_WITH_BOXES:
            return
        start, end = start + 8 + BOXES_WITH_BOXES[kind], start + size


def replace_in_boxes(content: bytes, old: bytes, new: bytes, n_head: int = 0) -> bytes:
    """Replace bytes of an MP4 whose index comes last, keeping the boxes' sizes right.

    `n_head` bytes of `old` come before the point at which the boxes around it are looked up.
    """
    at = content.rindex(old)
    changed = bytearray(content[:at] + new + content[at + len(old) :])
    for start in _around(content, at - 1 + n_head):
        size = int.from_bytes(content[start : start + 4], "big") + len(new) - len(old)
        changed[start : start + 4] = size.to_bytes(4, "big")
    return bytes(changed)


def patched(content: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes at an offset after every place that a name stands."""
    changed = bytearray(content)
    at = content.find(name)
    while at >= 0:
        start = at + len(name) + offset
        changed[start : start + len(value)] = value
        at = content.find(name, at + 1)
    return bytes(changed)


class Bits:
    """Writes bits, with the Exp-Golomb numbers of H.264."""

    def __init__(self) -> None:
        self._bits = ""

    def put(self, value: int, n_bits: int) -> "Bits":
        self._bits += format(value, f"0{n_bits}b")
        return self

    def golomb(self, *values: int) -> "Bits":
        for value in values:
            coded = format(value + 1, "b")
            self._bits += "0" * (len(coded) - 1) + coded
        return self

    def content(self) -> bytes:
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
        for ending in (b"\0\0\0", b"\0\0\1", b"\0\0\2", b"\0\0\3"):
            raw = raw.replace(ending, ending[:2] + b"\3" + ending[2:])
        return raw


def h264_picture(width: int, height: int) -> bytes:
    """A key picture of this size whose body is only begun: the headers are right."""
    sps = Bits().put(66, 8).put(0, 8).put(62, 8).golomb(0, 0, 2, 1).put(0, 1)
    sps.golomb(width // 16 - 1, height // 16 - 1).put(0b1100, 4)
    pps = Bits().golomb(0, 0).put(0, 2).golomb(0, 0, 0).put(0, 3).golomb(0, 0, 0).put(0, 3)
    piece = Bits().golomb(0, 7, 0).put(0, 4).golomb(0).put(0, 2).golomb(0, 3, 0, 0)
    start = b"\0\0\0\1"
    units = (b"\x67" + sps.content(), b"\x68" + pps.content(), b"\x65" + piece.content())
    return b"".join(start + unit for unit in units)


def _crc_table(polynomial: int, n_bits: int) -> list[int]:
    top, mask = 1 << (n_bits - 1), (1 << n_bits) - 1
    table = []
    for byte in range(256):
        value = byte << (n_bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)
FLAC_BLOCK_SAMPLES = 65_535


def flac_of_silence(duration_s: float, rate_hz: int, n_channels: int) -> bytes:
    """A FLAC file with very long blocks of nothing, whose header does not tell its length."""
    info = struct.pack(">HH", FLAC_BLOCK_SAMPLES, FLAC_BLOCK_SAMPLES) + bytes(6)
    packed = rate_hz << 44 | (n_channels - 1) << 41 | 15 << 36
    info += packed.to_bytes(8, "big") + bytes(16)
    n_blocks = round(duration_s * rate_hz / FLAC_BLOCK_SAMPLES)
    blocks = [_flac_block(index, n_channels) for index in range(n_blocks)]
    return b"fLaC\x80\0\0\x22" + info + b"".join(blocks)


def _flac_block(index: int, n_channels: int) -> bytes:
    number = chr(index).encode("utf-8", "surrogatepass")
    head = bytes([0xFF, 0xF8, 0x70, (n_channels - 1) << 4]) + number
    head += struct.pack(">H", FLAC_BLOCK_SAMPLES - 1)
    crc8 = 0
    for byte in head:
        crc8 = _CRC8[crc8 ^ byte]
    block = head + bytes([crc8]) + bytes(3 * n_channels)
    crc16 = 0
    for byte in block:
        crc16 = (crc16 << 8 & 0xFFFF) ^ _CRC16[crc16 >> 8 ^ byte]
    return block + struct.pack(">H", crc16)


PNG_IN_AVI = Codecs("png", "pcm_s16le", "rgb24")
