"""Which models there are, read from their `bundle.json`: no torch, no weights."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models

ENHANCEMENT = "enhancement"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """One bundle.

    Attributes:
        id: Name in its description.
        folder: Where it is.
        task: What it does: `enhancement`, `face_detection`, `lip_sync`, ...
        licence: Terms of use of the weights.
        sample_rate_hz: Of the sound it hears; None without sound.
        scores: As measured when it was trained.
        sha256: Of the weights.
    """

    id: str
    folder: Path
    task: str
    licence: str | None = None
    sample_rate_hz: int | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


class Catalogue:
    """All bundles of some folders; the first of a name hides the others.

    Args:
        default: Name or folder of the model used unless another is asked for.
        more_places: Folders of bundles beside the packaged and the user's own.
    """

    def __init__(self, default: str, more_places: Sequence[Path] = ()) -> None:
        """Look through the folders once."""
        packaged = Path(models.__path__[0]) / "bundles"
        user = Path.home() / ".cache" / "avse" / "bundles"
        explicit = Path(default)
        folders = [explicit] if (explicit / "bundle.json").is_file() else []
        for place in (*more_places, packaged, user):
            folders += sorted(path.parent for path in place.glob("*/bundle.json"))
        self._models: dict[str, Model] = {}
        for folder in folders:
            model = read_model(folder)
            if model is not None:
                self._models.setdefault(model.id, model)
        first = read_model(folders[0]) if folders and folders[0] == explicit else None
        self.default_id = default if first is None else first.id

    def all(self, task: str | None = None) -> list[Model]:
        """Every model, or those of one task, by name."""
        found = sorted(self._models.values(), key=lambda model: model.id)
        return [model for model in found if task in (None, model.task)]

    def find(self, model_id: str) -> Model | None:
        """The model of that name."""
        return self._models.get(model_id)


def read_model(folder: Path) -> Model | None:
    """The model of a folder; None, and a line in the log, if its description is not readable."""
    try:
        spec = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        card, config = spec.get("card", {}), spec.get("model_config", {})
        stft = spec.get("settings", {}).get("stft", {})
        return Model(
            id=str(spec["name"]),
            folder=folder,
            task=str(spec["task"]),
            licence=card.get("terms"),
            sample_rate_hz=config.get("sample_rate_hz", stft.get("sample_rate_hz")),
            scores=dict(card.get("scores", {})),
            sha256=str(spec.get("sha256", "")),
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        _LOG.warning("a bundle is not readable: %s", type(error).__name__)
        return None
