"""Bytes that are no media, or no longer: empty, random, cut off, flipped, with lying headers."""

import struct
from functools import partial

import numpy as np

from preprocessing import errors
from tests.media_factory import flip_bytes, make_clip, make_sound, truncate
from tests.server.corpus.case import DAMAGED, FINE, UNREADABLE, Place, add, case, written
from tests.server.corpus.making import (
    SMALL,
    flac_of_silence,
    id3,
    patched,
    pcm16,
    replace_in_boxes,
    small,
    tone,
    wav,
)

NOISE = np.random.default_rng(0).integers(0, 256, 65_536, np.uint8).tobytes()
FASTSTART = (("movflags", "faststart"),)

add("empty", ".mp4", written(b""), errors.Unreadable)
add("one_byte", ".mp4", written(b"\0"), *UNREADABLE)
add("zeros", ".mp4", written(bytes(65_536)), *UNREADABLE)
add("random", ".mp4", written(NOISE), *UNREADABLE)
add("random_wav_name", ".wav", written(NOISE[::-1]), *UNREADABLE)
add("words", ".mp4", written("hello\n" * 100), *UNREADABLE)
add("ftyp_then_random", ".mp4", written(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + NOISE), *UNREADABLE)
add("riff_then_random", ".wav", written(b"RIFF\xff\xff\0\0WAVE" + NOISE), *DAMAGED)
add("ebml_then_random", ".webm", written(b"\x1a\x45\xdf\xa3" + NOISE), *UNREADABLE)
add("ogg_then_random", ".ogg", written(b"OggS\0\2" + bytes(20) + b"\1\x1e" + NOISE), *DAMAGED)
add("sync_bytes_then_random", ".ts", written((b"\x47" + NOISE[:187]) * 300), *DAMAGED)
add("mp3_sync_only", ".mp3", written(b"\xff\xfb\x90\x64" * 2_000), FINE, *DAMAGED)


def _truncated(share: float, place: Place) -> None:
    truncate(make_clip(place.path, SMALL), share)


add("truncated_mp4", ".mp4", partial(_truncated, 0.6), errors.Unreadable)
for _suffix in (".mkv", ".ts", ".avi", ".webm", ".flv", ".mpg"):
    add(f"truncated_{_suffix[1:]}", _suffix, partial(_truncated, 0.7), FINE, has_video=True)


@case("truncated_faststart_mp4", ".mp4", FINE, has_video=True)
def _(place: Place) -> None:
    content = small(place.path, muxer_options=FASTSTART, duration_s=3.0)
    media = content.index(b"mdat")
    place.path.write_bytes(content[: media + int(0.7 * (len(content) - media))])


@case("index_without_media", ".mp4", *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path, muxer_options=FASTSTART)
    place.path.write_bytes(content[: content.index(b"mdat") + 4])


@case("truncated_flac", ".flac", FINE, has_video=False)
def _(place: Place) -> None:
    truncate(make_sound(place.path, tone(2.0), codec="flac"), 0.5)


@case("truncated_opus", ".ogg", FINE, has_video=False)
def _(place: Place) -> None:
    truncate(make_sound(place.path, tone(2.0, 48_000), 48_000, codec="libopus"), 0.5)


@case("truncated_mp3", ".mp3", FINE, has_video=False)
def _(place: Place) -> None:
    truncate(make_sound(place.path, tone(2.0), codec="libmp3lame"), 0.5)


add("truncated_wav", ".wav", written(wav(pcm16(tone())[:9_600], size=19_200)), FINE, duration_s=0.3)


def _flipped(seed: int, n_bytes: int, place: Place) -> None:
    path = make_clip(place.path, SMALL)
    positions = np.random.default_rng(seed).integers(0, path.stat().st_size, n_bytes)
    flip_bytes(path, positions.tolist())


