"""The enhancement networks of the model process: loaded when needed, unloaded when idle."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avse.enhancer import Enhancer, EnhancerConfig
from models.errors import BundleNotFound, ModelError
from preprocessing.timeline import SAMPLE_RATE_HZ, VIDEO_FPS, n_video_frames
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip, SourceInfo, Waveform
from server.catalogue import ENHANCEMENT, Catalogue
from server.job_types import ModelStatus

logger = logging.getLogger(__name__)

_WARM_UP_S = 1.0
_CROP_PX = 122

Report = Callable[[str, ModelStatus, str], None]


@dataclass(frozen=True, slots=True)
class ShelfConfig:
    """How networks are kept.

    Attributes:
        device: `auto`, `cpu` or `cuda[:N]`.
        ttl_s: A network unused so long is unloaded; 0: never.
        batch_windows: Windows of one forward pass; None: as the device likes it.
    """

    device: str = "auto"
    ttl_s: float = 0.0
    batch_windows: int | None = None


@dataclass(slots=True)
class _Loaded:
    enhancer: Enhancer
    used_s: float = field(default_factory=time.monotonic)


class ModelShelf:
    """Enhancers by the name of their bundle.

    Args:
        catalogue: Which bundles there are.
        config: How they are kept.
        report: Told how each model stands.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        config: ShelfConfig = ShelfConfig(),
        report: Report = lambda model_id, status, detail: None,
    ) -> None:
        """Load nothing yet."""
        self._catalogue = catalogue
        self._config = config
        self._report = report
        self._loaded: dict[str, _Loaded] = {}
        self._lock = threading.Lock()

    @property
    def default_id(self) -> str:
        """The model of jobs that name none."""
        return self._catalogue.default_id

    def loaded_ids(self) -> list[str]:
        """Models in memory."""
        return sorted(self._loaded)

    def get(self, model_id: str | None = None) -> Enhancer:
        """The enhancer of a model, loaded and warmed up if it is not there yet.

        Raises:
            ModelError: There is no such model, or it cannot be loaded.
        """
        model_id = model_id or self.default_id
        with self._lock:
            loaded = self._loaded.get(model_id)
            if loaded is None:
                loaded = self._loaded[model_id] = _Loaded(self._load(model_id))
            loaded.used_s = time.monotonic()
            return loaded.enhancer

    def unload(self, model_id: str) -> None:
        """Let go of a model; work under way with it is finished."""
        with self._lock:
            if self._loaded.pop(model_id, None) is None:
                return
        gc.collect()
        self._report(model_id, "available", "")

    def idle_ids(self) -> list[str]:
        """Models unused for longer than their time to live."""
        if not self._config.ttl_s:
            return []
        oldest_s = time.monotonic() - self._config.ttl_s
        return [model_id for model_id, each in self._loaded.items() if each.used_s < oldest_s]

    def differs(self, wanted: Mapping[str, bool]) -> list[tuple[str, bool]]:
        """Models that someone wants otherwise than they are: `(model, whether to load)`."""
        loaded = set(self._loaded)
        return [(each, is_on) for each, is_on in wanted.items() if is_on != (each in loaded)]

    def _load(self, model_id: str) -> Enhancer:
        model = self._catalogue.find(model_id)
        if model is None or model.task != ENHANCEMENT:
            raise BundleNotFound(f"no enhancement bundle {model_id!r}")
        self._report(model_id, "loading", "")
        try:
            enhancer = self._open(model.folder)
        except ModelError as error:
            self._report(model_id, "failed", error.code)
            raise
        self._report(model_id, "ready", "")
        return enhancer

    def _open(self, folder: Path) -> Enhancer:
        start = time.perf_counter()
        config = EnhancerConfig(batch_windows=self._config.batch_windows)
        enhancer = Enhancer(folder, device=self._config.device, config=config)
        opened_s = time.perf_counter() - start
        enhancer.enhance(warm_up_clip())
        warm_s = time.perf_counter() - start - opened_s
        logger.info("loaded %s in %.2f s, warm in %.2f s", folder.name, opened_s, warm_s)
        return enhancer


def warm_up_clip() -> PreparedClip:
    """A second of noise with a face whose mouth flickers: every network runs once."""
    generator = np.random.default_rng(0)
    n_samples = round(_WARM_UP_S * SAMPLE_RATE_HZ)
    audio = generator.normal(0.0, 0.05, n_samples).astype(np.float32)
    n_pictures = n_video_frames(n_samples)
    times_s = np.arange(n_pictures) / VIDEO_FPS
    boxes = np.tile(np.array([0, 0, 200, 200], np.float32), (n_pictures, 1))
    scores = np.ones(n_pictures, np.float32)
    track = FaceTrack(1, np.arange(n_pictures), times_s, boxes, scores)
    crops = generator.integers(0, 256, (n_pictures, _CROP_PX, _CROP_PX)).astype(np.uint8)
    landmarks = np.full((n_pictures, 20, 2), 100.0, np.float32)
    mouth = MouthTrack(crops, np.ones(n_pictures, np.bool_), 0.0, landmarks)
    source = SourceInfo(Path("warm-up"), "none", SAMPLE_RATE_HZ, 1, 1, True, float(VIDEO_FPS))
    return PreparedClip(Waveform(audio, SAMPLE_RATE_HZ), (track,), {1: mouth}, source, n_pictures)
