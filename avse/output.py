"""Results to files: the suffix says which."""

import time
from dataclasses import replace
from pathlib import Path

from avse.types import EnhancedClip
from preprocessing.errors import OutputError
from preprocessing.media import remux_with_audio, write_audio
from preprocessing.media_write import SOUND_FORMATS, VIDEO_FORMATS, format_for
from preprocessing.types import Progress

_FORMATS = SOUND_FORMATS | VIDEO_FORMATS


def check_writable(out: Path) -> None:
    """Refuse before any work what could not be written after it.

    Raises:
        OutputError: The suffix is unknown or the folder is not there.
    """
    format_for(out, _FORMATS)
    if not out.parent.is_dir():
        raise OutputError(out, "an existing folder", f"no folder {out.parent}")
    if out.is_dir():
        raise OutputError(out, "a file name", "a folder")


def numbered(out: Path, result: EnhancedClip) -> Path:
    """The name with the track's number before its suffix: `voice.wav` -> `voice.2.wav`."""
    return out.with_name(f"{out.stem}.{result.report.target_track_id}{out.suffix}")


def write_result(result: EnhancedClip, source: Path, out: Path, progress: Progress) -> EnhancedClip:
    """Write the sound, or the source's picture with it.

    Returns:
        The result, the seconds of writing added to its report.

    Raises:
        OutputError: The file cannot be written.
    """
    start = time.perf_counter()
    if out.suffix.lower() in VIDEO_FORMATS:
        remux_with_audio(source, result.waveform, out, progress=progress)
    else:
        write_audio(out, result.waveform)
    stage_s = {**result.report.stage_s, "encode": time.perf_counter() - start}
    factor = result.report.duration_s / max(sum(stage_s.values()), 1e-9)
    return replace(result, report=replace(result.report, stage_s=stage_s, real_time_factor=factor))
