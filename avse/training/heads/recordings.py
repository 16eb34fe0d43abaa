"""UTD-MHAD on disk: clips, labels and split, depth pictures and skeletons."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avse.training.manifest import ManifestError
from preprocessing.media import open_frames

FOLDER = Path("action") / "utd_mhad"
FPS = 30.0


@dataclass(frozen=True, slots=True)
class ActionClip:
    """One recording of one action.

    Attributes:
        name: E.g. `a01_s1_t1`; the stem of its depth file and its key in `skeleton.npz`.
        label: Index into `ActionRecordings.labels`.
        subject: Who acts.
        trial: Which repetition.
        is_train: Side of the standard split (odd subjects train).
    """

    name: str
    label: int
    subject: int
    trial: int
    is_train: bool


@dataclass(frozen=True, slots=True)
class ActionRecordings:
    """The whole corpus; pictures are decoded when asked for.

    Attributes:
        folder: Where `depth/` lies.
        labels: Names of the actions.
        clips: In the order of `clips.csv`.
        skeletons: `[T, J, 3]` float32, metres, by clip name.
    """

    folder: Path
    labels: tuple[str, ...]
    clips: tuple[ActionClip, ...]
    skeletons: Mapping[str, NDArray[np.float32]]

    def depth(self, clip: ActionClip) -> NDArray[np.uint8]:
        """Depth pictures `[T, H, W]` at 30 fps; 0 is background.

        Raises:
            MediaError: The file is missing or damaged.
        """
        frames = open_frames(self.folder / "depth" / f"{clip.name}.mp4")
        return np.stack([frame.image[:, :, 0] for frame in frames])

    def of_subjects(self, subjects: tuple[int, ...]) -> list[int]:
        """Indices of the clips of these subjects."""
        return [i for i, clip in enumerate(self.clips) if clip.subject in subjects]


def read_recordings(data_dir: Path) -> ActionRecordings:
    """Read the tables and skeletons of `data_dir` or of its `action/utd_mhad`.

    Raises:
        ManifestError: A table or the skeletons are not there, or do not fit each other.
    """
    inner = data_dir / FOLDER
    folder = inner if inner.is_dir() else data_dir
    names = {int(row["action"]): row["label"] for row in _rows(folder / "labels.csv")}
    numbers = sorted(names)
    rows = _rows(folder / "clips.csv")
    unknown = {row["action"] for row in rows} - {str(number) for number in numbers}
    if unknown:
        raise ManifestError(f"{folder}: clips.csv has actions without a label: {sorted(unknown)}")
    clips = tuple(
        ActionClip(
            row["clip"],
            numbers.index(int(row["action"])),
            int(row["subject"]),
            int(row["trial"]),
            row["split"] == "train",
        )
        for row in rows
    )
    labels = tuple(names[number] for number in numbers)
    return ActionRecordings(folder, labels, clips, _skeletons(folder, clips))


def _skeletons(folder: Path, clips: tuple[ActionClip, ...]) -> dict[str, NDArray[np.float32]]:
    path = folder / "skeleton.npz"
    if not path.is_file():
        raise ManifestError(f"{path}: expected the skeletons, found no file")
    with np.load(path, allow_pickle=False) as arrays:
        missing = {clip.name for clip in clips} - set(arrays.files)
        if missing:
            raise ManifestError(f"{path}: no skeleton for {sorted(missing)[:3]}")
        return {clip.name: arrays[clip.name].astype(np.float32) for clip in clips}


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise ManifestError(f"{table}: expected the table of UTD-MHAD, found no file")
    with table.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
