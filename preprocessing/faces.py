"""Faces in single pictures: one protocol, three backends.

`embedded` is our own network and ships with the package; `face-alignment` is the S3FD of the
paper's pipeline; `yunet` is OpenCV's. Only the first needs nothing else, and none of them fetches
anything unless asked to.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models import registry
from models.errors import ModelError
from models.weights import packaged
from preprocessing.foreign_weights import (
    FAN_WEIGHTS,
    S3FD_WEIGHTS,
    YUNET_WEIGHTS,
    DetectorUnavailable,
    WeightFile,
)
from preprocessing.types import Detections

Image = NDArray[np.uint8]

EMBEDDED_BUNDLE = "face-detector"


class FaceDetector(Protocol):
    """Finds faces in pictures."""

    @property
    def name(self) -> str:
        """The name `make_detector` knows it by."""
        ...

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Faces of each picture, best first.

        Args:
            images: Pictures `[H, W, 3]` uint8 RGB, of any and mixed sizes.

        Returns:
            One `Detections` a picture, boxes within the picture.
        """
        ...


class EmbeddedDetector:
    """Our own single-shot detector, on a shrunk picture.

    Args:
        folder: Its bundle; the packaged one by default.
        long_side_px: Pictures are shrunk (never enlarged) to this long side; the bundle's own
            setting by default.
        threshold: Least score of a face.
        device: Where the network runs.
    """

    name = "embedded"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        long_side_px: int | None = None,
        threshold: float = 0.5,
        device: str = "cpu",
    ) -> None:
        """Open the bundle.

        Raises:
            ModelError: As `models.registry.open_bundle` says.
        """
        spec, net = registry.open_bundle(folder or packaged(EMBEDDED_BUNDLE))
        self._net: Any = net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device
        self._threshold = threshold
        self._long_side_px = long_side_px or int(spec.settings.get("long_side_px", 384))

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Faces of each picture; pictures of one size go through the network together."""
        found: dict[int, Detections] = {}
        for shape in {image.shape for image in images}:
            indices = [i for i, image in enumerate(images) if image.shape == shape]
            found |= zip(indices, self._detect_same([images[i] for i in indices]), strict=True)
        return [found[index] for index in range(len(images))]

    @torch.inference_mode()
    def _detect_same(self, images: list[Image]) -> list[Detections]:
        small = [shrink(image, self._long_side_px) for image in images]
        batch = torch.from_numpy(np.stack(small)).to(self._device)
        results = self._net.detect(batch, self._threshold)
        return [
            _detections(boxes.cpu().numpy(), scores.cpu().numpy(), shrunk.shape, image.shape)
            for image, shrunk, (boxes, scores) in zip(images, small, results, strict=True)
        ]


class FaceAlignmentDetector:
    """S3FD of the `face-alignment` package, the detector of the paper's pipeline.

    Args:
        path: `s3fd-619a316812.pth`; the torch hub cache by default.
        download: Fetch the weights if they are absent.
        long_side_px: Pictures are shrunk (never enlarged) to this long side.
        threshold: Least score of a face.
        device: Where the network runs.

    Reference:
        Zhang et al., S3FD: Single Shot Scale-invariant Face Detector, ICCV 2017.
    """

    name = "face-alignment"

    def __init__(
        self,
        path: Path | None = None,
        *,
        download: bool = False,
        long_side_px: int = 640,
        threshold: float = 0.5,
        device: str = "cpu",
    ) -> None:
        """Check that the weights are there, then open them.

        Raises:
            DetectorUnavailable: They are absent or unreadable.
        """
        located = S3FD_WEIGHTS.locate(path, download=download)
        from face_alignment.detection.sfd import FaceDetector as Sfd  # noqa: PLC0415 (slow)

        self._net = _opened(
            S3FD_WEIGHTS,
            located,
            lambda: Sfd(device, path_to_detector=str(located), filter_threshold=threshold),
        )
        self._long_side_px = long_side_px

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Faces of each picture, one picture after another."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> Detections:
        small = shrink(image, self._long_side_px)
        rows = np.asarray(self._net.detect_from_image(small), np.float32).reshape(-1, 5)
        return _detections(rows[:, :4], rows[:, 4], small.shape, image.shape)


class FanLandmarks:
    """The 68 iBUG points of the `face-alignment` package (2D-FAN), as in the paper's pipeline.

    Args:
        path: `2DFAN4-11f355bf06.pth.tar`; the torch hub cache by default.
        download: Fetch the weights if they are absent.
        device: Where the network runs.
    """

    def __init__(
        self, path: Path | None = None, *, download: bool = False, device: str = "cpu"
    ) -> None:
        """Check that the weights are there, then open them.

        Raises:
            DetectorUnavailable: They are absent or unreadable.
        """
        located = FAN_WEIGHTS.locate(path, download=download)
        self._net = _opened(FAN_WEIGHTS, located, lambda: _open_fan(located, device))

    def locate(self, image: Image, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points of each face.

        Args:
            image: `[H, W, 3]` uint8 RGB.
            boxes_xyxy: `[N, 4]` in its pixels.

        Returns:
            `[N, 68, 2]` in its pixels; 48-67 are the mouth.
        """
        if not len(boxes_xyxy):
            return np.zeros((0, 68, 2), np.float32)
        points = self._net.get_landmarks_from_image(image, detected_faces=boxes_xyxy.tolist())
        return np.asarray(points, np.float32)