for _index, _suffix in enumerate((".mp4", ".mkv", ".ts", ".avi", ".webm", ".flv", ".mpg", ".mov")):
    for _n_bytes in (3, 40):
        _name = f"flipped_{_n_bytes}_{_suffix[1:]}"
        add(_name, _suffix, partial(_flipped, _index, _n_bytes), FINE, *DAMAGED,
            errors.UnsupportedCodec, errors.TooLong)  # fmt: skip


@case("hole_of_zeros_mkv", ".mkv", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = bytearray(small(place.path))
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    place.path.write_bytes(content)


@case("doubled_ts", ".ts", FINE, has_video=True)
def _(place: Place) -> None:
    place.path.write_bytes(2 * small(place.path))


@case("lying_movie_length", ".mp4", FINE, errors.TooLong)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"mvhd", 16, b"\x7f\xff\xff\xff"))


@case("lying_track_length", ".mp4", FINE, errors.TooLong)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"mdhd", 16, b"\x7f\xff\xff\xff"))


@case("lying_sample_durations", ".mp4", FINE, *DAMAGED, errors.TooLong)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"stts", 12, b"\x7f\xff\xff\xff"))


@case("lying_sample_count", ".mp4", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"stsz", 8, b"\xff\xff\xff\xf0"))


@case("lying_sample_sizes", ".mp4", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"stsz", 12, b"\x7f\xff\xff\xff"))


@case("lying_chunk_places", ".mp4", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"stco", 8, b"\xff\xff\xff\xf0"))


@case("lying_index_size", ".mp4", *UNREADABLE)
def _(place: Place) -> None:
    content = bytearray(small(place.path))
    at = content.index(b"moov")
    content[at - 4 : at] = b"\xff\xff\xff\xff"
    place.path.write_bytes(content[:at] + b"mooX" + content[at + 4 :])


@case("lying_picture_size_mp4", ".mp4", errors.ResolutionLimit, FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"avc1", 24, b"\xff\xf0\xff\xf0"))


@case("lying_time_scale_zero", ".mp4", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"mdhd", 12, bytes(4)))


@case("lying_channels_mp4", ".mp4", FINE, *DAMAGED, errors.UnsupportedCodec)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"mp4a", 16, b"\xff\xff"))


@case("boxes_without_end", ".mp4", *UNREADABLE)
def _(place: Place) -> None:
    boxes = b"".join(struct.pack(">I4s", 8 * n, b"moov") for n in range(5_000, 0, -1))
    place.path.write_bytes(b"\0\0\0\x10ftypisom\0\0\2\0" + boxes)


@case("box_of_size_zero", ".mp4", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(b"\0\0\0\x10ftypisom\0\0\2\0" + b"\0\0\0\0free" + bytes(5_000))


@case("lying_box_of_exabytes", ".mp4", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(b"\0\0\0\x10ftypisom\0\0\2\0\0\0\0\1mdat" + b"\x7f" * 8 + bytes(2_000))


@case("edit_list_of_a_million", ".mp4", FINE, *DAMAGED, errors.TooLong)
def _(place: Place) -> None:
    content = small(place.path, audio_start_s=0.1)
    place.path.write_bytes(patched(content, b"elst", 4, b"\0\x0f\xff\xff"))


@case("lying_mkv_length", ".mkv", errors.TooLong, FINE)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"\x44\x89\x88", 0, struct.pack(">d", 1e12)))


@case("mkv_length_not_a_number", ".mkv", FINE)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"\x44\x89\x88", 0, struct.pack(">d", float("nan"))))


@case("mkv_time_scale_zero", ".mkv", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"\x2a\xd7\xb1\x83", 0, bytes(3)))


@case("mkv_time_scale_huge", ".mkv", FINE, *DAMAGED, errors.TooLong)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"\x2a\xd7\xb1\x83", 0, b"\xff\xff\xff"))


