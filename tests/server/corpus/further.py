"""Further odd files: indexes that claim too much, rare containers, starts from the middle."""

import base64
import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from functools import partial

import av
import numpy as np

from preprocessing import errors
from tests.media_factory import ClipSpec, Codecs, make_clip, make_sound
from tests.server.corpus.case import DAMAGED, FINE, UNREADABLE, Place, add, case, written
from tests.server.corpus.making import (
    RATE_HZ,
    SMALL,
    flac_of_silence,
    id3,
    patched,
    pcm16,
    picture_file,
    small,
    tone,
    wav,
    write_clip,
    write_packets,
    write_tone,
)

_SOUND = pcm16(tone())
_GOOD_WAV = wav(_SOUND)


# --- indexes ------------------------------------------------------------------------------------
def _index_of_many(n_samples: int, place: Place) -> None:
    """Every sample has one byte and lies in one chunk: a short index of very many samples."""
    content = small(place.path)
    for name, offset, value in (
        (b"stsz", 4, struct.pack(">II", 1, n_samples)),
        (b"stsc", 12, struct.pack(">I", n_samples)),
        (b"stts", 8, struct.pack(">I", n_samples)),
    ):
        content = patched(content, name, offset, value)
    place.path.write_bytes(content)


add("index_of_a_million_samples", ".mp4", partial(_index_of_many, 1_000_000), errors.Unreadable)


@case("index_of_samples_without_length", ".mp4", FINE, *DAMAGED, errors.TooLong)
def _(place: Place) -> None:
    content = patched(small(place.path), b"stts", 8, struct.pack(">II", 0x0FFFFFFF, 0))
    place.path.write_bytes(content)


@case("index_without_a_movie", ".mp4", *DAMAGED)
def _(place: Place) -> None:
    """A fragmented recording whose first part is missing."""
    options = (("movflags", "frag_every_frame+empty_moov+default_base_moof"),)
    content = small(place.path, muxer_options=options)
    place.path.write_bytes(content[content.index(b"moof") - 4 :])


@case("movie_without_fragments", ".mp4", *DAMAGED)
def _(place: Place) -> None:
    options = (("movflags", "frag_every_frame+empty_moov+default_base_moof"),)
    content = small(place.path, muxer_options=options)
    place.path.write_bytes(content[: content.index(b"moof") - 4])


def _edited(offset: int, value: bytes, place: Place) -> None:
    content = small(place.path, audio_start_s=0.1)
    place.path.write_bytes(patched(content, b"elst", offset, value))


add("edit_list_beyond_the_end", ".mp4", partial(_edited, 12, b"\x7f\xff\xff\xff"), FINE, *DAMAGED)
add("edit_list_before_the_start", ".mp4", partial(_edited, 12, b"\x80\0\0\0"), FINE, *DAMAGED)
add("edit_list_of_speed_zero", ".mp4", partial(_edited, 16, bytes(4)), FINE, *DAMAGED)
add("edit_list_of_no_length", ".mp4", partial(_edited, 8, bytes(4)), FINE, *DAMAGED)
add("edit_list_of_years", ".mp4", partial(_edited, 8, b"\x7f\xff\xff\xff"), FINE, *DAMAGED,
    errors.TooLong)  # fmt: skip


