"""Which layers an MFAS-style fusion gets: searched on a training subject."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avse.training.heads.experiments import Bench
from avse.training.heads.plan import Row
from avse.training.heads.training import Part
from models.action import ActionHead
from models.fusion.base import pooled
from models.fusion.mfas import MfasFusion
from models.fusion.search import Layers, search_mfas
from preprocessing.types import Progress, no_progress

RATE = 1e-3

Vectors = list[list[Tensor]]
"""Pooled features by depth and stream, each `[B, C]`."""


def choose_layers(bench: Bench, seed: int, progress: Progress = no_progress) -> dict[str, Any]:
    """Settings of the `mfas` fusion that serve the bench's scored subjects best.

    The towers, trained alone on the bench's other subjects, stay as they are; each candidate's
    joint layers are trained on their pooled features. The choice is kept in `mfas.json`.

    Args:
        bench: Of the split on which things are chosen.
        seed: Of towers and draws.
        progress: Called as (stage, done, total).
    """
    path = bench.folder / "mfas.json"
    if not path.is_file():
        head = bench.trained_row(Row("action", "towers", "late", is_trained=False), seed, progress)
        assert isinstance(head, ActionHead)
        train = pooled_features(head, bench, bench.clips(is_train=True))
        scored = pooled_features(head, bench, bench.clips(is_train=False))
        config = bench.config

        def score(layers: Layers) -> float:
            return score_layers(layers, head, (train, scored), config.n_search_steps, seed)

        generator = torch.Generator().manual_seed(seed)
        trials = search_mfas(score, len(head.config.points), 2, config.search, generator)
        listed = [{"layers": [asdict(x) for x in t.layers], "score": t.score} for t in trials]
        path.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    best = json.loads(path.read_text(encoding="utf-8"))[0]
    return {"layers": best["layers"]}


@torch.inference_mode()
def pooled_features(head: ActionHead, bench: Bench, clips: Sequence[int]) -> tuple[Vectors, Tensor]:
    """What both towers say at every depth about the plain clips, and the labels."""
    material, part = bench.material, Part(("depth", "skeleton"), "4f", tuple(clips))
    found: list[list[list[Tensor]]] = [[[], []] for _ in head.config.fuses_at]
    for first in range(0, len(clips), 32):
        some = clips[first : first + 32]
        streams = material.streams(part.streams, part.stage, some)
        video, bones = streams["depth"], streams["skeleton"]
        after: tuple[str, str | None] = ("4f", None)
        for depth, (stage, layer) in enumerate(head.config.fuses_at):
            video = head.video.run("depth", video, after[0], stage)
            bones = head.skeleton.run(bones, after[1], layer)
            after = (stage, layer)
            found[depth][0].append(pooled(video))
            found[depth][1].append(pooled(bones))
    vectors = [[torch.cat(stream) for stream in streams] for streams in found]
    return vectors, material.labels(clips)


def score_layers(
    layers: Layers,
    head: ActionHead,
    sides: tuple[tuple[Vectors, Tensor], tuple[Vectors, Tensor]],
    n_steps: int,
    seed: int,
) -> float:
    """Share of the second side's clips that a candidate knows after training on the first's."""
    train, scored = sides
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fusion = MfasFusion(head.config.points, head.config.n_classes, layers=layers, dropout=0.5)
        optimiser = torch.optim.AdamW(fusion.parameters(), RATE)
        rng = np.random.default_rng(seed)
        for _ in range(n_steps):
            drawn = torch.from_numpy(rng.integers(len(train[1]), size=32))
            loss = F.cross_entropy(_joint(fusion, train[0], drawn), train[1][drawn])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    fusion.eval()
    with torch.inference_mode():
        joint = _joint(fusion, scored[0], torch.arange(len(scored[1])))
    return float((joint.argmax(1) == scored[1]).float().mean())


def _joint(fusion: MfasFusion, vectors: Vectors, clips: Tensor) -> Tensor:
    state = fusion.begin()
    for depth, streams in enumerate(vectors):
        features = fusion(state, depth, [x[clips] for x in streams])
    return fusion.decide(state, features, [x.new_zeros(len(clips), 1) for x in vectors[-1]])
