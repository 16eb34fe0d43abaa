"""Training of the face detector on made pictures."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avse.training.face_scenes import (
    FacePicture,
    SceneConfig,
    SceneMaker,
    faceless_parts,
    load_face_pictures,
)
from avse.training.face_scores import clips_by_corpus, evaluate_on_clips, evaluate_on_scenes
from avse.training.faces import (
    UNSURE,
    FaceTraining,
    SceneBatch,
    anchor_targets,
    detection_loss,
    evaluate_face_detector,
    make_batch,
    shift_scores,
    train_face_detector,
)
from models.face_detector import FaceDetectorConfig, FaceDetectorNet
from models.weights import load_weights, read_spec
from preprocessing.errors import Unreadable

TINY = FaceDetectorConfig(widths=(4, 8, 8, 8, 8, 8), n_convs=(0, 0, 0, 0, 0), neck_width=8)
SCENES = SceneConfig(side_px=96)
TRAINING = FaceTraining(batch=2, network=TINY, scenes=SCENES, n_scored_scenes=4)


def drawn_face(seed: int) -> tuple[np.ndarray, list[float]]:
    rng = np.random.default_rng(seed)
    image = np.full((160, 160, 3), rng.integers(0, 255, 3), np.uint8)
    x, y = (int(v) for v in rng.integers(60, 100, 2))
    cv2.ellipse(image, (x, y), (24, 30), 0, 0, 360, (200, 160, 140), -1)
    cv2.circle(image, (x - 10, y - 8), 3, (20, 20, 20), -1)
    cv2.circle(image, (x + 10, y - 8), 3, (20, 20, 20), -1)
    cv2.ellipse(image, (x, y + 14), (9, 3), 0, 0, 360, (120, 40, 40), -1)
    return image, [x - 24.0, y - 30.0, 48.0, 60.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    faces = tmp_path / "faces"
    (faces / "tv").mkdir(parents=True)
    records = []
    for index in range(6):
        image, box = drawn_face(index)
        name = f"tv/Person_{index}.jpg"
        cv2.imwrite(str(faces / name), image[..., ::-1])
        split = "valid" if index > 3 else "train"
        records.append({"file": name, "faces": [{"box_xywh": box}], "split": split})
    (faces / "labels.json").write_text(json.dumps(records))
    return tmp_path


def picture(seed: int = 0) -> FacePicture:
    image, (x, y, w, h) = drawn_face(seed)
    boxes = np.array([[x, y, x + w, y + h]], np.float32)
    return FacePicture("made", image, boxes, np.array([True]), False)


def test_pictures_are_read_as_rgb_with_corner_boxes(folder: Path) -> None:
    pictures = load_face_pictures(folder / "faces")
    image, (x, y, w, h) = drawn_face(0)
    assert np.abs(pictures[0].image.astype(int) - image).mean() < 4
    assert pictures[0].boxes_xyxy.tolist() == [[x, y, x + w, y + h]]
    assert [p.is_valid for p in pictures] == [False] * 4 + [True] * 2


def test_a_missing_picture_is_named(folder: Path) -> None:
    (folder / "faces/tv/Person_2.jpg").unlink()
    with pytest.raises(Unreadable, match=r"Person_2\.jpg"):
        load_face_pictures(folder / "faces")


def test_missing_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"labels\.json"):
        load_face_pictures(tmp_path)


def test_no_pictures_with_faces_is_an_error() -> None:
    with pytest.raises(ValueError, match="found none"):
        SceneMaker([], SCENES, 0)


def test_parts_without_faces_hold_none_of_the_face() -> None:
    made = picture()
    left, top, right, bottom = made.boxes_xyxy[0].astype(int)
    marked = made.image.copy()
    marked[:] = 0
    marked[top:bottom, left:right] = 255
    parts = faceless_parts(replace(made, image=marked))
    assert [part.max() for part in parts] == [0] * 4


def test_scenes_repeat_with_the_seed_and_keep_faces_in_sight() -> None:
    makers = [SceneMaker([picture(0), picture(1)], SCENES, 7) for _ in range(2)]
    n_faces = 0
    for _ in range(20):
        (image, boxes, _), (again, _, _) = makers[0].make(), makers[1].make()
        assert (image.shape, image.dtype) == ((96, 96, 3), np.uint8)
        assert (image == again).all()
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert ((centres > 0) & (centres < 96)).all()
        n_faces += len(boxes)
    assert n_faces > 10


def test_unsure_regions_are_left_out_but_faces_inside_stay() -> None:
    anchors = torch.tensor([[8.0, 8, 16, 16], [24, 8, 16, 16], [60, 60, 16, 16]])
    boxes, unsure = torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 40, 40]])
    assert anchor_targets(anchors, boxes, unsure).tolist() == [0, UNSURE, -1]


def test_loss_falls_when_the_answer_is_right() -> None:
    net = FaceDetectorNet(TINY)
    batch = make_batch(SceneMaker([picture(0)], SCENES, 0), 3)
    raw = net(batch.images)
    targets = torch.stack(
        [anchor_targets(raw.anchors, b, u) for b, u in zip(batch.boxes, batch.unsure, strict=True)]
    )
    right = torch.stack((10.0 - 20.0 * (targets >= 0), -10.0 + 20.0 * (targets >= 0)), dim=-1)
    good = detection_loss(raw._replace(logits=right), batch, TRAINING)
    bad = detection_loss(raw._replace(logits=-right), batch, TRAINING)
    assert good["class"] < 1e-3 < bad["class"]


def test_loss_of_pictures_without_faces_is_finite() -> None:
    nothing = [torch.zeros(0, 4)]
    batch = SceneBatch(torch.zeros(1, 3, 96, 96), nothing, nothing)
    losses = detection_loss(FaceDetectorNet(TINY)(batch.images), batch, TRAINING)
    assert losses["box"] == 0
    assert torch.isfinite(losses["class"])


def test_two_steps_make_a_bundle_and_a_run_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    spec = train_face_detector(folder, out, steps=2, training=TRAINING)
    assert read_spec(out / "bundle").sha256 == spec.sha256
    assert load_weights(out / "bundle", spec)
    assert spec.card["steps"] == 2
    assert spec.card["scores"]["pictures"]["n_faces"] == 2
    again = train_face_detector(folder, out, steps=3, training=TRAINING)
    assert again.card["steps"] == 3
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 2, 3, 3]


def test_shifted_scores_call_the_raw_threshold_one_half() -> None:
    net = FaceDetectorNet(TINY).eval()
    images = torch.rand(1, 3, 64, 64) * 255
    before = net(images).logits.diff(dim=-1).sigmoid()
    shift_scores(net, 0.8)
    after = net(images).logits.diff(dim=-1).sigmoid()
    odds = 4.0 * after / (1 - after)
    assert torch.allclose(odds, before / (1 - before), rtol=1e-3)


class Oracle(FaceDetectorNet):
    def __init__(self, boxes: torch.Tensor) -> None:
        super().__init__(TINY)
        self.boxes = boxes

    def detect(
        self, images: torch.Tensor, threshold: float = 0.5, overlap: float = 0.35
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(self.boxes, torch.ones(len(self.boxes)))]


def test_scores_count_agreement_and_false_alarms() -> None:
    made = picture()
    true = torch.from_numpy(made.boxes_xyxy)
    far = torch.tensor([[0.0, 0, 9, 9]])
    right = evaluate_face_detector(Oracle(true), [made])
    assert (right["recall"], right["false_per_picture"]) == (1.0, 0.0)
    wrong = evaluate_face_detector(Oracle(far), [made])
    assert (wrong["recall"], wrong["false_per_picture"]) == (0.0, 1.0)
    assert evaluate_face_detector(Oracle(torch.zeros(0, 4)), [made])["recall"] == 0.0


def test_clips_are_measured_by_corpus(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (160, 160)
    )
    for _ in range(10):
        writer.write(drawn_face(0)[0])
    writer.release()
    (tmp_path / "av.csv").write_text("path\nav/grid/s1/a.mp4\nav/newsar/ar00/b.mp4\n")
    assert set(clips_by_corpus(tmp_path)) == {"grid/s1", "newsar"}
    two = torch.tensor([[0.0, 0, 9, 9], [20, 20, 40, 40]])
    scores = evaluate_on_clips(Oracle(two), [tmp_path / "a.avi"])
    assert scores == {"n_frames": 2.0, "with_face": 1.0, "with_more": 1.0, "least_score": 1.0}


def test_recall_on_scenes_is_told_by_size() -> None:
    scores = evaluate_on_scenes(Oracle(torch.zeros(0, 4)), [picture()], SCENES, n_scenes=6)
    assert scores["false_per_scene"] == 0.0
    assert any(name.startswith("recall_") for name in scores)
