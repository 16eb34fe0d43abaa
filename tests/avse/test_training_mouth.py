"""Training of the landmark network on made pictures: two steps, resume, flips, bias, errors."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from avse.training.mouth import (
    MouthRun,
    MouthTrainingConfig,
    evaluate_landmarks,
    learning_rate,
    train_mouth_landmarks,
)
from avse.training.mouth_faces import (
    FLIPPED_POINTS,
    PATCH_PX,
    AugmentConfig,
    augmented_crop,
    load_face_patches,
    plain_crop,
    teacher_bias,
)
from avse.training.run_folder import RunFolder
from models.mouth_landmarks import MouthLandmarksConfig, MouthLandmarksNet
from models.weights import load_strict, load_weights, read_spec

SMALL = MouthLandmarksConfig(
    face_px=32, stem_channels=4, stage_channels=(4, 6, 8), stage_blocks=(1, 1, 1), heat_channels=4
)
STILL = AugmentConfig(shift=0, scale=1, rotation_deg=0, occlusion=0, blur=0, noise=0)
CONFIG = MouthTrainingConfig(n_steps=2, batch_size=4, n_checkpoint_steps=1, model=SMALL)


def _points68(offset: float) -> list[list[float]]:
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points = np.zeros((68, 2))
    points[36], points[45] = (40, 50), (80, 50)
    points[48:] = np.stack((60 - 12 * np.cos(angles), 90 - 5 * np.sin(angles)), axis=1) + offset
    return points.tolist()


def _label(name: str, split: str, has_human: bool) -> dict[str, Any]:
    label: dict[str, Any] = {"file": name, "split": split, "width": 120, "height": 120}
    teacher = np.array(_points68(1.0))[48:].tolist()
    five = [45.0, 50.0, 75.0, 50.0, 60.0, 70.0, 48.0, 90.0, 72.0, 90.0]
    label["faces"] = [
        {"box_xywh": [35.0, 30.0, 50.0, 75.0], "points5": five, "score": 0.9, "mouth20": teacher}
    ]
    if has_human:
        label["points68_human"] = _points68(0.0)
    return label


@pytest.fixture
def faces_dir(tmp_path: Path) -> Path:
    """Eight made pictures with labels, half of them with human points."""
    folder = tmp_path / "made" / "faces"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = []
    for n in range(8):
        picture = rng.integers(0, 255, (120, 120), dtype=np.uint8)
        cv2.circle(picture, (60, 90), 12, 250, -1)
        cv2.imwrite(str(folder / f"{n}.png"), picture)
        labels.append(_label(f"{n}.png", "valid" if n > 5 else "train", n % 2 == 0))
    labels.append(_label("missing.png", "train", True))
    (folder / "labels.json").write_text(json.dumps(labels))
    return tmp_path / "made"


def test_two_steps_write_a_bundle_and_a_log(faces_dir: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "run"
    seen: list[tuple[str, float, float]] = []
    scores = train_mouth_landmarks(faces_dir, out_dir, CONFIG, lambda *call: seen.append(call))
    assert seen == [("mouth", 1, 2), ("mouth", 2, 2)]
    records = [json.loads(line) for line in (out_dir / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    spec = read_spec(out_dir / "bundle")
    assert spec.card["scores"] == pytest.approx(scores, abs=1e-5)
    assert spec.card["n_training_faces"] == 6
    net = MouthLandmarksNet(MouthLandmarksConfig(**spec.model_config))
    load_strict(net, load_weights(out_dir / "bundle", spec), "test")


def test_a_second_call_resumes(faces_dir: Path, tmp_path: Path) -> None:
    def weights_after(out_dir: Path, stops: tuple[int, ...]) -> torch.Tensor:
        for n_steps in stops:
            config = MouthTrainingConfig(
                n_steps=n_steps, batch_size=4, n_checkpoint_steps=1, n_warmup_steps=9, model=SMALL
            )
            train_mouth_landmarks(faces_dir, out_dir, config)
        run = MouthRun(config)
        run.resume(RunFolder(out_dir))
        assert run.step == stops[-1]
        return run.net.heat.weight

    once = weights_after(tmp_path / "a", (3,))
    twice = weights_after(tmp_path / "b", (1, 3))
    torch.testing.assert_close(once, twice)


def test_missing_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels\.json"):
        train_mouth_landmarks(tmp_path, tmp_path / "out", CONFIG)


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    labels = [_label("none.png", "train", True)]
    (tmp_path / "faces" / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(FileNotFoundError, match="none of them"):
        load_face_patches(tmp_path, tmp_path / "faces.npz")


def test_patches_are_cached_until_the_labels_change(faces_dir: Path, tmp_path: Path) -> None:
    cache = tmp_path / "faces.npz"
    first = load_face_patches(faces_dir, cache)
    for picture in (faces_dir / "faces").glob("*.png"):
        picture.unlink()
    again = load_face_patches(faces_dir, cache)
    np.testing.assert_array_equal(first.patches, again.patches)
    np.testing.assert_array_equal(first.points, again.points)
    (faces_dir / "faces" / "labels.json").write_text("[]")
    with pytest.raises(FileNotFoundError):
        load_face_patches(faces_dir, cache)


def test_teacher_bias_is_taken_off(faces_dir: Path, tmp_path: Path) -> None:
    labels = json.loads((faces_dir / "faces" / "labels.json").read_text())
    np.testing.assert_allclose(teacher_bias(labels), 1 / 40)
    np.testing.assert_allclose(teacher_bias([_label("x", "train", False)]), 0)
    faces = load_face_patches(faces_dir, tmp_path / "faces.npz")
    scale = PATCH_PX / (2.2 * 75)
    assert faces.is_human.tolist() == [True, False] * 4
    assert faces.eyes_px[0] == pytest.approx(40 * scale)
    np.testing.assert_allclose(faces.points[0, :20], faces.human[0], atol=1e-4)
    expected = (np.array(_points68(0.0))[48:] - (60, 67.5)) * scale + PATCH_PX / 2
    np.testing.assert_allclose(faces.human[0], expected, atol=1e-4)


def test_flipping_twice_is_the_identity() -> None:
    np.testing.assert_array_equal(FLIPPED_POINTS[FLIPPED_POINTS], np.arange(25))


def _dotted() -> tuple[np.ndarray, np.ndarray]:
    """A patch with one bright dot on point 0, all points mirrored about the middle column."""
    points = np.random.default_rng(1).uniform(70, 120, (25, 2)).astype(np.float32)
    points = (points + (points * (-1, 1) + (PATCH_PX, 0))[FLIPPED_POINTS]) / 2
    patch = np.zeros((PATCH_PX, PATCH_PX), np.uint8)
    cv2.circle(patch, tuple(np.round(points[0] - 0.5).astype(int)), 4, 255, -1)
    return patch, points.astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_points_move_with_the_picture(seed: int) -> None:
    patch, points = _dotted()
    config = AugmentConfig(occlusion=0, noise=0, blur=0)
    rng = np.random.default_rng(seed)
    crop, moved = augmented_crop(patch, points, (96, 1.5), config, rng)
    bright = crop.astype(float) - crop.min() > 0.6 * np.ptp(crop)
    rows, columns = np.nonzero(bright)
    dot = (np.array([np.median(columns), np.median(rows)]) + 0.5) / 96
    assert np.linalg.norm(moved[[0, 6]] - dot, axis=1).min() < 0.03


def test_still_augmentation_equals_the_plain_crop() -> None:
    patch, points = _dotted()
    for seed in range(5):
        _, moved = augmented_crop(patch, points, (96, 1.2), STILL, np.random.default_rng(seed))
        _, to_units = plain_crop(patch, 96, (1.2, 0.0, 0.0))
        expected = points @ to_units[:, :2].T + to_units[:, 2]
        np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_occlusion_and_blur_keep_shape_and_range() -> None:
    patch, points = _dotted()
    config = AugmentConfig(occlusion=1, blur=1)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        crop, moved = augmented_crop(patch, points, (64, 1.2), config, rng)
        assert crop.shape == (64, 64)
        assert crop.dtype == np.uint8
        assert np.isfinite(moved).all()


def test_schedule_rises_then_falls_to_zero() -> None:
    config = MouthTrainingConfig(n_steps=100, n_warmup_steps=10)
    rates = [learning_rate(step, config) for step in range(101)]
    assert np.argmax(rates) in (9, 10)
    assert rates[-1] == pytest.approx(0)


class _Truth(MouthLandmarksNet):
    """Says where the made points are, displaced by a tenth of the outer-eye distance."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        side = 75 * self.config.box_enlargement
        points = (np.array(_points68(4.0))[48:] - (60, 67.5)) / side + 0.5
        points = np.concatenate((points, np.zeros((5, 2)))).astype(np.float32)
        return torch.from_numpy(points).expand(len(faces), -1, -1)


def test_error_is_in_outer_eye_distances(faces_dir: Path, tmp_path: Path) -> None:
    faces = load_face_patches(faces_dir, tmp_path / "faces.npz")
    scores = evaluate_landmarks(_Truth(SMALL), faces)
    assert scores["error_human"] == pytest.approx(0.1 * 2**0.5, rel=1e-3)
    assert np.isnan(
        evaluate_landmarks(_Truth(SMALL), faces.select(faces.is_human))["error_teacher"]
    )