@case("size_zero_in_the_header_mp4", ".mp4", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = patched(small(place.path), b"avc1", 24, bytes(4))
    place.path.write_bytes(patched(content, b"tkhd", 76, bytes(8)))


@case("avi_of_many_claimed_streams", ".avi", FINE, *DAMAGED, errors.TooManyStreams)
def _(place: Place) -> None:
    place.path.write_bytes(patched(small(place.path), b"avih", 28, b"\xff\xff\xff\x7f"))


@case("avi_index_outside_the_file", ".avi", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = bytearray(small(place.path))
    start = content.rindex(b"idx1") + 8
    for at in range(start + 8, len(content) - 8, 16):
        content[at : at + 4] = b"\xf0\xff\xff\x7f"
    place.path.write_bytes(content)


@case("mkv_of_empty_blocks", ".mkv", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    blocks = b"\xa3\x84\x81\0\0\x80" * 100_000
    place.path.write_bytes(content + b"\x1f\x43\xb6\x75\x01" + bytes(7) + blocks)


@case("mkv_times_go_back", ".mkv", FINE, has_video=True)
def _(place: Place) -> None:
    jpeg = picture_file("mjpeg", "yuvj420p")
    times_s = [0.0, 0.04, 0.08, 0.02, 0.12, 0.06, 0.16, 0.2]
    content = write_packets(place.path, "mjpeg", [(jpeg, 0.04 * n) for n in range(8)]).read_bytes()
    for index, time_s in enumerate(times_s):
        old, new = struct.pack(">h", 40 * index), struct.pack(">h", round(1000 * time_s))
        content = content.replace(b"\x81" + old + b"\x80", b"\x81" + new + b"\x80", 1)
    place.path.write_bytes(content)


@case("ogg_of_60_streams", ".ogg", errors.TooManyStreams, *DAMAGED)
def _(place: Place) -> None:
    head = b"OpusHead\1\1" + struct.pack("<HIhB", 0, 48_000, 0, 0)
    pages = b""
    for serial in range(60):
        page = (
            b"OggS\0\2" + bytes(8) + struct.pack("<III", serial, 0, 0) + b"\1" + bytes([19]) + head
        )
        pages += page[:22] + struct.pack("<I", _ogg_sum(page)) + page[26:]
    place.path.write_bytes(pages)


def _ogg_sum(page: bytes) -> int:
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (0x04C11DB7 if total & 0x80000000 else 0)) & 0xFFFFFFFF
    return total


# --- bombs --------------------------------------------------------------------------------------
def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_with(name: bytes, head: bytes, n_bytes: int) -> bytes:
    png = picture_file("png", "rgb24")
    return png[:33] + _chunk(name, head + zlib.compress(bytes(n_bytes), 9)) + png[33:]


for _name, _kind, _head in (("words", b"zTXt", b"Comment\0\0"), ("colours", b"iCCP", b"a\0\0")):

    @case(f"png_of_packed_{_name}", ".mov", FINE, *DAMAGED)
    def _(place: Place, kind: bytes = _kind, head: bytes = _head) -> None:
        png = _png_with(kind, head, 4_000_000)
        write_packets(place.path, "png", [(png, 0.0), (png, 0.04)])


@case("cover_art_of_65500x65500_mp3", ".mp3", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    jpeg = patched(picture_file("mjpeg", "yuvj420p"), b"\xff\xc0", 3, b"\xff\xdc\xff\xdc")
    path = make_sound(place.path, tone(), codec="libmp3lame")
    path.write_bytes(id3(0, b"APIC", b"\0image/jpeg\0\3\0" + jpeg) + path.read_bytes())


@case("titles_500", ".mp3", FINE, *DAMAGED)
def _(place: Place) -> None:
    path = make_sound(place.path, tone(), codec="libmp3lame")
    path.write_bytes(500 * id3(100) + path.read_bytes())


# --- starts from the middle, lengths that differ -------------------------------------------------
@case("ts_from_the_middle", ".ts", FINE, has_video=True)
def _(place: Place) -> None:
    """The first key picture comes after 20 others."""
    options = {"preset": "ultrafast", "g": "25"}
    write_clip(place.path, "libx264", "yuv420p", n_pictures=75, options=options, audio="aac")
    content = place.path.read_bytes()
    place.path.write_bytes(content[188 * (len(content) // 188 // 10) :])


@case("ts_out_of_step", ".ts", FINE, *DAMAGED)
def _(place: Place) -> None:
    place.path.write_bytes(small(place.path)[77:])


@case("m2ts", ".m2ts", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    content = small(place.path, ".ts")
    packets = (content[at : at + 188] for at in range(0, len(content), 188))
    place.path.write_bytes(b"".join(b"\0\0\0\0" + packet for packet in packets))


@case("picture_much_longer_than_the_sound", ".mp4", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    make_clip(place.path, replace(SMALL, frame_times_s=tuple(float(n) for n in range(50))))


@case("sound_much_longer_than_the_picture", ".mp4", FINE, has_video=True, duration_s=20.0)
def _(place: Place) -> None:
    make_clip(place.path, replace(SMALL, duration_s=20.0, frame_times_s=(0.0, 0.04, 0.08)))


# --- sounds -------------------------------------------------------------------------------------
def _chunks(*chunks: tuple[bytes, bytes], kind: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(
        name + struct.pack("<I", len(content)) + content for name, content in chunks
    )
    return kind + struct.pack("<I", len(body)) + body


_FORMAT = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
_GUID = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
_EXTENSIBLE = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE_HZ, 3 * RATE_HZ, 3, 24, 22, 20, 4)
_24_BIT = b"".join(b"\0" + _SOUND[at : at + 2] for at in range(0, len(_SOUND), 2))
for _name, _content in (
    ("extensible_24_bit", _chunks((b"fmt ", _EXTENSIBLE + b"\1\0" + _GUID), (b"data", _24_BIT))),
    ("32_bit", wav((tone() * 2**31).astype("<i4").tobytes(), bits=32)),
    ("broadcast", _chunks((b"bext", bytes(602)), (b"fmt ", _FORMAT), (b"data", _SOUND))),
    ("junk_first", _chunks((b"JUNK", bytes(28)), (b"fmt ", _FORMAT), (b"data", _SOUND))),
    ("words_last", _chunks((b"fmt ", _FORMAT), (b"data", _SOUND), (b"LIST", b"INFOx"))),
    ("rf64", _chunks((b"ds64", struct.pack("<QQQI", 1, len(_SOUND), len(_SOUND) // 2, 0)),
                     (b"fmt ", _FORMAT), (b"data", _SOUND), kind=b"RF64")),
    ("24_channels", wav(pcm16(np.repeat(tone(), 24)), channels=24)),
    ("64_channels", wav(pcm16(np.repeat(tone(), 64)), channels=64)),
    ("rate_12345", wav(pcm16(tone(0.6, 12_345)), rate_hz=12_345)),
):  # fmt: skip
    add(f"wav_{_name}", ".wav", written(_content), FINE, has_video=False, duration_s=0.6)
add("wav_65_channels", ".wav", written(wav(pcm16(np.repeat(tone(), 65)), channels=65)),
    errors.NoAudioStream)  # fmt: skip
add("wav_data_before_format", ".wav", written(_chunks((b"data", _SOUND), (b"fmt ", _FORMAT))),
    FINE, *DAMAGED)  # fmt: skip
add("wav_without_format", ".wav", written(_chunks((b"data", _SOUND))), *DAMAGED)
add("wav_two_sounds", ".wav", written(_chunks((b"fmt ", _FORMAT), (b"data", _SOUND),
                                              (b"data", _SOUND))), FINE)  # fmt: skip
add("flac_655350_hz", ".flac", written(flac_of_silence(0.5, 655_350, 1)), FINE)
for _name, _value in (("signalling_nan", b"\1\0\x80\x7f"), ("minus_infinite", b"\0\0\x80\xff")):
    add(f"wav_{_name}", ".wav", written(wav(_value * 9_600, bits=32, tag=3)), FINE,
        warning="not numbers")  # fmt: skip


# --- containers ---------------------------------------------------------------------------------
def _clip(codec: str, audio: str, size_px: tuple[int, int], place: Place) -> None:
    write_clip(place.path, codec, "yuv420p", size_px=size_px, audio=audio)


for _name, _suffix, _codec, _audio, _size in (
    ("asf", ".asf", "msmpeg4", "libmp3lame", (64, 64)),
    ("three_gp", ".3gp", "h263", "aac", (176, 144)),
    ("m4v", ".m4v", "mpeg4", "aac", (64, 64)),
    ("f4v", ".f4v", "libx264", "aac", (64, 64)),
    ("vob", ".vob", "mpeg2video", "ac3", (64, 64)),
):
    add(f"container_{_name}", _suffix, partial(_clip, _codec, _audio, _size), FINE, has_video=True)


@case("container_mxf", ".mxf", FINE, has_video=True)
def _(place: Place) -> None:
    write_clip(place.path, "mpeg2video", "yuv420p", size_px=(64, 64), audio="pcm_s16le")


@case("chapters_1000", ".mkv", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    with av.open(str(place.path), "w") as container:
        stream = container.add_stream("libopus", rate=48_000)
        stream.layout = "mono"
        tick = Fraction(1, 1000)
        container.set_chapters([
            {"id": n, "start": n, "end": n + 1, "time_base": tick, "metadata": {"title": "x" * 99}}
            for n in range(1_000)
        ])  # fmt: skip
        write_tone(container, stream, 0.6)


@case("many_words_in_the_header", ".mkv", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    with av.open(str(place.path), "w") as container:
        for index in range(2_000):
            container.metadata[f"key{index}"] = "\N{PILE OF POO}" * 50
        stream = container.add_stream("libopus", rate=48_000)
        stream.layout = "mono"
        write_tone(container, stream, 0.6)


# --- what is no sound and no film ----------------------------------------------------------------
for _name, _suffix, _content in (
    ("base64_of_a_sound", ".wav", base64.b64encode(_GOOD_WAV)),
    ("json", ".mp4", b'{"file": "http://127.0.0.1/", "a": [' + b"[" * 5_000),
    ("utf_16", ".mp4", "#EXTM3U\nhttp://127.0.0.1/\n".encode("utf-16")),
    ("web_vtt", ".mp4", b"WEBVTT\n\n00:00.000 --> 00:01.000\n<c>hello</c>\n"),
    ("rar", ".mp4", b"Rar!\x1a\7\1\0" + bytes(2_000)),
    ("seven_zip", ".mp4", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(2_000)),
    ("xz", ".mp4", b"\xfd7zXZ\0" + bytes(2_000)),
    ("iso_image", ".mp4", bytes(32_769) + b"CD001\1\0" + bytes(2_041)),
    ("photoshop", ".psd", b"8BPS\0\1" + bytes(7) + b"\3\0\0\0\x10\0\0\0\x10" + bytes(900)),
    ("icon", ".ico", b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + bytes(2_000)),
    ("open_exr", ".exr", b"v/1\1\2\0\0\0" + bytes(2_000)),
    ("jpeg_xl", ".jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(2_000)),
    ("sqlite", ".mp4", b"SQLite format 3\0" + bytes(4_080)),
    ("monkeys_audio", ".ape", b"MAC \x96\x0f\0\0" + bytes(2_000)),
    ("dsd", ".dsf", b"DSD \x1c" + bytes(7) + bytes(2_000)),
    ("true_audio", ".tta", b"TTA1\1\0\1\0\x10\0" + bytes(2_000)),
    ("game_music", ".nsf", b"NESM\x1a\1\1\1" + bytes(2_000)),
    ("module", ".mod", bytes(1_080) + b"M.K." + bytes(4_000)),
    ("sound_font", ".sf2", b"RIFF" + struct.pack("<I", 4_000) + b"sfbkLIST" + bytes(4_000)),
    ("palette", ".wav", b"RIFF" + struct.pack("<I", 4_000) + b"PAL data" + bytes(4_000)),
    ("raw_ppm", ".ppm", b"P6\n16 16\n255\n" + bytes(768)),
    ("farbfeld", ".ff", b"farbfeld" + struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF)),
    ("gif_named_mp4", ".mp4", b"GIF89a\x10\0\x10\0\x80\0\0" + bytes(2_000)),
):  # fmt: skip
    add(f"no_media_{_name}", _suffix, written(_content), *UNREADABLE)


@case("picture_png_moving", ".apng", *UNREADABLE)
def _(place: Place) -> None:
    with av.open(str(place.path), "w", format="apng") as container:
        stream = container.add_stream("apng", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 80 * index, np.uint8))
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@case("sound_of_a_silent_film", ".mp4", errors.NoAudioStream)
def _(place: Place) -> None:
    spec = ClipSpec(duration_s=0.4, events_s=(0.2,), n_audio_tracks=0, codecs=Codecs("mpeg4", ""))
    make_clip(place.path, spec)
