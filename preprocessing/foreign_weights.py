"""Weights that others publish: where they are expected, and what to fetch where they are not."""

from dataclasses import dataclass
from pathlib import Path

import torch

from models.errors import ModelError


class DetectorUnavailable(ModelError):
    """A backend lacks its weights, or they cannot be read; the message says what to fetch."""

    code = "detector_unavailable"


@dataclass(frozen=True, slots=True)
class WeightFile:
    """Weights that somebody else publishes.

    Attributes:
        backend: The backend that needs them.
        name: File name in the torch hub cache; it ends in the first digits of its sha256.
        url: Where they are published.
        hash_prefix: First digits of the sha256, None where the publisher names none.
    """

    backend: str
    name: str
    url: str
    hash_prefix: str | None = None

    def locate(self, path: Path | None = None, *, download: bool = False) -> Path:
        """Path of the file: `path`, or the torch hub cache.

        Args:
            path: Where the file lies, if not in the cache.
            download: Fetch it if it is absent.

        Raises:
            DetectorUnavailable: It is absent and `download` was not asked for, or failed.
        """
        wanted = path or Path(torch.hub.get_dir()) / "checkpoints" / self.name
        if wanted.is_file():
            return wanted
        if not download:
            raise DetectorUnavailable(
                f"{self.backend}: expected the weights {self.name} at {wanted}, found no file; "
                f"fetch {self.url} and put it there, or give its path"
            )
        return self._fetch(wanted)

    def _fetch(self, wanted: Path) -> Path:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(
                self.url, str(wanted), hash_prefix=self.hash_prefix, progress=False
            )
        except (OSError, RuntimeError) as error:
            raise DetectorUnavailable(
                f"{self.backend}: expected to fetch {self.url} to {wanted}, found: {error}"
            ) from error
        return wanted


S3FD_WEIGHTS = WeightFile(
    "face-alignment",
    "s3fd-619a316812.pth",
    "https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
    "619a316812",
)
FAN_WEIGHTS = WeightFile(
    "face-alignment",
    "2DFAN4-11f355bf06.pth.tar",
    "https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
    "11f355bf06",
)
YUNET_WEIGHTS = WeightFile(
    "yunet",
    "face_detection_yunet_2023mar.onnx",
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
)
