"""What a media file may be: accepted containers and codecs, sizes, lengths and counts."""

from dataclasses import dataclass

DEMUXERS = (
    "aac", "ac3", "aiff", "amr", "asf", "au", "avi", "caf", "eac3", "flac", "flv",
    "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpeg", "mpegts", "mxf", "ogg",
    "w64", "wav", "wv",
)  # fmt: skip
"""FFmpeg's names of the accepted demuxers: none of them opens a second file."""

DEMUXERS_WITHOUT_ZERO = frozenset({"mp3", "mpeg", "mpegts"})
"""Containers whose first timestamp is arbitrary: the clip's clock starts there."""

MAX_RATE_HZ = 768_000
"""Samples a second beyond which no sound is; headers that say more lie."""

BROADCASTS = frozenset({"mpeg", "mpegts"})
"""Containers whose clock may jump on the way."""

VIDEO_CODECS = frozenset({
    "av1", "cinepak", "dnxhd", "dvvideo", "ffv1", "ffvhuff", "flv1", "h263", "h264", "hevc",
    "huffyuv", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v1", "msmpeg4v2",
    "msmpeg4v3", "png", "prores", "qtrle", "rawvideo", "svq1", "svq3", "theora", "utvideo",
    "vc1", "vp6", "vp6f", "vp8", "vp9", "wmv1", "wmv2", "wmv3",
})  # fmt: skip
"""FFmpeg's canonical names of the accepted picture codecs."""

AUDIO_CODECS = frozenset({
    "aac", "aac_latm", "ac3", "adpcm_g722", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms",
    "adpcm_swf", "adpcm_yamaha", "alac", "amr_nb", "amr_wb", "dts", "eac3", "flac", "gsm",
    "gsm_ms", "mp1", "mp2", "mp3", "nellymoser", "opus", "speex", "vorbis", "wavpack", "wmav1",
    "wmav2", "wmapro",
})  # fmt: skip
"""FFmpeg's canonical names of the accepted sound codecs, besides every `pcm_` one."""


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """The largest file that is read; beyond it a `MediaError` names the limit.

    Attributes:
        max_pixels: Width times height of one picture.
        max_duration_s: Length of the sound.
        max_streams: Streams of every kind in the container.
        max_fps: Pictures per second.
        max_channels: Channels of the sound.
        max_damaged_packets: Undecodable packets that are always forgiven.
        max_damaged_share: Beyond those, the share of a stream's packets that is forgiven.
    """

    max_pixels: int = 8192 * 4352
    max_duration_s: float = 12 * 3600.0
    max_streams: int = 32
    max_fps: float = 250.0
    max_channels: int = 64
    max_damaged_packets: int = 8
    max_damaged_share: float = 0.25


def is_audio_codec(name: str) -> bool:
    """Whether sound of this canonical codec name is accepted."""
    return name in AUDIO_CODECS or name.startswith("pcm_")
