"""A tiny UTD-MHAD: a grey square that rises or falls, and a skeleton that does the same."""

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LABELS = ("rise", "fall")
N_SUBJECTS = 8
N_FRAMES = 18
N_JOINTS = 4


def make_corpus(folder: Path, n_subjects: int = N_SUBJECTS) -> Path:
    """Write `<folder>/action/utd_mhad` and give `folder`."""
    root = folder / "action" / "utd_mhad"
    (root / "depth").mkdir(parents=True)
    rows, skeletons = [], {}
    for subject in range(1, n_subjects + 1):
        for action in (1, 2):
            name = f"a{action:02d}_s{subject}_t1"
            path = np.linspace(0, 1, N_FRAMES) if action == 2 else np.linspace(1, 0, N_FRAMES)
            write_depth(root / "depth" / f"{name}.mp4", path)
            rng = np.random.default_rng([subject, action])
            skeletons[name] = make_skeleton(path, rng)
            split = "train" if subject % 2 else "test"
            rows.append([name, action, subject, 1, N_FRAMES, N_FRAMES, split])
    write_table(
        root / "clips.csv",
        ["clip", "action", "subject", "trial", "depth_frames", "skeleton_frames", "split"],
        rows,
    )
    write_table(root / "labels.csv", ["action", "label"], [[1, LABELS[0]], [2, LABELS[1]]])
    np.savez(root / "skeleton.npz", **skeletons)
    return folder


def make_skeleton(path: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`[T, J, 3]`: the last joint follows `path`, joint 2 is the torso."""
    skeleton = np.tile(rng.normal(0, 0.1, (1, N_JOINTS, 3)), (len(path), 1, 1))
    skeleton[:, -1, 1] += path
    return (skeleton + np.array([0, 0, 2.5])).astype(np.float16)


def write_depth(file: Path, path: np.ndarray) -> None:
    """A person of grey 115 whose hand (150) is at the height `path`, 0 top .. 1 bottom."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = 48, 36, "yuv420p"
        stream.options = {"crf": "10"}
        for place in path:
            image = np.zeros((36, 48, 3), np.uint8)
            image[6:32, 20:28] = 115
            top = 6 + int(place * 18)
            image[top : top + 6, 28:34] = 150
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())


def write_table(file: Path, header: list[str], rows: list[list[object]]) -> None:
    """A CSV file."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([header, *rows])
