"""Labelled face pictures as normalised patches, and the crops that are drawn from them."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mouth_landmarks import N_FACE_POINTS, N_MOUTH_POINTS
from preprocessing.mouth_geometry import warp_affine

PATCH_PX = 192
PATCH_BOXES = 2.2
OUTER_EYES_PER_EYE_CENTRES = 1 / 0.73
FLIPPED_POINTS = np.array(
    [6, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 16, 15, 14, 13, 12, 19, 18, 17, 21, 20, 22, 24, 23]
)
_N_POINTS = N_MOUTH_POINTS + N_FACE_POINTS
_MATCH_EYES = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FacePatches:
    """Faces cut out with their surroundings; the detector's box is centred in the patch.

    Attributes:
        patches: `[N, 192, 192]` uint8 grey; the side is 2.2 times the box's longer edge.
        points: `[N, 25, 2]` float32 training targets, patch pixels.
        human: `[N, 20, 2]` float32 human-checked mouth points, patch pixels; NaN where there are
            none, and the bias-corrected teacher's points are the reference.
        eyes_px: `[N]` float32 outer-eye distance, patch pixels.
        is_valid: `[N]` bool; True = a person who is not in training.
        is_human: `[N]` bool; whether a human checked the picture.
    """

    patches: NDArray[np.uint8]
    points: NDArray[np.float32]
    human: NDArray[np.float32]
    eyes_px: NDArray[np.float32]
    is_valid: NDArray[np.bool_]
    is_human: NDArray[np.bool_]

    def select(self, chosen: NDArray[np.bool_]) -> "FacePatches":
        """The faces where `chosen` is True."""
        return FacePatches(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How a training crop differs from the detector's box.

    Attributes:
        shift: Largest displacement in each direction, of the region's side.
        scale: Largest factor (and its inverse) on the region's side.
        rotation_deg: Largest rotation; half of the crops stay within a third of it.
        occlusion: Share of crops with a patch of noise or grey.
        blur: Share of crops blurred or reduced in resolution.
        noise: Largest standard deviation of added noise, grey levels.
    """

    shift: float = 0.13
    scale: float = 1.3
    rotation_deg: float = 40.0
    occlusion: float = 0.3
    blur: float = 0.5
    noise: float = 10.0


def load_face_patches(data_dir: Path, cache_path: Path) -> FacePatches:
    """Labelled faces of a folder, cut once and kept in `cache_path`.

    Args:
        data_dir: Holds `faces/labels.json` and the pictures it names.
        cache_path: An `.npz` beside the run; written if absent or made from other labels.

    Raises:
        FileNotFoundError: There are no labels, or none of their pictures is there.
    """
    labels_path = data_dir / "faces" / "labels.json"
    if not labels_path.is_file():
        raise FileNotFoundError(f"{labels_path}: expected face labels, found no file")
    content = labels_path.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    if cache_path.is_file():
        with np.load(cache_path) as stored:
            if str(stored["key"]) == key:
                return FacePatches(*(stored[name] for name in FacePatches.__slots__))
    faces = _cut_all(json.loads(content), labels_path.parent)
    cache_path.parent.mkdir(parents=True, exist_ok=True)
    partial = cache_path.with_name(f".partial.{cache_path.name}")
    arrays = {name: getattr(faces, name) for name in FacePatches.__slots__}
    np.savez(partial, key=np.array(key), **arrays)
    partial.replace(cache_path)
    return faces


