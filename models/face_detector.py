"""Single-shot, scale-invariant face detector after S3FD, small enough for a CPU core."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PIXEL_CENTRE = 127.5
PIXEL_SPREAD = 64.0
CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
MAX_LOG_GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class FaceDetectorConfig:
    """Shape of the network; level k has stride `4 * 2**k`.

    Attributes:
        widths: Channels of the stem and of the levels.
        n_convs: Residual convolutions in each level.
        neck_width: Channels of the top-down path and of the heads' input.
        anchor_scale: Anchor side over stride, the same on all levels (equal proportion).
        anchor_aspect: Height over width of an anchor.
        n_background: Background logits of the finest level; the largest counts (max-out).
        is_folded: Whether the batch norms are folded into the convolutions (inference only).
    """

    widths: tuple[int, ...] = (16, 32, 64, 96, 128, 128)
    n_convs: tuple[int, ...] = (1, 2, 2, 2, 1)
    neck_width: int = 32
    anchor_scale: float = 4.0
    anchor_aspect: float = 1.25
    n_background: int = 3
    is_folded: bool = False

    def __post_init__(self) -> None:
        """Make tuples of JSON lists and check the lengths.

        Raises:
            ValueError: There is not one width more than there are levels.
        """
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "n_convs", tuple(self.n_convs))
        if len(self.widths) != len(self.n_convs) + 1 or not self.n_convs:
            raise ValueError(
                f"widths: expected {len(self.n_convs) + 1} (stem, then one a level), "
                f"found {len(self.widths)}"
            )

    @property
    def strides_px(self) -> tuple[int, ...]:
        """Pixels between neighbouring anchors, level by level."""
        return tuple(4 * 2**level for level in range(len(self.n_convs)))


class RawFaces(NamedTuple):
    """What the network says about every anchor.

    Attributes:
        logits: `[B, A, 2]` background (after max-out) and face.
        offsets: `[B, A, 4]` centre and log-size relative to the anchor, in variances.
        anchors: `[A, 4]` centre x, centre y, width, height, pixels.
    """

    logits: Tensor
    offsets: Tensor
    anchors: Tensor


class ConvUnit(nn.Module):
    """Convolution, batch norm (unless folded), ReLU; adds its input where `is_residual`."""

    def __init__(
        self, n_in: int, n_out: int, config: FaceDetectorConfig, *, stride: int = 1, kernel: int = 3
    ) -> None:
        """Residual where neither size nor channels change."""
        super().__init__()
        padding = kernel // 2
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=config.is_folded)
        self.norm = nn.Identity() if config.is_folded else nn.BatchNorm2d(n_out)
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` -> `[B, C', H', W']`."""
        y = F.relu(self.norm(self.conv(x)), inplace=True)
        return x + y if self.is_residual else y


