"""Rows of the tables: which towers, which fusion, which side of the split; runs kept on disk."""

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from avse.training.heads.plan import HeadsConfig, Row, Split
from avse.training.heads.probe import fit_classifier
from avse.training.heads.training import (
    Head,
    HeadTraining,
    Material,
    Part,
    Scores,
    score_head,
    train_head,
)
from avse.training.run_folder import code_version
from models.action import SKELETON, ActionConfig, ActionHead
from models.gesture import GestureConfig, GestureHead
from models.i3d import INCEPTIONS
from preprocessing.types import Progress, no_progress

log = logging.getLogger(__name__)

ACTION_POINTS = (("4f", "conv5"), ("5b", "conv6"), ("5c", "fc7"))


class Bench:
    """Trains towers and rows of one split and keeps what came out.

    Towers go to `<folder>/<split>/towers/<stream>_<seed>.pt`, scores to
    `<folder>/<split>/<head>-<row>-<seed>.json`. What is there is not computed again.
    """

    def __init__(
        self, folder: Path, material: Material, config: HeadsConfig, split: Split, stem: Head
    ) -> None:
        """Open the folder.

        Args:
            folder: Of all splits.
            material: Features, skeletons, labels.
            config: All settings.
            split: Who trains and who is scored.
            stem: A gesture head whose towers have the stem's weights, of every picture stream.
        """
        self.folder = folder / split.name
        self.material, self.config, self.split = material, config, split
        self._stem = stem.video.state_dict()
        (self.folder / "towers").mkdir(parents=True, exist_ok=True)

    def clips(self, is_train: bool) -> tuple[int, ...]:
        """Indices of one side."""
        side = self.split.train if is_train else self.split.scored
        return tuple(self.material.recordings.of_subjects(side))

    def tower(self, stream: str, seed: int, progress: Progress = no_progress) -> dict[str, Any]:
        """Weights of a tower trained alone, by their keys in a head; trained at the first call."""
        path = self.folder / "towers" / f"{stream}_{seed}.pt"
        if path.is_file():
            state: dict[str, Any] = torch.load(path, weights_only=True)
            return state
        kind = "action" if stream == SKELETON else "gesture"
        row = Row(kind, f"{stream} alone", "late", n_points=0)
        head = self.fresh_head(row, seed)
        if stream != SKELETON:
            fit_classifier(head, self.material, self._part(row, (stream,), is_train=True))
        self._train(head, row, (stream,), self.config.of_stream(stream), seed, progress)
        scores = self._score(head, row, (stream,))
        prefixes = ("skeleton.",) if stream == SKELETON else tower_prefixes(stream)
        state = {k: v for k, v in head.state_dict().items() if k.startswith(prefixes)}
        self._keep(f"{stream}-alone-{seed}", scores, {"name": f"{stream} alone", "seed": seed})
        torch.save(state, path)
        return state

    def alone(self, stream: str, seed: int, progress: Progress = no_progress) -> dict[str, Any]:
        """Scores of a tower trained alone."""
        self.tower(stream, seed, progress)
        return _read(self.folder / f"{stream}-alone-{seed}.json")

    def row(self, row: Row, seed: int, progress: Progress = no_progress) -> dict[str, Any]:
        """Scores of a row; trained at the first call, and the first seed's weights kept."""
        path = self.folder / f"{row_key(row, seed)}.json"
        if path.is_file():
            return _read(path)
        started = time.monotonic()
        head = self.trained_row(row, seed, progress)
        if seed == self.config.seeds[0]:
            torch.save(_own_weights(head), self._weights_file(row, seed))
        scores = self._score(head, row, row.streams)
        described = asdict(row) | {"seed": seed, "seconds": round(time.monotonic() - started, 1)}
        return self._keep(row_key(row, seed), scores, described)

    def has_tower(self, stream: str, seed: int) -> bool:
        """Whether a tower was trained and scored already."""
        return (self.folder / "towers" / f"{stream}_{seed}.pt").is_file()

    def has_run(self, row: Row, seed: int) -> bool:
        """Whether the scores of a row are there already."""
        return (self.folder / f"{row_key(row, seed)}.json").is_file()

    def kept_head(self, row: Row, seed: int) -> Head:
        """The head whose scores `row` gave, for the first seed.

        Raises:
            FileNotFoundError: `row` was not called with that seed.
        """
        head = self.fresh_head(row, seed)
        own = torch.load(self._weights_file(row, seed), weights_only=True)
        head.load_state_dict(head.state_dict() | own)
        return head.eval()

    def trained_row(self, row: Row, seed: int, progress: Progress = no_progress) -> Head:
        """The head of a row: the towers of that seed, joined and trained on."""
        head = self.fresh_head(row, seed)
        state = head.state_dict()
        for stream in row.streams:
            tower = self.tower(stream, seed, progress)
            state.update({k: v for k, v in tower.items() if k in state})
        head.load_state_dict(state)
        if row.is_trained:
            training = replace(self.config.fusion, **row.training)
            self._train(head, row, row.streams, training, seed, progress)
        return head

    def fresh_head(self, row: Row, seed: int) -> Head:
        """Fresh fusion, classifiers and HCN, by the seed; I3D with the stem's weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 + seed)
            head = make_head(row, len(self.material.recordings.labels), self.config)
        own = head.video.state_dict()
        known = {k: v for k, v in self._stem.items() if k in own and ".classifier." not in k}
        head.video.load_state_dict(own | known)
        return head

    def _train(
        self,
        head: Head,
        row: Row,
        streams: tuple[str, ...],
        training: HeadTraining,
        seed: int,
        progress: Progress,
    ) -> None:
        part = self._part(row, streams, is_train=True)
        name = f"{row.name} {seed}"

        def after_epoch(epoch: int, figures: dict[str, float]) -> None:
            progress(name, epoch, training.n_epochs)
            log.info("%s: epoch %d, loss %.3f, %.1f s", name, epoch, *figures.values())

        train_head(head, self.material, part, training, seed, after_epoch)

    def _weights_file(self, row: Row, seed: int) -> Path:
        return self.folder / "towers" / f"{row_key(row, seed)}.pt"

    def _score(self, head: Head, row: Row, streams: tuple[str, ...]) -> Scores:
        return score_head(head, self.material, self._part(row, streams, is_train=False))

    def _part(self, row: Row, streams: tuple[str, ...], *, is_train: bool) -> Part:
        stage = row.stage(self.config.features.stages)
        if stage is None:
            cached = self.config.features.stages
            raise ValueError(f"{row.name}: expected a stage up to {row.first_fused}, not {cached}")
        return Part(streams, stage, self.clips(is_train=is_train))

    def _keep(self, key: str, scores: Scores, described: dict[str, Any]) -> dict[str, Any]:
        result = described | {
            "split": asdict(self.split),
            "commit": code_version(),
            "accuracy": {name: round(scores.accuracy(name), 2) for name in scores.correct},
            "loss": round(scores.loss, 4),
            "correct": dict(scores.correct),
        }
        path = self.folder / f"{key}.json"
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(result) + "\n", encoding="utf-8")
        partial.replace(path)
        log.info("%s: %s", key, result["accuracy"])
        return _read(path)


def row_key(row: Row, seed: int) -> str:
    """Name of a run's file."""
    return f"{row.head}-{row.name}-{seed}".replace(" ", "_").replace(",", "")