_SOUND = pcm16(tone())
add("wav_streamed", ".wav", written(wav(_SOUND, size=0xFFFFFFFF)), FINE, duration_s=0.6)
add("wav_size_zero", ".wav", written(wav(_SOUND, size=0)), FINE, errors.TooShort)
add("wav_no_channels", ".wav", written(wav(_SOUND, channels=0)), *DAMAGED)
add("wav_rate_zero", ".wav", written(wav(_SOUND, rate_hz=0)), *DAMAGED)
add("wav_rate_4_ghz", ".wav", written(wav(_SOUND, rate_hz=4_000_000_000)), *DAMAGED)
add("wav_rate_2_ghz", ".wav", written(wav(_SOUND, rate_hz=2_000_000_000)),
    errors.UnsupportedCodec)  # fmt: skip
add("wav_rate_1_mhz", ".wav", written(wav(_SOUND, rate_hz=1_100_000)), errors.UnsupportedCodec)
add("wav_rate_1_hz", ".wav", written(wav(_SOUND, rate_hz=1)), errors.TooLong, *DAMAGED)
add("wav_rate_1_hz_short", ".wav", written(wav(_SOUND[:60], rate_hz=1)), FINE, *DAMAGED)
add("wav_no_bits", ".wav", written(wav(_SOUND, bits=0)), *DAMAGED, errors.UnsupportedCodec)
add("wav_65535_bits", ".wav", written(wav(_SOUND, bits=65_535)), *DAMAGED,
    errors.UnsupportedCodec)  # fmt: skip
add("wav_65535_channels", ".wav", written(wav(_SOUND, channels=65_535)), *DAMAGED)
add("wav_500_channels", ".wav", written(wav(_SOUND * 20, channels=500)), errors.NoAudioStream)
add("wav_unknown_tag", ".wav", written(wav(_SOUND, tag=0x1234)), *DAMAGED, errors.UnsupportedCodec)
add("wav_mp3_inside_is_pcm", ".wav", written(wav(_SOUND, tag=0x55)), FINE, *DAMAGED)
add("id3_of_64_mb", ".mp3", written(b"ID3\x03\0\0\x1f\x7f\x7f\x7f" + bytes(2_000)), *DAMAGED)


@case("flac_lying_block", ".flac", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = bytearray(flac_of_silence(10.0, 48_000, 2))
    content[8:12] = b"\0\1\0\1"
    place.path.write_bytes(content)


@case("flac_seek_table_of_nonsense", ".flac", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = flac_of_silence(10.0, 48_000, 2)
    table = b"\x83" + (18 * 1_000).to_bytes(3, "big") + b"\xff\0" * 9_000
    place.path.write_bytes(content[:4] + b"\0" + content[5:42] + table + content[42:])


@case("big_title_in_front", ".mp3", FINE, has_video=False)
def _(place: Place) -> None:
    path = make_sound(place.path, tone(), codec="libmp3lame")
    path.write_bytes(id3(4_000_000) + path.read_bytes())


@case("sound_codec_unknown_mkv", ".mkv", errors.UnsupportedCodec)
def _(place: Place) -> None:
    place.path.write_bytes(small(place.path).replace(b"A_OPUS", b"A_XYZW"))


@case("sound_codec_misnamed_mp4", ".mp4", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(small(place.path).replace(b"mp4a", b"xyz9"))


@case("picture_codec_unknown_mp4", ".mp4", errors.UnsupportedCodec)
def _(place: Place) -> None:
    place.path.write_bytes(small(place.path).replace(b"avc1", b"xyz9"))


@case("sound_outside_the_file", ".mov", FINE, *DAMAGED)
def _(place: Place) -> None:
    """The index says that the sound is in another file, given by an absolute path."""
    content = small(place.path, ".mov")
    target = str(place.neighbour).encode() + b"\0" * (len(str(place.neighbour)) % 2)
    record = bytes(10) + bytes(28) + bytes(12) + b"\4n.wa" + bytes(59) + bytes(16)
    record += struct.pack(">HH", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(target)) + target + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    old_entry = b"\0\0\0\x0curl \0\0\0\1"
    if old_entry not in content:
        old_entry = b"\0\0\0\x0calis\0\0\0\1"
    place.path.write_bytes(replace_in_boxes(content, old_entry, entry))
