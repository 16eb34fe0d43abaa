"""Sound of every kind: codecs, rates, channels, levels, what is not a number."""

import struct
from fractions import Fraction
from functools import partial

import av
import numpy as np

from preprocessing import errors
from preprocessing.types import PreparedClip
from tests.media_factory import ClipSpec, Codecs, make_clip, make_sound
from tests.server.corpus.case import DAMAGED, FINE, Place, add, case, written
from tests.server.corpus.making import RATE_HZ, SOUND_ONLY, id3, pcm16, picture_file, tone, wav


def _is_silent(clip: PreparedClip) -> None:
    assert not clip.audio.samples.any()


def _is_sound(clip: PreparedClip) -> None:
    assert np.abs(clip.audio.samples).max() > 0.05
    assert np.isfinite(clip.audio.samples).all()


def _track(codec: str, rate_hz: int, layout: str, place: Place) -> None:
    spec = ClipSpec(
        duration_s=0.6,
        events_s=(0.2,),
        has_video=False,
        rate_hz=rate_hz,
        layout=layout,
        codecs=Codecs("", codec),
    )
    make_clip(place.path, spec)


for _name, _suffix, _codec, _rate, _layout in (
    ("aac_5_1", ".m4a", "aac", 48_000, "5.1"),
    ("opus_stereo", ".ogg", "libopus", 48_000, "stereo"),
    ("opus_5_1", ".mka", "libopus", 48_000, "5.1"),
    ("mp3_stereo", ".mp3", "libmp3lame", 44_100, "stereo"),
    ("mp3_8_khz", ".mp3", "libmp3lame", 8_000, "mono"),
    ("ac3", ".ac3", "ac3", 48_000, "5.1"),
    ("eac3", ".mkv", "eac3", 48_000, "5.1"),
    ("alac", ".m4a", "alac", 48_000, "stereo"),
    ("adts", ".aac", "aac", 22_050, "mono"),
    ("a_law", ".wav", "pcm_alaw", 8_000, "mono"),
    ("mu_law", ".au", "pcm_mulaw", 8_000, "mono"),
    ("adpcm", ".wav", "adpcm_ima_wav", 22_050, "mono"),
    ("aiff", ".aiff", "pcm_s16be", 44_100, "stereo"),
    ("wavpack", ".wv", "wavpack", 44_100, "mono"),
    ("caf", ".caf", "pcm_f32be", 44_100, "mono"),
    ("w64", ".w64", "pcm_s24le", 96_000, "mono"),
    ("pcm_64_bit", ".wav", "pcm_f64le", 16_000, "mono"),
    ("pcm_8_bit", ".wav", "pcm_u8", 11_025, "mono"),
    ("g722", ".wav", "g722", 16_000, "mono"),
):
    add(_name, _suffix, partial(_track, _codec, _rate, _layout), FINE,
        has_video=False, duration_s=0.6, check=_is_sound)  # fmt: skip

add("g726_is_not_taken", ".wav", partial(_track, "g726", 8_000, "mono"), errors.UnsupportedCodec)

for _rate in (4_000, 8_000, 44_100, 96_000, 192_000, 768_000):
    add(f"rate_{_rate}_hz", ".wav", written(wav(pcm16(tone(0.6, _rate)), rate_hz=_rate)), FINE,
        has_video=False, duration_s=0.6, check=_is_sound)  # fmt: skip


def _float_wav(sound: np.ndarray) -> bytes:
    return wav(sound.astype("<f4").tobytes(), bits=32, tag=3)


def _with(value: float, share: float) -> np.ndarray:
    sound = tone()
    sound[: round(share * sound.shape[0])] = value
    return sound


add("silence", ".wav", written(wav(bytes(RATE_HZ))), FINE, duration_s=0.5, check=_is_silent)
add("nan", ".wav", written(_float_wav(_with(np.nan, 0.2))), FINE,
    warning="not numbers", check=_is_sound)  # fmt: skip
add("infinite", ".wav", written(_float_wav(_with(-np.inf, 0.2))), FINE,
    warning="not numbers", check=_is_sound)  # fmt: skip
add("all_nan", ".wav", written(_float_wav(_with(np.nan, 1.0))), FINE,
    warning="not numbers", check=_is_silent)  # fmt: skip
add("absurdly_loud", ".wav", written(_float_wav(tone(level=1e30))), FINE, warning="absurdly large")
add("loud_100_times", ".wav", written(_float_wav(tone(level=100.0))), FINE, check=_is_sound)
add("denormal", ".wav", written(_float_wav(tone(level=1e-39))), FINE, duration_s=0.6)
add("clipped", ".wav", written(wav(pcm16(np.sign(tone())))), FINE, check=_is_sound)
add("constant", ".wav", written(wav(pcm16(np.full(9_600, 0.9)))), FINE, duration_s=0.6)
add("one_sample", ".wav", written(wav(pcm16(tone()[:1]))), errors.TooShort)
add("ten_ms", ".wav", written(wav(pcm16(tone(0.01)))), errors.TooShort)
add("one_window", ".wav", written(wav(pcm16(tone(0.04)))), FINE, duration_s=0.04)
add("one_window_less_a_sample", ".wav", written(wav(pcm16(tone(0.04)[:-1]))), errors.TooShort)
add("no_sample", ".wav", written(wav(b"")), errors.TooShort)
add("odd_number_of_bytes", ".wav", written(wav(pcm16(tone())[:-1])), FINE, duration_s=0.6)


@case("channels_cancel", ".wav", FINE, warning="cancel", check=_is_sound)
def _(place: Place) -> None:
    make_sound(place.path, np.stack([tone(), -tone()]), layout="stereo")


