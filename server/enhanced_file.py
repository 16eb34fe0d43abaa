"""What the network made of a clip, to a file and back: from the model process to the encoder."""

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from avse.types import EnhancedClip, EnhanceReport, Mask
from preprocessing.types import MouthTrack, Waveform
from server.array_file import read_arrays, write_arrays

ENHANCED = "enhanced.arrays"


def write_enhanced(path: Path, enhanced: EnhancedClip) -> None:
    """Write sound, mask and report.

    Raises:
        OSError: The disk is full.
    """
    sound = enhanced.waveform
    arrays = {"samples": sound.samples}
    if enhanced.mask is not None:
        arrays["mask"] = enhanced.mask.values
    report = asdict(enhanced.report)
    header = {"rate_hz": sound.sample_rate_hz, "start_s": sound.start_s, "report": report}
    write_arrays(path, arrays, header)


def read_enhanced(path: Path, mouth: MouthTrack | None = None) -> EnhancedClip:
    """Read what `write_enhanced` wrote, with the mouth it came from.

    Raises:
        ArrayFileInvalid: It is not such a file.
    """
    arrays, header = read_arrays(path)
    samples = np.array(arrays["samples"])
    names = {field.name for field in fields(EnhanceReport)}
    report = EnhanceReport(**{k: v for k, v in header["report"].items() if k in names})
    mask = Mask(arrays["mask"]) if "mask" in arrays else None
    return EnhancedClip(
        Waveform(samples, header["rate_hz"], header["start_s"]), mask, report, mouth
    )