class YunetDetector:
    """YuNet through OpenCV.

    Args:
        path: The ONNX file; `face_detection_yunet_2023mar.onnx` in the torch hub cache by default.
        download: Fetch the weights if they are absent.
        long_side_px: Pictures are shrunk (never enlarged) to this long side.
        threshold: Least score of a face.
    """

    name = "yunet"

    def __init__(
        self,
        path: Path | None = None,
        *,
        download: bool = False,
        long_side_px: int = 640,
        threshold: float = 0.6,
    ) -> None:
        """Check that the weights are there, then open them.

        Raises:
            DetectorUnavailable: They are absent or unreadable.
        """
        located = YUNET_WEIGHTS.locate(path, download=download)
        self._net = _opened(
            YUNET_WEIGHTS,
            located,
            lambda: cv2.FaceDetectorYN.create(str(located), "", (320, 320), threshold),
        )
        self._long_side_px = long_side_px

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Faces of each picture, one picture after another."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> Detections:
        small = shrink(image, self._long_side_px)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = np.zeros((0, 15), np.float32) if rows is None else rows
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], 1)
        return _detections(boxes, faces[:, 14], small.shape, image.shape)


DETECTORS: dict[str, Callable[..., FaceDetector]] = {
    EmbeddedDetector.name: EmbeddedDetector,
    FaceAlignmentDetector.name: FaceAlignmentDetector,
    YunetDetector.name: YunetDetector,
}


def make_detector(name: str = "embedded", **options: Any) -> FaceDetector:
    """A detector by name; `options` are the keyword arguments of its class.

    Raises:
        ModelError: The name is unknown, or the backend's weights are not there.
    """
    if name not in DETECTORS:
        raise ModelError(f"face detector: expected one of {sorted(DETECTORS)}, found {name!r}")
    return DETECTORS[name](**options)


def shrink(image: Image, long_side_px: int) -> Image:
    """The picture with at most that long side, its shape kept; never enlarged."""
    height, width = image.shape[:2]
    scale = long_side_px / max(height, width)
    if scale >= 1.0:
        return np.ascontiguousarray(image)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cast("Image", cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _detections(
    boxes: NDArray[Any], scores: NDArray[Any], shape: tuple[int, ...], full: tuple[int, ...]
) -> Detections:
    """Boxes of a picture of `shape` in a picture of `full`, within it, best first."""
    scale = np.array([full[1] / shape[1], full[0] / shape[0]] * 2, np.float32)
    limits = np.array([full[1], full[0]] * 2, np.float32)
    scaled = np.clip(boxes.reshape(-1, 4).astype(np.float32) * scale, 0, limits)
    has_area = (scaled[:, 2] > scaled[:, 0]) & (scaled[:, 3] > scaled[:, 1])
    kept = np.flatnonzero(has_area)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    return Detections(scaled[order], np.clip(scores[order], 0, 1).astype(np.float32))


def _opened(weights: WeightFile, path: Path, open_net: Callable[[], Any]) -> Any:
    """Call `open_net`; what another package raises about its weights becomes our error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return open_net()
    except Exception as error:
        raise DetectorUnavailable(
            f"{weights.backend}: expected the weights of {weights.url} in {path}, found: {error}"
        ) from error


def _open_fan(path: Path, device: str) -> Any:
    from face_alignment import FaceAlignment, LandmarksType  # noqa: PLC0415 (slow)
    from face_alignment.models import FAN  # noqa: PLC0415 (slow)

    class LocalFaceAlignment(FaceAlignment):  # type: ignore[misc]
        """The package's class, which reads the weights we located and never downloads."""

        def _load_native(self, _name: str, n_modules: int, device: str, dtype: Any) -> Any:
            net = FAN(n_modules)
            net.load_state_dict(torch.load(path, map_location=device, weights_only=True))
            return net.to(device, dtype=dtype).eval()

    return LocalFaceAlignment(
        LandmarksType.TWO_D, device=device, compile=False, face_detector="folder"
    )
