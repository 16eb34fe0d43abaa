"""Which clips and sounds there are, by whom, and on which side of the split they stand."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path


class ManifestError(Exception):
    """A data folder that is not laid out as expected."""

    code = "invalid_data"


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """A talking-face clip.

    Attributes:
        path: Relative to the data folder.
        speaker: Unique within the corpus.
        split: `train`, `valid`, `test` or `elsewhere`.
        corpus: Where it was recorded, e.g. `newsar`.
        gender: `f`, `m` or empty.
        language: ISO code or empty.
    """

    path: str
    speaker: str
    split: str
    corpus: str
    gender: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class SoundEntry:
    """A sound without a picture: a voice or a noise.

    Attributes:
        path: Relative to the data folder.
        kind: `speech` or `noise`.
        split: As for clips.
        corpus: Data set it comes from.
        label: Speaker, or class of noise.
    """

    path: str
    kind: str
    split: str
    corpus: str
    label: str


def read_clips(data_dir: Path) -> list[ClipEntry]:
    """Clips listed in `av.csv`, or of a VoxCeleb2-like tree `<speaker>/<video>/<clip>.mp4`.

    In a tree, a hash of the speaker's name puts 5 % of the speakers in `valid`, 5 % in `test`.

    Raises:
        ManifestError: Neither is there.
    """
    table = data_dir / "av.csv"
    if table.is_file():
        return [_clip_of(row) for row in _rows(table)]
    paths = sorted(data_dir.glob("**/*.mp4"))
    entries = [_clip_in_tree(path.relative_to(data_dir)) for path in paths]
    if not entries:
        raise ManifestError(f"{data_dir}: expected av.csv or <speaker>/<video>/*.mp4, found none")
    return entries


def read_sounds(data_dir: Path) -> list[SoundEntry]:
    """Voices and noises listed in `audio.csv`; an empty list where there is no such file."""
    table = data_dir / "audio.csv"
    if not table.is_file():
        return []
    return [
        SoundEntry(row["path"], row["type"], row["split"], row["dataset"], row["speaker_or_class"])
        for row in _rows(table)
    ]


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _clip_of(row: dict[str, str]) -> ClipEntry:
    parts = Path(row["path"]).parts
    corpus = parts[1] if row["split"] != "elsewhere" else "-".join(parts[1:3])
    speaker = row["speaker"] or Path(row["path"]).stem
    return ClipEntry(
        row["path"], speaker, row["split"], corpus, row.get("gender", ""), row.get("language", "")
    )


def _clip_in_tree(path: Path) -> ClipEntry:
    speaker = path.parts[-3] if len(path.parts) >= 3 else path.parent.name
    share = int(hashlib.sha256(speaker.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    split = "valid" if share < 0.05 else "test" if share < 0.1 else "train"
    return ClipEntry(path.as_posix(), speaker, split, "voxceleb")
