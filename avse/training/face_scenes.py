"""Made pictures for the face detector: labelled faces pasted over varied backgrounds."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import Unreadable
from preprocessing.types import Progress, no_progress

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
LEAST_BACKGROUND_PX = 28
SURE_SCORE = 0.8
PART_MARGIN = 0.06


@dataclass(frozen=True, slots=True)
class FacePicture:
    """One labelled picture.

    Attributes:
        name: File relative to the folder of faces.
        image: `[H, W, 3]` uint8 RGB.
        boxes_xyxy: `[N, 4]` float32 teacher boxes, pixels; they may reach past the edge.
        is_sure: `[N]` whether the teacher was sure (`SURE_SCORE` or more).
        is_valid: Whether it is held out.
    """

    name: str
    image: Image
    boxes_xyxy: Boxes
    is_sure: NDArray[np.bool_]
    is_valid: bool


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """How scenes are made.

    Attributes:
        side_px: Height and width of a scene.
        least_face_px: Smaller faces (geometric mean of the sides) count as background or not at
            all: they are left out of the loss.
        most_face: Largest face, as a share of the scene's side.
        n_most_faces: Faces pasted into one scene.
        n_most_parts: Face-free parts pasted into one scene.
        empty_share: Share of scenes without any face.
    """

    side_px: int = 256
    least_face_px: float = 14.0
    most_face: float = 0.95
    n_most_faces: int = 4
    n_most_parts: int = 5
    empty_share: float = 0.12


@dataclass(slots=True)
class Scene:
    """A picture under construction; `unsure` regions are left out of the loss."""

    image: Image
    boxes: list[Boxes] = field(default_factory=list)
    unsure: list[Boxes] = field(default_factory=list)


def load_face_pictures(
    faces_dir: Path, progress: Progress = no_progress, limit: int | None = None
) -> list[FacePicture]:
    """Decode every labelled picture once.

    Args:
        faces_dir: Folder with `labels.json` (file, faces[].box_xywh, split) and the pictures.
        progress: Called as `(stage, done, total)`.
        limit: Read only the first so many.

    Raises:
        Unreadable: The labels or a picture cannot be read.
    """
    path = faces_dir / "labels.json"
    try:
        records = json.loads(path.read_text(encoding="utf-8"))[:limit]
    except (OSError, ValueError) as error:
        raise Unreadable(path, "a JSON list of labelled pictures", str(error)) from error
    pictures = []
    for index, record in enumerate(records):
        pictures.append(_read_picture(faces_dir, record))
        progress("read faces", index + 1, len(records))
    return pictures


def _read_picture(faces_dir: Path, record: dict[str, object]) -> FacePicture:
    path = faces_dir / str(record["file"])
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise Unreadable(path, "a picture", "nothing that can be decoded")
    faces = record["faces"]
    assert isinstance(faces, list)
    boxes = np.array([face["box_xywh"] for face in faces], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    is_sure = np.array([face.get("score", 1.0) >= SURE_SCORE for face in faces], np.bool_)
    is_valid = record["split"] == "valid"
    return FacePicture(str(record["file"]), image.astype(np.uint8), boxes, is_sure, is_valid)


class SceneMaker:
    """Makes training scenes from labelled pictures held in memory."""

    def __init__(self, pictures: list[FacePicture], config: SceneConfig, seed: int) -> None:
        """Remember the pictures and cut the face-free parts out of them.

        Raises:
            ValueError: There is no picture with a face.
        """
        self.config = config
        self.pictures = [picture for picture in pictures if len(picture.boxes_xyxy)]
        if not self.pictures:
            raise ValueError("SceneMaker: expected pictures with faces, found none")
        self.rng = np.random.default_rng(seed)
        self.backgrounds = [part for each in self.pictures for part in faceless_parts(each)]

    def make(self) -> tuple[Image, Boxes, Boxes]:
        """One scene: image `[S, S, 3]`, faces `[N, 4]` and unsure regions `[M, 4]` (xyxy)."""
        rng, side = self.rng, self.config.side_px
        scene = Scene(self._background())
        for _ in range(rng.integers(0, self.config.n_most_parts + 1)):
            self._paste_background(scene)
        if rng.random() >= self.config.empty_share:
            many = int(rng.integers(2, self.config.n_most_faces + 1))
            n_faces = 1 if rng.random() < 0.6 else many
            for _ in range(n_faces):
                self._paste_face(scene, n_faces)
        image = spoil(scene.image, rng)
        assert image.shape == (side, side, 3)
        return image, _stack(scene.boxes), _stack(scene.unsure)

    def _background(self) -> Image:
        rng, side = self.rng, self.config.side_px
        kind = rng.random()
        if kind < 0.6 and self.backgrounds:
            part = self._part()
            return cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        if kind < 0.8:
            n_cells = int(2 ** rng.integers(1, 7))
            cells = rng.integers(0, 256, (n_cells, n_cells, 3), np.uint8)
            return cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        corners = rng.integers(0, 256, (2, 2, 3)).astype(np.float32)
        return cv2.resize(corners, (side, side)).clip(0, 255).astype(np.uint8)

    def _part(self) -> Image:
        part = self.backgrounds[self.rng.integers(len(self.backgrounds))]
        height, width = part.shape[:2]
        share = self.rng.uniform(0.2, 1.0, 2)
        rows, columns = max(16, int(height * share[0])), max(16, int(width * share[1]))
        top = int(self.rng.integers(0, max(1, height - rows)))
        left = int(self.rng.integers(0, max(1, width - columns)))
        return part[top : top + rows, left : left + columns]

    def _paste_background(self, scene: Scene) -> None:
        if not self.backgrounds:
            return
        part, side = self._part(), self.config.side_px
        target_px = float(np.exp(self.rng.uniform(np.log(24), np.log(side))))
        scale = target_px / max(part.shape[:2])
        matrix = self._placement(part, np.array(part.shape[1::-1]) / 2, scale)
        self._blend(scene, part, matrix, None)

    def _placement(self, image: Image, centre: NDArray[np.float64], scale: float) -> Boxes:
        """Affine 2x3 that puts `centre` somewhere in the scene, turned and perhaps mirrored."""
        rng, side = self.rng, self.config.side_px
        angle = np.deg2rad(rng.normal(0, 12) if rng.random() < 0.8 else rng.uniform(-45, 45))
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        stretch = scale * np.exp(rng.normal(0, 0.04, 2))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([mirror * stretch[0], stretch[1]])
        target = rng.uniform(0.0, side, 2)
        return np.hstack((linear, (target - linear @ centre)[:, None])).astype(np.float32)

    def _paste_face(self, scene: Scene, n_faces: int) -> None:
        picture = self.pictures[self.rng.integers(len(self.pictures))]
        box = picture.boxes_xyxy[0]
        sizes = box[2:] - box[:2]
        side = self.config.side_px
        most_px = self.config.most_face * side / (1.0 if n_faces == 1 else 2.0)
        log_px = self.rng.uniform(np.log(self.config.least_face_px), np.log(most_px))
        wanted_px = float(np.exp(log_px))
        scale = wanted_px / float(np.sqrt(sizes.prod()))
        image, shrink = _shrunk(picture.image, scale)
        boxes = picture.boxes_xyxy * shrink
        for _ in range(6):
            centre = (boxes[0, :2] + boxes[0, 2:]) / 2
            matrix = self._placement(image, centre.astype(np.float64), scale / shrink)
            moved = np.stack([_move_box(each, matrix) for each in boxes])
            is_inside = _visible_share(moved[:1], side)[0] > 0.75
            is_free = not scene.boxes or not _covers(moved, scene.boxes)
            if is_inside and is_free:
                self._blend(scene, image, matrix, boxes)
                self._note(scene, moved, picture.is_sure)
                return

    def _note(self, scene: Scene, moved: Boxes, is_sure: NDArray[np.bool_]) -> None:
        shares = _visible_share(moved, self.config.side_px)
        for box, share, sure in zip(moved, shares, is_sure, strict=True):
            is_large = np.sqrt((box[2:] - box[:2]).prod()) >= self.config.least_face_px
            if share > 0.6 and is_large and sure:
                scene.boxes.append(box)
            elif share > 0.0:
                scene.unsure.append(box)

    def _blend(self, scene: Scene, image: Image, matrix: Boxes, boxes: Boxes | None) -> None:
        """Warp the picture in: as it is, with soft edges, or the head alone in a soft ellipse."""
        size = (self.config.side_px, self.config.side_px)
        alpha = self._alpha(image, boxes)
        warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
        flat = np.asarray(cv2.warpAffine(alpha, matrix, size), np.float32)
        if boxes is not None:
            scene.unsure.extend(_hidden(scene, flat))
        weight = flat[..., None]
        mixed = scene.image + (warped.astype(np.float32) - scene.image) * weight
        scene.image = mixed.astype(np.uint8)

    def _alpha(self, image: Image, boxes: Boxes | None) -> Boxes:
        height, width = image.shape[:2]
        kind = self.rng.random()
        alpha = np.ones((height, width), np.float32)
        if kind < 0.5:
            return alpha
        if kind < 0.75 or (boxes is not None and len(boxes) > 1):
            margin = max(1, int(min(height, width) * self.rng.uniform(0.02, 0.12)))
            alpha[:margin], alpha[-margin:], alpha[:, :margin], alpha[:, -margin:] = 0, 0, 0, 0
            return np.asarray(cv2.blur(alpha, (margin, margin)), np.float32)
        box = np.array([0, 0, width, height]) if boxes is None else boxes[0]
        centre = (box[:2] + box[2:]) / 2
        half = (box[2:] - box[:2]) / 2 * self.rng.uniform(1.05, 1.5)
        alpha[:] = 0
        axes = (max(1, int(half[0])), max(1, int(half[1])))
        cv2.ellipse(alpha, (int(centre[0]), int(centre[1])), axes, 0, 0, 360, 1.0, -1)
        soft = max(1, int(half.min() * self.rng.uniform(0.02, 0.2)))
        return np.asarray(cv2.blur(alpha, (soft, soft)), np.float32)


def faceless_parts(picture: FacePicture) -> list[Image]:
    """Bands left, right, above and below all faces (hair, ears and clothes are hard negatives)."""
    height, width = picture.image.shape[:2]
    boxes = picture.boxes_xyxy
    sizes = (boxes[:, 2:] - boxes[:, :2]) * PART_MARGIN
    low = (boxes[:, :2] - sizes).min(axis=0).clip(0).astype(int)
    high = (boxes[:, 2:] + sizes).max(axis=0).astype(int)
    bottom = int((boxes[:, 3] + sizes[:, 1]).max())
    bands = (
        picture.image[:, : low[0]],
        picture.image[:, min(high[0], width) :],
        picture.image[: low[1]],
        picture.image[min(bottom, height) :],
    )
    return [band for band in bands if min(band.shape[:2]) >= LEAST_BACKGROUND_PX]


def spoil(image: Image, rng: np.random.Generator) -> Image:
    """Light, colour, grey, blur, noise and compression, each now and then."""
    x = image.astype(np.float32)
    if rng.random() < 0.7:
        x = 255.0 * (x / 255.0) ** np.exp(rng.normal(0, 0.3))
        x = (x - 127.5) * np.exp(rng.normal(0, 0.2)) + 127.5 + rng.normal(0, 15)
        x = x * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    if rng.random() < 0.15:
        x = np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.3:
        sigma_px = float(rng.uniform(0.4, 2.0))
        x = np.asarray(cv2.GaussianBlur(x.astype(np.float32), (0, 0), sigma_px), np.float32)
    if rng.random() < 0.3:
        x = x + rng.standard_normal(x.shape, dtype=np.float32) * rng.uniform(1, 12)
    spoiled = x.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 85))]
        spoiled = _decoded(cv2.imencode(".jpg", spoiled, quality)[1])
    return spoiled


def _decoded(content: NDArray[np.uint8]) -> Image:
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def _shrunk(image: Image, scale: float) -> tuple[Image, float]:
    """The picture averaged down close to its final size, so that the warp does not alias."""
    if scale > 0.7:
        return image, 1.0
    size = (max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8), scale


def _move_box(box: Boxes, matrix: Boxes) -> Boxes:
    """Upright box of the ellipse inside `box` after the affine `matrix`."""
    linear = matrix[:, :2]
    centre = linear @ ((box[:2] + box[2:]) / 2) + matrix[:, 2]
    half = (box[2:] - box[:2]) / 2
    reach = np.sqrt((linear**2) @ (half**2))
    return np.concatenate((centre - reach, centre + reach)).astype(np.float32)


def _visible_share(boxes: Boxes, side_px: int) -> Boxes:
    clipped = boxes.clip(0, side_px)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (clipped, boxes)]
    return np.asarray(areas[0] / np.maximum(areas[1], 1e-6), np.float32)


def _covers(moved: Boxes, earlier: list[Boxes]) -> bool:
    boxes = np.stack(earlier)
    low = np.maximum(moved[:, None, :2], boxes[None, :, :2])
    high = np.minimum(moved[:, None, 2:], boxes[None, :, 2:])
    return bool(((high - low).min(axis=-1) > 0).any())


def _hidden(scene: Scene, weight: Boxes) -> list[Boxes]:
    """Take out of the scene the faces that a paste covers; they become unsure."""
    hidden = []
    for box in list(scene.boxes):
        left, top, right, bottom = (int(v) for v in box.clip(0, weight.shape[0]))
        if weight[top:bottom, left:right].mean() > 0.1:
            hidden.append(box)
    scene.boxes = [box for box in scene.boxes if not any(box is each for each in hidden)]
    return [box for box in hidden if _mean_weight(box, weight) < 0.7]


def _mean_weight(box: Boxes, weight: Boxes) -> float:
    left, top, right, bottom = (int(v) for v in box.clip(0, weight.shape[0]))
    return float(weight[top:bottom, left:right].mean())


def _stack(boxes: list[Boxes]) -> Boxes:
    return np.stack(boxes) if boxes else np.zeros((0, 4), np.float32)
