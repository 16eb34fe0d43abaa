"""Measuring the face detector: held-out pictures, made scenes by size, frames of clips."""

import csv
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avse.training.face_scenes import Boxes, FacePicture, Image, SceneConfig, SceneMaker
from models.face_detector import FaceDetectorNet, box_iou
from preprocessing.media import open_frames
from preprocessing.types import Progress, no_progress

AGREED_IOU = 0.5
TOUCHED_IOU = 0.3
LARGE_FACE_PX = 40.0
SIZE_STEPS_PX = (14, 20, 40, 80, 160, 1000)
CLIP_LONG_SIDE_PX = 384
SCENE_SEED = 90210


def evaluate_face_detector(
    net: FaceDetectorNet,
    pictures: list[FacePicture],
    *,
    threshold: float = 0.5,
    progress: Progress = no_progress,
) -> dict[str, float]:
    """Agreement with the teacher on pictures as they are.

    Returns:
        `recall`: share of all teacher boxes >= 40 px found with IoU >= .5; `recall_sure`: of those
        the teacher was sure of; `mean_iou` of the boxes found; `false_per_picture`: detections
        that meet no teacher box with IoU >= .3; `ms_per_picture`; `n_faces`; `n_pictures`.
    """
    overlaps: list[float] = []
    is_sure: list[bool] = []
    n_false, spent_s = 0, 0.0
    for index, picture in enumerate(pictures):
        start_s = time.perf_counter()
        found = _found(net, picture.image, threshold)
        spent_s += time.perf_counter() - start_s
        is_large = sizes_px(picture.boxes_xyxy) >= LARGE_FACE_PX
        overlaps += _best(picture.boxes_xyxy, found)[is_large].tolist()
        is_sure += picture.is_sure[is_large].tolist()
        n_false += _count_false(found, picture.boxes_xyxy)
        progress("measure faces", index + 1, len(pictures))
    agreed = np.array(overlaps) >= AGREED_IOU
    return {
        "recall": _mean(agreed),
        "recall_sure": _mean(agreed[np.array(is_sure, np.bool_)]),
        "mean_iou": _mean(np.array(overlaps)[agreed]),
        "false_per_picture": n_false / max(1, len(pictures)),
        "ms_per_picture": 1000.0 * spent_s / max(1, len(pictures)),
        "n_faces": float(len(overlaps)),
        "n_pictures": float(len(pictures)),
    }


def evaluate_on_scenes(
    net: FaceDetectorNet,
    pictures: list[FacePicture],
    scenes: SceneConfig,
    *,
    n_scenes: int = 300,
    threshold: float = 0.5,
) -> dict[str, float]:
    """Recall by face size on scenes made of held-out pictures, always the same scenes.

    Returns:
        `recall_14_20px`, ... (geometric mean of the box's sides) and `false_per_scene`.
    """
    maker = SceneMaker(pictures, scenes, SCENE_SEED)
    sizes: list[float] = []
    overlaps: list[float] = []
    n_false = 0
    for _ in range(n_scenes):
        image, boxes, unsure = maker.make()
        found = _found(net, image, threshold)
        sizes += sizes_px(boxes).tolist()
        overlaps += _best(boxes, found).tolist()
        n_false += _count_false(found, np.concatenate((boxes, unsure)))
    scores = {"false_per_scene": n_false / n_scenes}
    for low, high in pairwise(SIZE_STEPS_PX):
        is_in = (np.array(sizes) >= low) & (np.array(sizes) < high)
        if is_in.any():
            scores[f"recall_{low}_{high}px"] = _mean(np.array(overlaps)[is_in] >= AGREED_IOU)
    return scores


def evaluate_on_clips(
    net: FaceDetectorNet, clips: Iterable[Path], *, every: int = 5, threshold: float = 0.5
) -> dict[str, float]:
    """What it finds in clips of one talking face, shrunk to a long side of 384 px.

    Returns:
        `n_frames` looked at; `with_face`, `with_more`: shares of frames with at least one and with
        more than one detection; `least_score`: of the best face of a frame.
    """
    counts: list[int] = []
    best: list[float] = []
    for clip in clips:
        for frame in open_frames(clip):
            if frame.index % every == 0:
                _, scores = net.detect(torch.from_numpy(_shrunk(frame.image))[None], 0.05)[0]
                counts.append(int((scores >= threshold).sum()))
                best.append(float(scores[0]) if len(scores) else 0.0)
    return {
        "n_frames": float(len(counts)),
        "with_face": _mean(np.array(counts) > 0),
        "with_more": _mean(np.array(counts) > 1),
        "least_score": min(best, default=0.0),
    }


def clips_by_corpus(data_dir: Path, n_most: int = 8) -> dict[str, list[Path]]:
    """Some clips of every corpus in `av.csv`, spread evenly; none where there is no such list."""
    listing = data_dir / "av.csv"
    if not listing.is_file():
        return {}
    corpora: dict[str, list[Path]] = defaultdict(list)
    with listing.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            parts = Path(row["path"]).parts[:-1]
            name = "/".join(parts[-2:]) if "newsar" not in parts else "newsar"
            corpora[name].append(data_dir / row["path"])
    return {name: clips[:: -(-len(clips) // n_most)] for name, clips in corpora.items()}


def evaluate_by_corpus(net: FaceDetectorNet, data_dir: Path) -> dict[str, dict[str, float]]:
    """`evaluate_on_clips` for some clips of every corpus; empty where there are none."""
    corpora = clips_by_corpus(data_dir)
    return {name: evaluate_on_clips(net, clips) for name, clips in corpora.items()}


def sizes_px(boxes: Boxes) -> NDArray[np.float64]:
    """Geometric mean of the sides of boxes `[N, 4]`: `[N]`."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(0).astype(np.float64)
    return np.asarray(np.sqrt(sides.prod(axis=1)), np.float64)


def _found(net: FaceDetectorNet, image: Image, threshold: float) -> Tensor:
    return net.detect(torch.from_numpy(image)[None], threshold)[0][0]


def _best(boxes: Boxes, found: Tensor) -> NDArray[np.float64]:
    if len(found) == 0:
        return np.zeros(len(boxes))
    best = box_iou(torch.from_numpy(boxes), found).amax(dim=1)
    return np.asarray(best.double().numpy())


def _count_false(found: Tensor, allowed: Boxes) -> int:
    if len(allowed) == 0:
        return len(found)
    return int((box_iou(found, torch.from_numpy(allowed)).amax(dim=1) < TOUCHED_IOU).sum())


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _shrunk(image: NDArray[np.uint8]) -> Image:
    scale = CLIP_LONG_SIDE_PX / max(image.shape[:2])
    if scale >= 1.0:
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
