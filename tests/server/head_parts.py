"""Recognition heads for tests: descriptions alone for the API process, tiny networks for jobs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ("wave", "clap", "bow")
SIDE_PX = 32
N_JOINTS = 5


def describe_head(folder: Path, name: str, task: str) -> Path:
    """A bundle without weights."""
    settings = {"labels": LABELS, "streams": ["depth"]}
    spec = {"name": name, "task": task, "settings": settings, "card": {"terms": "any"}}
    place = folder / name
    place.mkdir(parents=True)
    (place / "bundle.json").write_text(json.dumps(spec))
    return place


def head_settings(folder: Path) -> dict[str, str]:
    """Settings of a service with a head of each kind."""
    return {
        "gesture_model": str(describe_head(folder, "hands", "gesture")),
        "action_model": str(describe_head(folder, "bodies", "action")),
    }


def tiny_heads(folder: Path) -> dict[str, str]:
    """The same with networks, a tenth as wide, of random weights."""
    import torch

    from models.action import ActionConfig, ActionHead
    from models.gesture import GestureConfig, GestureHead

    torch.manual_seed(0)
    hands = GestureConfig(n_classes=3, width=0.1, streams=("depth", "flow"))
    bodies = ActionConfig(
        n_classes=3, width=0.1, skeleton_width=0.25, n_joints=N_JOINTS, n_skeleton_frames=16
    )
    skeleton = {"n_frames": 16, "torso_joint": 2, "n_joints": N_JOINTS}
    return {
        "gesture_model": _save(folder, "hands", "gesture", asdict(hands), GestureHead(hands), {}),
        "action_model": _save(
            folder, "bodies", "action", asdict(bodies), ActionHead(bodies), {"skeleton": skeleton}
        ),
    }


def _save(
    folder: Path, name: str, task: str, config: dict[str, Any], module: Any, more: dict[str, Any]
) -> str:
    from models.weights import BundleSpec, save_bundle

    streams = ["depth", "flow" if task == "gesture" else "skeleton"]
    settings = {"labels": LABELS, "streams": streams, "n_frames": 8, "size_px": SIDE_PX} | more
    save_bundle(folder / name, BundleSpec(name, task, task, config, settings, {}), module)
    return str(folder / name)


def write_skeleton(path: Path, n_frames: int = 30, n_joints: int = N_JOINTS) -> Path:
    """A body that sways."""
    joints = np.random.default_rng(0).normal(0, 1, (n_joints, 3))
    sway = np.sin(np.arange(n_frames) / 5)[:, None, None]
    with path.open("wb") as file:
        np.save(file, (joints + sway * [0.1, 0.0, 0.0]).astype(np.float32))
    return path