class FaceDetectorNet(nn.Module):
    """Backbone of stride-2 levels, a thin top-down path, one 3x3 head for each level.

    Reference: Zhang et al., S3FD: Single Shot Scale-invariant Face Detector, ICCV 2017.
    Differs: a small residual backbone with a top-down path in place of VGG-16, anchors a little
    taller than wide, five levels (16 to 256 px) in place of six.
    """

    def __init__(self, config: FaceDetectorConfig) -> None:
        """Build with fresh weights; the prior says background."""
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = ConvUnit(3, widths[0], config, stride=2, kernel=5)
        self.levels = nn.ModuleList(
            _level(n_in, n_out, n_convs, config)
            for n_in, n_out, n_convs in zip(widths[:-1], widths[1:], config.n_convs, strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(n, config.neck_width, 1) for n in widths[1:])
        self.heads = nn.ModuleList(
            nn.Conv2d(config.neck_width, self._n_background(level) + 5, 3, padding=1)
            for level in range(len(config.n_convs))
        )
        self._reset()

    def _n_background(self, level: int) -> int:
        return self.config.n_background if level == 0 else 1

    def _reset(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for head in self.heads:
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias[-5:-4], -3.0)

    def forward(self, images: Tensor) -> RawFaces:
        """Judge every anchor.

        Args:
            images: `[B, 3, H, W]` float RGB, 0 to 255, any size.
        """
        x = (images - PIXEL_CENTRE) / PIXEL_SPREAD
        x = self.stem(x)
        features = []
        for level in self.levels:
            x = level(x)  # [B, C, ceil(H / stride), ceil(W / stride)]
            features.append(x)
        judged = [self._judge(index, level) for index, level in enumerate(self._top_down(features))]
        logits, offsets = (torch.cat(parts, dim=1) for parts in zip(*judged, strict=True))
        sizes = [(feature.shape[2], feature.shape[3]) for feature in features]
        return RawFaces(logits, offsets, self._anchors(sizes, images))

    def _top_down(self, features: list[Tensor]) -> list[Tensor]:
        sides = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        merged = [sides[-1]]
        for side in reversed(sides[:-1]):
            n_rows, n_columns = side.shape[2:]
            above = F.interpolate(merged[-1], scale_factor=2.0, mode="nearest")
            merged.append(side + above[:, :, :n_rows, :n_columns])
        return [F.relu(x) for x in reversed(merged)]

    def _judge(self, index: int, level: Tensor) -> tuple[Tensor, Tensor]:
        n_background = self._n_background(index)
        raw = rearrange(self.heads[index](level), "b c h w -> b (h w) c")
        background = raw[..., :n_background].amax(dim=-1, keepdim=True)
        face = raw[..., n_background : n_background + 1]
        return torch.cat((background, face), dim=-1), raw[..., n_background + 1 :]

    def _anchors(self, sizes: list[tuple[int, int]], like: Tensor) -> Tensor:
        strides = self.config.strides_px
        grids = [
            _grid(size, stride, self.config) for size, stride in zip(sizes, strides, strict=True)
        ]
        return torch.cat(grids).to(like.device)

    @torch.inference_mode()
    def detect(
        self, images: Tensor, threshold: float = 0.5, overlap: float = 0.35
    ) -> list[tuple[Tensor, Tensor]]:
        """Find the faces.

        Args:
            images: `[B, H, W, 3]` uint8 RGB.
            threshold: Least score of a face, 0 to 1.
            overlap: Of two boxes whose IoU is above this, the better one stays.

        Returns:
            For each picture boxes `[N, 4]` (xyxy, pixels) and scores `[N]`, best first.

        Raises:
            ValueError: The pictures are not `[B, H, W, 3]` uint8.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            found = f"{images.dtype} of shape {tuple(images.shape)}"
            raise ValueError(f"detect: expected uint8 [B, H, W, 3], found {found}")
        pixels = rearrange(images, "b h w c -> b c h w").float()
        raw = self(pixels.contiguous(memory_format=torch.channels_last))
        scores = raw.logits[..., 1].sub(raw.logits[..., 0]).sigmoid()  # [B, A]
        return [
            _keep_faces(one_scores, one_offsets, raw.anchors, threshold, overlap)
            for one_scores, one_offsets in zip(scores, raw.offsets, strict=True)
        ]

    def folded(self) -> "FaceDetectorNet":
        """The same function with batch norms folded into the convolutions, in eval mode."""
        if self.config.is_folded:
            return self
        net = FaceDetectorNet(replace(self.config, is_folded=True))
        state = dict(self.state_dict())
        for name, unit in self.named_modules():
            if isinstance(unit, ConvUnit):
                _fold(state, name, unit)
        net.load_state_dict(state, strict=True)
        return net.eval()


def _level(n_in: int, n_out: int, n_convs: int, config: FaceDetectorConfig) -> nn.Sequential:
    residual = [ConvUnit(n_out, n_out, config) for _ in range(n_convs)]
    return nn.Sequential(ConvUnit(n_in, n_out, config, stride=2), *residual)


def _fold(state: dict[str, Tensor], name: str, unit: ConvUnit) -> None:
    norm = unit.norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    for key in [key for key in state if key.startswith(f"{name}.norm.")]:
        del state[key]
    state[f"{name}.conv.weight"] = unit.conv.weight * gain[:, None, None, None]
    state[f"{name}.conv.bias"] = norm.bias - norm.running_mean * gain


def _grid(size: tuple[int, int], stride_px: int, config: FaceDetectorConfig) -> Tensor:
    n_rows, n_columns = size
    y = (torch.arange(n_rows) + 0.5) * stride_px
    x = (torch.arange(n_columns) + 0.5) * stride_px
    centres_y, centres_x = torch.meshgrid(y, x, indexing="ij")
    side_px = stride_px * config.anchor_scale
    width = torch.full_like(centres_x, side_px / config.anchor_aspect**0.5)
    height = torch.full_like(centres_x, side_px * config.anchor_aspect**0.5)
    return rearrange([centres_x, centres_y, width, height], "four h w -> (h w) four")


def _keep_faces(
    scores: Tensor, offsets: Tensor, anchors: Tensor, threshold: float, overlap: float
) -> tuple[Tensor, Tensor]:
    n_most = 400
    index = torch.nonzero(scores >= threshold).squeeze(1)
    index = index[scores[index].argsort(descending=True)[:n_most]]
    boxes = decode_boxes(offsets[index], anchors[index])
    kept = non_maximum_suppression(boxes, scores[index], overlap)
    return boxes[kept], scores[index][kept]


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Boxes `[..., A, 4]` (xyxy, pixels) from offsets `[..., A, 4]` and anchors `[A, 4]`."""
    centres = anchors[..., :2] + offsets[..., :2] * CENTRE_VARIANCE * anchors[..., 2:]
    growth = (offsets[..., 2:] * SIZE_VARIANCE).clamp(-MAX_LOG_GROWTH, MAX_LOG_GROWTH)
    halves = anchors[..., 2:] * growth.exp() / 2
    return torch.cat((centres - halves, centres + halves), dim=-1)


def encode_boxes(boxes_xyxy: Tensor, anchors: Tensor) -> Tensor:
    """Offsets `[A, 4]` that `decode_boxes` turns back into `boxes_xyxy` `[A, 4]`."""
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    shift = (centres - anchors[:, :2]) / anchors[:, 2:] / CENTRE_VARIANCE
    growth = torch.log(sizes / anchors[:, 2:]) / SIZE_VARIANCE
    return torch.cat((shift, growth), dim=1)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of `[N, 4]` and `[M, 4]` xyxy boxes: `[N, M]`."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(each[:, 2:] - each[:, :2]).clamp(min=0).prod(dim=-1) for each in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return common / union.clamp(min=1e-6)


def non_maximum_suppression(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """Indices of the boxes that stay, best first: greedy, IoU above `overlap` removes.

    Args:
        boxes: `[N, 4]` xyxy.
        scores: `[N]`.
        overlap: Largest IoU of two boxes that both stay.
    """
    order = scores.argsort(descending=True)
    is_rival = box_iou(boxes[order], boxes[order]) > overlap
    is_alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for rank in range(len(order)):
        if is_alive[rank]:
            is_alive[rank + 1 :] &= ~is_rival[rank, rank + 1 :]
    return order[is_alive]


def match_anchors(
    anchors: Tensor, boxes_xyxy: Tensor, *, least: float = 0.35, floor: float = 0.1, n_want: int = 6
) -> Tensor:
    """Scale-compensated matching: the face of every anchor.

    First every anchor takes its best face where the IoU is `least` or more. Then a face that got
    fewer than `n_want` anchors (it is tiny or lies between two scales) takes its best `n_want`
    among those above `floor`.

    Args:
        anchors: `[A, 4]` centre x, centre y, width, height.
        boxes_xyxy: `[N, 4]`.
        least: IoU of the first stage.
        floor: IoU of the second stage.
        n_want: Anchors a face should have.

    Returns:
        `[A]` int64: index of the face, or -1 for background.
    """
    matched = torch.full((len(anchors),), -1, dtype=torch.int64)
    if len(boxes_xyxy) == 0:
        return matched
    corners = decode_boxes(torch.zeros_like(anchors), anchors)
    overlaps = box_iou(boxes_xyxy, corners)  # [N, A]
    best, owner = overlaps.max(dim=0)
    matched[best >= least] = owner[best >= least]
    for face, row in enumerate(overlaps):
        if int((matched == face).sum()) < n_want:
            value, index = row.topk(min(n_want, len(row)))
            index = index[value > floor]
            matched[index[matched[index] < 0]] = face
    return matched
