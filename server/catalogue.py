"""Which models there are, read from their `bundle.json`: no torch, no weights."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models
from server.job_types import Kind
from server.settings import Settings

ENHANCEMENT = "enhancement"
HEAD_TASKS: Mapping[Kind, str] = {"gestures": "gesture", "actions": "action"}
LOADABLE = (ENHANCEMENT, *HEAD_TASKS.values())
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """One bundle.

    Attributes:
        id: Name in its description.
        folder: Where it is.
        task: What it does: `enhancement`, `gesture`, `action`, `face_detection`, `lip_sync`, ...
        licence: Terms of use of the weights.
        sample_rate_hz: Of the sound it hears; None without sound.
        scores: As measured when it was trained.
        sha256: Of the weights.
        labels: What a recognition head tells apart; empty for the others.
        streams: What a recognition head looks at, such as `depth` and `flow`.
    """

    id: str
    folder: Path
    task: str
    licence: str | None = None
    sample_rate_hz: int | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    labels: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()


class Catalogue:
    """All bundles of some folders; the first of a name hides the others.

    Args:
        default: Name or folder of the model used unless another is asked for.
        more_places: Folders of bundles beside the packaged and the user's own.
        heads: Name or folder of the head of each kind of recognition; empty: none.
    """

    def __init__(
        self,
        default: str,
        more_places: Sequence[Path] = (),
        heads: Mapping[Kind, str] | None = None,
    ) -> None:
        """Look through the folders once."""
        packaged = Path(models.__path__[0]) / "bundles"
        user = Path.home() / ".cache" / "avse" / "bundles"
        self._models: dict[str, Model] = {}
        self.default_id = self._explicit(default)
        self._head_ids = {kind: self._explicit(name) for kind, name in (heads or {}).items()}
        for place in (*more_places, packaged, user):
            for path in sorted(place.glob("*/bundle.json")):
                self._add(read_model(path.parent))

    def _add(self, model: Model | None) -> None:
        if model is not None:
            self._models.setdefault(model.id, model)

    def _explicit(self, name: str) -> str:
        """The id of a model that may be named by its folder."""
        folder = Path(name)
        model = read_model(folder) if name and (folder / "bundle.json").is_file() else None
        self._add(model)
        return name if model is None else model.id

    def head(self, kind: Kind) -> Model | None:
        """The head that answers a kind of recognition, None where none is configured."""
        model = self._models.get(self._head_ids.get(kind, ""))
        return model if model is not None and model.task == HEAD_TASKS[kind] else None

    def all(self, task: str | None = None) -> list[Model]:
        """Every model, or those of one task, by name."""
        found = sorted(self._models.values(), key=lambda model: model.id)
        return [model for model in found if task in (None, model.task)]

    def find(self, model_id: str) -> Model | None:
        """The model of that name."""
        return self._models.get(model_id)


def catalogue_of(settings: Settings) -> Catalogue:
    """All bundles that the settings name."""
    heads: dict[Kind, str] = {
        "gestures": settings.gesture_model,
        "actions": settings.action_model,
    }
    return Catalogue(settings.model, settings.bundle_dirs, heads)


def read_model(folder: Path) -> Model | None:
    """The model of a folder; None, and a line in the log, if its description is not readable."""
    try:
        spec = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        card, config = spec.get("card", {}), spec.get("model_config", {})
        settings = spec.get("settings", {})
        stft = settings.get("stft", {})
        return Model(
            id=str(spec["name"]),
            folder=folder,
            task=str(spec["task"]),
            licence=card.get("terms"),
            sample_rate_hz=config.get("sample_rate_hz", stft.get("sample_rate_hz")),
            scores=dict(card.get("scores", {})),
            sha256=str(spec.get("sha256", "")),
            labels=tuple(map(str, settings.get("labels", ()))),
            streams=tuple(map(str, settings.get("streams", ()))),
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        _LOG.warning("a bundle is not readable: %s", type(error).__name__)
        return None