def _own_weights(head: Head) -> dict[str, Any]:
    """A head's state without the stem that everyone shares."""
    stem = (".shared.", ".stages.1a.")
    return {k: v for k, v in head.state_dict().items() if not any(part in k for part in stem)}


def make_head(row: Row, n_classes: int, config: HeadsConfig) -> Head:
    """A head with fresh weights.

    Raises:
        ValueError: The row's head, fusion or a setting is unknown.
    """
    if row.head == "action":
        return ActionHead(
            ActionConfig(
                n_classes,
                fuses_at=ACTION_POINTS,
                fusion=row.fusion,
                fusion_settings=row.settings,
                n_joints=config.n_joints,
                n_skeleton_frames=config.features.window.n_skeleton_frames,
                shares_to=config.shares_to,
                width=config.width,
                skeleton_width=config.skeleton_width,
                dropout=config.dropout,
                skeleton_dropout=config.skeleton_dropout,
            )
        )
    if row.head != "gesture":
        raise ValueError(f"head: expected action or gesture, found {row.head!r}")
    return GestureHead(
        GestureConfig(
            n_classes,
            fuses_at=INCEPTIONS[-max(1, row.n_points) :],
            fusion=row.fusion,
            fusion_settings=row.settings,
            shares_to=config.shares_to,
            width=config.width,
            dropout=config.dropout,
        )
    )


def tower_prefixes(stream: str) -> tuple[str, ...]:
    """Beginnings of the keys of a picture tower's own trained weights."""
    parts = ("stages.5b", "stages.5c", "classifier")
    return tuple(f"video.towers.{stream}.{part}." for part in parts)


def _read(path: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept
