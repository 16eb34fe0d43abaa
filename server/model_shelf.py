"""The networks of the model process: loaded when needed, unloaded when idle."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avse.enhancer import Enhancer
from models.errors import BundleNotFound, ModelError
from server.catalogue import ENHANCEMENT, HEAD_TASKS, LOADABLE, Catalogue, Model
from server.job_types import ModelStatus
from server.loading import give_memory_back, open_enhancer, open_recogniser

if TYPE_CHECKING:
    from avse.recognition import Recogniser

logger = logging.getLogger(__name__)

_HEADS = tuple(HEAD_TASKS.values())

Report = Callable[[str, ModelStatus, str], None]


@dataclass(frozen=True, slots=True)
class ShelfConfig:
    """How networks are kept.

    Attributes:
        device: `auto`, `cpu` or `cuda[:N]`.
        ttl_s: An enhancer unused so long is unloaded; 0: never.
        batch_windows: Windows of one forward pass; None: as the device likes it.
        head_ttl_s: The same as `ttl_s` for a recognition head.
    """

    device: str = "auto"
    ttl_s: float = 0.0
    batch_windows: int | None = None
    head_ttl_s: float = 0.0


@dataclass(slots=True)
class _Place:
    """Where one network stands, or will stand; the lock is held while it is loaded.

    Attributes:
        model: Its bundle.
        network: None: not loaded.
        used_s: When it was last asked for.
    """

    model: Model
    network: Any = None
    used_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class ModelShelf:
    """Enhancers and recognition heads by the name of their bundle.

    One that is being loaded keeps nobody from using the others.

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
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    @property
    def default_id(self) -> str:
        """The model of jobs that name none."""
        return self._catalogue.default_id

    def folder(self, model_id: str) -> Path:
        """Where the bundle of a recognition head is.

        Raises:
            BundleNotFound: There is no such head.
        """
        return self._place(model_id, _HEADS).model.folder

    def loaded_ids(self) -> list[str]:
        """Models in memory."""
        return sorted(name for name, place in self._all() if place.network is not None)

    def get(self, model_id: str | None = None) -> Enhancer:
        """The enhancer of a model, loaded and warmed up if it is not there yet.

        Raises:
            ModelError: There is no such model, or it cannot be loaded.
        """
        enhancer: Enhancer = self._network(model_id or self.default_id, (ENHANCEMENT,))
        return enhancer

    def head(self, model_id: str) -> "Recogniser":
        """The recognition head of a model, loaded if it is not there yet.

        Raises:
            ModelError: There is no such head, or it cannot be loaded.
        """
        recogniser: Recogniser = self._network(model_id, _HEADS)
        return recogniser

    def load(self, model_id: str) -> None:
        """Have a model in memory, whatever it does.

        Raises:
            ModelError: There is no such model, or it cannot be loaded.
        """
        self._network(model_id, LOADABLE)

    def unload(self, model_id: str) -> None:
        """Let go of a model; work under way with it is finished."""
        place = self._places.get(model_id)
        if place is None:
            return
        with place.lock:
            was_loaded, place.network = place.network is not None, None
        if was_loaded:
            give_memory_back()
            self._report(model_id, "available", "")

    def idle_ids(self) -> list[str]:
        """Models unused for longer than their time to live."""
        return [name for name, place in self._all() if self._is_idle(place)]

    def differs(self, wanted: Mapping[str, bool]) -> list[tuple[str, bool]]:
        """Models that someone wants otherwise than they are: `(model, whether to load)`."""
        loaded = set(self.loaded_ids())
        return [(each, is_on) for each, is_on in wanted.items() if is_on != (each in loaded)]

    def _all(self) -> list[tuple[str, _Place]]:
        with self._lock:
            return list(self._places.items())

    def _is_idle(self, place: _Place) -> bool:
        is_head = place.model.task != ENHANCEMENT
        ttl_s = self._config.head_ttl_s if is_head else self._config.ttl_s
        is_kept = place.network is None or not ttl_s
        return not is_kept and time.monotonic() - place.used_s > ttl_s

    def _network(self, model_id: str, tasks: tuple[str, ...]) -> Any:
        place = self._place(model_id, tasks)
        with place.lock:
            if place.network is None:
                place.network = self._load(place.model)
            place.used_s = time.monotonic()
            return place.network

    def _place(self, model_id: str, tasks: tuple[str, ...]) -> _Place:
        model = self._catalogue.find(model_id)
        if model is None or model.task not in tasks:
            raise BundleNotFound(f"no bundle {model_id!r} for {' or '.join(tasks)}")
        with self._lock:
            return self._places.setdefault(model_id, _Place(model))

    def _load(self, model: Model) -> Any:
        self._report(model.id, "loading", "")
        start = time.perf_counter()
        try:
            network = self._open(model)
        except Exception as error:
            code = error.code if isinstance(error, ModelError) else "internal"
            self._report(model.id, "failed", code)
            raise
        logger.info("loaded %s in %.2f s", model.id, time.perf_counter() - start)
        self._report(model.id, "ready", "")
        return network

    def _open(self, model: Model) -> Any:
        if model.task == ENHANCEMENT:
            return open_enhancer(model.folder, self._config.device, self._config.batch_windows)
        return open_recogniser(model.folder, self._config.device)