@case("only_the_right_channel", ".wav", FINE, check=_is_sound)
def _(place: Place) -> None:
    make_sound(place.path, np.stack([0 * tone(), tone()]), layout="stereo")


@case("only_the_bass_channel", ".wav", FINE, duration_s=0.6)
def _(place: Place) -> None:
    surround = np.zeros((6, 9_600), np.float32)
    surround[3] = tone()
    make_sound(place.path, surround, layout="5.1")


add("channels_16", ".wav", written(wav(pcm16(np.repeat(tone(), 16)), channels=16)), FINE,
    duration_s=0.6, check=_is_sound)  # fmt: skip
add("channels_3", ".wav", written(wav(pcm16(np.repeat(tone(), 3)), channels=3)), FINE,
    duration_s=0.6, check=_is_sound)  # fmt: skip


def _packed(codec: str, layout: str, place: Place) -> None:
    """A tone in every channel, given to the encoder channel by channel."""
    with av.open(str(place.path), "w") as container:
        stream = container.add_stream(codec, rate=48_000)
        stream.layout, stream.bit_rate = layout, 192_000
        samples = np.repeat(tone(0.6, 48_000), len(stream.layout.channels))[None]
        frame = av.AudioFrame.from_ndarray(samples, "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


for _name, _suffix, _codec, _layout in (
    ("wma", ".wma", "wmav2", "stereo"),
    ("aac_7_1", ".m4a", "aac", "7.1"),
    ("flac_7_1", ".flac", "flac", "7.1"),
    ("wavpack_12_channels", ".wv", "wavpack", "7.1.4"),
):
    add(_name, _suffix, partial(_packed, _codec, _layout), FINE,
        has_video=False, duration_s=0.6, check=_is_sound)  # fmt: skip


def _joined(suffix: str, codec: str, parts: tuple[tuple[int, str], ...], place: Place) -> None:
    content = b""
    for rate_hz, layout in parts:
        n_channels = len(av.AudioLayout(layout).channels)
        part = place.path.with_name(f"part{suffix}")
        sound = np.broadcast_to(tone(0.6, rate_hz), (n_channels, round(0.6 * rate_hz)))
        content += make_sound(part, sound, rate_hz, layout=layout, codec=codec).read_bytes()
        part.unlink()
    place.path.write_bytes(content)


for _name, _suffix, _codec, _parts in (
    ("rate_switch_adts", ".aac", "aac", ((48_000, "mono"), (16_000, "mono"))),
    ("channel_switch_adts", ".aac", "aac", ((48_000, "mono"), (48_000, "stereo"))),
    ("rate_switch_mp3", ".mp3", "libmp3lame", ((44_100, "stereo"), (16_000, "mono"))),
    ("chained_ogg", ".ogg", "libopus", ((48_000, "mono"), (48_000, "stereo"))),
    ("channel_switch_ac3", ".ac3", "ac3", ((48_000, "5.1"), (48_000, "mono"))),
    ("joined_wav", ".wav", "pcm_f32le", ((16_000, "mono"), (48_000, "mono"))),
    ("joined_flac", ".flac", "flac", ((16_000, "mono"), (48_000, "stereo"))),
):
    add(_name, _suffix, partial(_joined, _suffix, _codec, _parts), FINE, *DAMAGED)


@case("cover_art_mp3", ".mp3", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    picture = b"\0image/png\0\3\0" + picture_file("png", "rgb24")
    path = make_sound(place.path, tone(), codec="libmp3lame")
    path.write_bytes(id3(0, b"APIC", picture) + path.read_bytes())


@case("cover_art_flac", ".flac", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    picture = picture_file("mjpeg", "yuvj420p")
    block = struct.pack(">II", 3, 10) + b"image/jpeg" + bytes(4)
    block += struct.pack(">IIIII", 16, 16, 24, 0, len(picture)) + picture
    content = make_sound(place.path, tone(), codec="flac").read_bytes()
    head = b"\6" + len(block).to_bytes(3, "big")
    place.path.write_bytes(content[:42] + head + block + content[42:])


@case("cover_art_mp4", ".m4a", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    spec = ClipSpec(
        duration_s=0.6, events_s=(0.2,), has_video=False, has_cover=True, codecs=Codecs("", "aac")
    )
    content = make_clip(place.path.with_name("part.mp4"), spec).read_bytes()
    place.path.write_bytes(content)


@case("cover_art_of_nonsense", ".mp3", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    picture = b"\0image/jpeg\0\3\0" + b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8
    path = make_sound(place.path, tone(), codec="libmp3lame")
    path.write_bytes(id3(0, b"APIC", picture) + path.read_bytes())


@case("second_track", ".mkv", FINE, has_video=False, duration_s=0.6, audio_track=1)
def _(place: Place) -> None:
    make_clip(place.path, ClipSpec(duration_s=0.6, events_s=(0.2,), n_audio_tracks=2,
                                   has_video=False))  # fmt: skip


@case("track_that_is_not_there", ".mkv", errors.NoAudioStream, audio_track=3)
def _(place: Place) -> None:
    make_clip(place.path, SOUND_ONLY)


def _many_tracks(n_tracks: int, place: Place) -> None:
    make_clip(place.path, ClipSpec(duration_s=0.1, events_s=(0.05,), n_audio_tracks=n_tracks,
                                   has_video=False, codecs=Codecs("", "pcm_s16le")))  # fmt: skip


add("tracks_60", ".mkv", partial(_many_tracks, 60), errors.TooManyStreams)
add("tracks_9", ".mkv", partial(_many_tracks, 9), errors.TooManyStreams)
add("tracks_8", ".mkv", partial(_many_tracks, 8), FINE, has_video=False)
add("tracks_60_mp4", ".mov", partial(_many_tracks, 60), errors.TooManyStreams)