def _cut_all(labels: list[dict[str, Any]], folder: Path) -> FacePatches:
    bias = teacher_bias(labels)
    rows: list[tuple[Any, ...]] = []
    n_missing = 0
    for label in labels:
        picture = cv2.imread(str(folder / label["file"]), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            n_missing += 1
            continue
        rows.extend(_cut(picture, face, label, bias) for face in label["faces"])
    if n_missing:
        _log.warning("%d of %d labelled pictures are not there", n_missing, len(labels))
    if not rows:
        raise FileNotFoundError(f"{folder}: expected labelled pictures, found none of them")
    patches, points, human, eyes_px, is_valid, is_human = zip(*rows, strict=True)
    return FacePatches(
        np.stack(patches),
        np.stack(points).astype(np.float32),
        np.stack(human).astype(np.float32),
        np.array(eyes_px, dtype=np.float32),
        np.array(is_valid),
        np.array(is_human),
    )


def teacher_bias(labels: list[dict[str, Any]]) -> NDArray[np.float64]:
    """`[20, 2]` median of teacher minus human mouth points, in outer-eye distances.

    The two mark the lips by slightly different habits; zeros where no picture has both.
    """
    differences = []
    for label in labels:
        for face in label["faces"]:
            human = _human_points(face, label)
            if human is not None:
                differences.append((_mouth(face) - human[48:68]) / _outer_eyes_px(human))
    if not differences:
        return np.zeros((N_MOUTH_POINTS, 2))
    median: NDArray[np.float64] = np.median(np.stack(differences), axis=0)
    return median


def _cut(
    picture: NDArray[Any], face: dict[str, Any], label: dict[str, Any], bias: NDArray[np.float64]
) -> tuple[Any, ...]:
    x, y, width, height = face["box_xywh"]
    scale = PATCH_PX / (PATCH_BOXES * max(width, height))
    corner = np.array([x + width / 2, y + height / 2]) - PATCH_PX / scale / 2
    five = np.asarray(face["points5"], dtype=np.float64).reshape(N_FACE_POINTS, 2)
    human = _human_points(face, label)
    eyes_px = float(np.linalg.norm(five[1] - five[0])) * OUTER_EYES_PER_EYE_CENTRES
    if human is not None:
        eyes_px = _outer_eyes_px(human)
    teacher = _mouth(face) - bias * eyes_px
    reference = teacher if human is None else human[48:68]
    points = np.concatenate(((reference + teacher) / 2, five))
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    return (
        warp_affine(picture, matrix, PATCH_PX),
        (points - corner) * scale,
        (reference - corner) * scale,
        eyes_px * scale,
        label["split"] == "valid",
        human is not None,
    )


def _mouth(face: dict[str, Any]) -> NDArray[np.float64]:
    return np.asarray(face["mouth20"], dtype=np.float64)


def _outer_eyes_px(points68: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(points68[36] - points68[45]))


def _human_points(face: dict[str, Any], label: dict[str, Any]) -> NDArray[np.float64] | None:
    """The picture's human points if they are this face's."""
    if label.get("points68_human") is None:
        return None
    human = np.asarray(label["points68_human"], dtype=np.float64)
    distance = np.linalg.norm(human[48:68].mean(axis=0) - _mouth(face).mean(axis=0))
    return human if distance < _MATCH_EYES * _outer_eyes_px(human) else None


def plain_crop(
    patch: NDArray[np.uint8], side_px: int, region: tuple[float, float, float]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Crop a patch as inference would.

    Args:
        patch: `[192, 192]` uint8.
        side_px: Side of the crop.
        region: Side of the region and displacement of its centre in x and y, in box edges.

    Returns:
        The crop and the `[2, 3]` matrix from patch pixels to crop units.
    """
    side, shift_x, shift_y = (value * PATCH_PX / PATCH_BOXES for value in region)
    corner = np.array([shift_x, shift_y]) + (PATCH_PX - side) / 2
    to_units = np.array([[1 / side, 0, -corner[0] / side], [0, 1 / side, -corner[1] / side]])
    return warp_affine(patch, to_units * side_px, side_px), to_units


def augmented_crop(
    patch: NDArray[np.uint8],
    points: NDArray[np.float32],
    region: tuple[int, float],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A training crop and its points.

    Args:
        patch: `[192, 192]` uint8.
        points: `[25, 2]` patch pixels.
        region: Side of the crop in pixels, and of the region in box edges.
        config: Strengths.
        rng: The only source of chance.

    Returns:
        `[side, side]` uint8 and `[25, 2]` crop units.
    """
    side_px, enlargement = region
    to_units = _random_similarity(enlargement, config, rng)
    crop = warp_affine(patch, to_units * side_px, side_px)
    moved = points @ to_units[:, :2].T + to_units[:, 2]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
        moved = (moved * (-1, 1) + (1, 0))[FLIPPED_POINTS]
    return _degraded(np.ascontiguousarray(crop), config, rng), moved.astype(np.float32)


def _random_similarity(
    enlargement: float, config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    side = PATCH_PX / PATCH_BOXES * enlargement * config.scale ** rng.uniform(-1, 1)
    spread = config.rotation_deg * (1 / 3 if rng.random() < 0.5 else 1)
    angle = np.radians(rng.uniform(-spread, spread))
    centre = PATCH_PX / 2 + rng.uniform(-1, 1, 2) * config.shift * side
    cosine, sine = np.cos(angle) / side, np.sin(angle) / side
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack((turn, 0.5 - turn @ centre))


def _degraded(
    crop: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    side_px = crop.shape[0]
    if rng.random() < config.blur:
        crop = _blurred(crop, rng)
    grey: NDArray[np.floating[Any]] = crop.astype(np.float32)
    if rng.random() < 0.7:
        grey = 255 * (grey / 255) ** np.float32(2 ** rng.uniform(-1, 1))
        slope = rng.uniform(-60, 60, 2) * (rng.random() < 0.5)
        line = np.linspace(-1, 1, side_px, dtype=np.float32)
        grey = grey * rng.uniform(0.5, 1.4) + slope[0] * line + slope[1] * line[:, None]
    if rng.random() < 0.5:
        grey = grey + rng.normal(0, rng.uniform(0, config.noise), grey.shape)
    if rng.random() < config.occlusion:
        _occlude(grey, rng)
    return np.asarray(np.clip(grey, 0, 255), dtype=np.uint8)


def _blurred(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    side_px = crop.shape[0]
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.4, 2.0)), dtype=np.uint8)
    small_px = int(side_px * rng.uniform(0.25, 0.8))
    small = cv2.resize(crop, (small_px, small_px), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.uint8)


def _occlude(grey: NDArray[Any], rng: np.random.Generator) -> None:
    side_px = grey.shape[0]
    height, width = (rng.uniform(0.1, 0.4, 2) * side_px).astype(int)
    top, left = (rng.uniform(-0.1, 0.9, 2) * side_px).astype(int).clip(0)
    patch = grey[top : top + height, left : left + width]
    spread = 50.0 * (rng.random() < 0.5)
    patch[:] = rng.uniform(0, 255) + rng.normal(0, spread, patch.shape)
