"""Media files in and out: the only door to FFmpeg.

Reading goes by timestamp: sound and pictures share one clock and each keeps its own start.
The parts live beside this file (`media_open`, `media_audio`, `media_video`, `media_write`,
`media_remux`, `media_limits`); nothing outside `preprocessing/media*.py` imports PyAV.
"""

from pathlib import Path

from preprocessing.errors import TooDamaged, TooShort, Unreadable
from preprocessing.media_audio import DecodedSound, decode_sound
from preprocessing.media_limits import MediaLimits
from preprocessing.media_open import choose_audio, choose_video, open_container
from preprocessing.media_remux import remux_with_audio
from preprocessing.media_video import VideoFrames
from preprocessing.media_write import write_audio
from preprocessing.timeline import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from preprocessing.types import Clip, Progress, SourceInfo, Waveform, no_progress

__all__ = [
    "MediaLimits",
    "VideoFrames",
    "open_clip",
    "open_frames",
    "probe",
    "read_audio",
    "remux_with_audio",
    "write_audio",
]

_DEFAULT_LIMITS = MediaLimits()


def open_clip(
    path: Path | str,
    *,
    limits: MediaLimits = _DEFAULT_LIMITS,
    audio_track: int = 0,
    progress: Progress = no_progress,
) -> Clip:
    """Read a clip: the sound at once as 16 kHz mono, the pictures as a stream.

    Raises:
        MissingFile: The path is not a regular file.
        Unreadable: FFmpeg cannot read it.
        UnsupportedContainer: Its container is not accepted.
        NoAudioStream: It has no sound.
        TooShort: The sound is shorter than one analysis window.
        TooLong: The sound is longer than the limit.
        TooDamaged: Too many of its packets are damaged.
    """
    path = Path(path)
    info = probe(path, limits=limits, audio_track=audio_track)
    sound = decode_sound(
        path, rate_hz=SAMPLE_RATE_HZ, limits=limits, audio_track=audio_track, progress=progress
    )
    if sound.waveform.n_samples < WINDOW_SAMPLES:
        found = f"{1000 * sound.waveform.duration_s:.1f} ms"
        raise TooShort(path, f"at least {1000 * WINDOW_SAMPLES // SAMPLE_RATE_HZ} ms", found)
    video, video_warnings = _open_video(path, limits) if info.has_video else (None, ())
    return Clip(sound.waveform, video, _complete(info, sound, video, video_warnings))


def _open_video(path: Path, limits: MediaLimits) -> tuple[VideoFrames | None, tuple[str, ...]]:
    try:
        return VideoFrames(path, limits), ()
    except (Unreadable, TooDamaged) as error:
        return None, (f"the picture was left out: {error.found}",)


def _complete(
    info: SourceInfo, sound: DecodedSound, video: VideoFrames | None, more: tuple[str, ...]
) -> SourceInfo:
    return SourceInfo(
        path=info.path,
        container=info.container,
        audio_rate_hz=sound.source_rate_hz,
        n_audio_channels=sound.n_channels,
        n_audio_tracks=info.n_audio_tracks,
        has_video=video is not None,
        fps=video.fps_nominal if video is not None else 0.0,
        warnings=info.warnings + sound.warnings + more,
    )


def open_frames(path: Path | str, *, limits: MediaLimits = _DEFAULT_LIMITS) -> VideoFrames:
    """Return the pictures of a file, whether it has sound or not.

    Raises:
        Unreadable: There is no moving picture that can be decoded.
    """
    return VideoFrames(Path(path), limits)


def read_audio(
    path: Path | str,
    rate_hz: int = SAMPLE_RATE_HZ,
    *,
    native: bool = False,
    limits: MediaLimits = _DEFAULT_LIMITS,
    audio_track: int = 0,
) -> Waveform:
    """Read one sound track as mono on the clip's clock; `native` keeps its own rate.

    Raises:
        NoAudioStream: There is no such track.
        TooShort: Not one sample could be decoded.
    """
    rate = None if native else rate_hz
    return decode_sound(Path(path), rate_hz=rate, limits=limits, audio_track=audio_track).waveform


def probe(
    path: Path | str, *, limits: MediaLimits = _DEFAULT_LIMITS, audio_track: int = 0
) -> SourceInfo:
    """Read the headers only.

    Raises:
        MissingFile: The path is not a regular file.
        Unreadable: FFmpeg cannot read it.
        NoAudioStream: It has no sound.
    """
    path = Path(path)
    with open_container(path, limits) as container:
        audio = choose_audio(path, container, audio_track)
        video = choose_video(path, container, limits)
        rate = video.average_rate if video is not None else None
        return SourceInfo(
            path=path,
            container=container.format.name,
            audio_rate_hz=audio.codec_context.sample_rate or 0,
            n_audio_channels=audio.codec_context.channels,
            n_audio_tracks=len(container.streams.audio),
            has_video=video is not None,
            fps=float(rate) if rate else 0.0,
        )
