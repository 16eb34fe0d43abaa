"""The detector: its arithmetic, its shapes, its gradients, and the bundle that ships."""

import pytest
import torch

from models.face_detector import (
    FaceDetectorConfig,
    FaceDetectorNet,
    box_iou,
    decode_boxes,
    encode_boxes,
    match_anchors,
    non_maximum_suppression,
)
from models.weights import load_strict, load_weights, packaged, read_spec

SMALL = FaceDetectorConfig(widths=(4, 8, 8, 8, 8, 8), n_convs=(1, 1, 1, 1, 1), neck_width=8)


def small_net(seed: int = 0) -> FaceDetectorNet:
    torch.manual_seed(seed)
    return FaceDetectorNet(SMALL)


def test_iou_of_known_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
    expected = torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
    assert torch.allclose(box_iou(boxes, boxes), expected, atol=1e-5)


def test_suppression_keeps_the_best_of_each_pile() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60]])
    kept = non_maximum_suppression(boxes, torch.tensor([0.6, 0.9, 0.7]), 0.35)
    assert kept.tolist() == [1, 2]


def test_suppression_of_nothing_is_nothing() -> None:
    assert len(non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0), 0.5)) == 0


def test_decode_undoes_encode() -> None:
    anchors = torch.tensor([[20.0, 30, 16, 20], [100, 90, 64, 80]])
    boxes = torch.tensor([[10.0, 15, 32, 41], [60, 50, 150, 140]])
    assert torch.allclose(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, atol=1e-3)


@pytest.mark.parametrize("size", [(256, 256), (270, 361), (64, 65), (17, 23)])
def test_any_size_gives_one_row_per_anchor(size: tuple[int, int]) -> None:
    raw = small_net().eval()(torch.zeros(2, 3, *size))
    n_anchors = sum(-(-size[0] // s) * -(-size[1] // s) for s in SMALL.strides_px)
    assert raw.logits.shape == (2, n_anchors, 2)
    assert raw.offsets.shape == (2, n_anchors, 4)
    assert raw.anchors.shape == (n_anchors, 4)


def test_anchors_tile_every_scale_at_equal_proportion() -> None:
    anchors = small_net().eval()(torch.zeros(1, 3, 64, 64)).anchors
    sides = (anchors[:, 2] * anchors[:, 3]).sqrt().round().int()
    assert sides.unique().tolist() == [16, 32, 64, 128, 256]


@pytest.mark.parametrize("side_px", [14, 23, 45, 91, 181, 300])
def test_every_face_gets_anchors_whatever_its_size(side_px: int) -> None:
    anchors = small_net().eval()(torch.zeros(1, 3, 320, 320)).anchors
    generator = torch.Generator().manual_seed(side_px)
    for centre in torch.rand(20, 2, generator=generator) * 100 + 110:
        half = torch.tensor([side_px / 2, side_px * 0.64])
        matched = match_anchors(anchors, torch.cat((centre - half, centre + half))[None])
        assert int((matched == 0).sum()) >= 3


def test_no_faces_match_nothing() -> None:
    anchors = small_net().eval()(torch.zeros(1, 3, 64, 64)).anchors
    assert (match_anchors(anchors, torch.zeros(0, 4)) == -1).all()


def test_the_largest_background_logit_of_the_finest_level_counts() -> None:
    net = small_net().eval()
    head = net.heads[0]
    torch.nn.init.zeros_(head.weight)
    head.bias.data[:4] = torch.tensor([1.0, 7.0, 3.0, 2.0])
    raw = net(torch.zeros(1, 3, 64, 64))
    assert raw.logits[0, 0].tolist() == [7.0, 2.0]


def test_every_parameter_receives_a_gradient() -> None:
    net = small_net().train()
    raw = net(torch.rand(2, 3, 128, 128) * 255)
    (raw.logits.square().sum() + raw.offsets.square().sum()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_folding_the_norms_changes_nothing() -> None:
    net = small_net().train()
    for _ in range(3):
        net(torch.rand(2, 3, 96, 96) * 255)
    net.eval()
    images = torch.rand(1, 3, 96, 80) * 255
    folded = net.folded()
    assert folded.config.is_folded
    assert folded.folded() is folded
    assert torch.allclose(net(images).logits, folded(images).logits, atol=1e-4)


def test_detect_judges_each_picture_by_itself() -> None:
    net = small_net().eval()
    pictures = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    together = net.detect(pictures, threshold=0.04)
    alone = net.detect(pictures[1:], threshold=0.04)
    assert torch.allclose(together[1][0], alone[0][0], atol=1e-3)
    assert together[1][1].tolist() == sorted(together[1][1].tolist(), reverse=True)


def test_detect_wants_bytes() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        small_net().detect(torch.zeros(1, 64, 64, 3))


def test_widths_and_levels_must_agree() -> None:
    with pytest.raises(ValueError, match="expected 6"):
        FaceDetectorConfig(widths=(4, 8))


def test_the_bundle_that_ships_sees_no_face_in_plain_pictures() -> None:
    folder = packaged("face-detector")
    spec = read_spec(folder)
    net = FaceDetectorNet(FaceDetectorConfig(**spec.model_config))
    load_strict(net, load_weights(folder, spec), str(folder))
    plain = torch.full((1, 180, 240, 3), 90, dtype=torch.uint8)
    assert len(net.detect(plain)[0][1]) == 0
    assert {"training", "terms", "scores", "limits"} <= set(spec.card)
