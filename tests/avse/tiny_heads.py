"""Recognition heads small enough for a test: random weights, the real layout of a bundle."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from models.action import ActionConfig, ActionHead
from models.gesture import GestureConfig, GestureHead
from models.weights import BundleSpec, save_bundle

LABELS = ("wave", "clap", "draw x")
N_JOINTS = 5


def head_settings(task: str, **changed: Any) -> dict[str, Any]:
    """The settings as a training writes them."""
    return {
        "streams": ["depth", "flow"] if task == "gesture" else ["depth", "skeleton"],
        "fps": 10.0,
        "n_frames": 8,
        "size_px": 32,
        "view": {"centre_x": 0.5, "centre_y": 0.5, "side": 1.0},
        "normalisation": {"depth": {"low": 70.0, "high": 160.0}, "flow": {"limit_px": 8.0}},
        "skeleton": {"n_frames": 16, "torso_joint": 2, "n_joints": N_JOINTS},
        "labels": list(LABELS),
        "window_s": 1.0,
        "stride_s": 0.5,
        "whole_s": 1.7,
        **changed,
    }


def write_head(folder: Path, task: str, **changed: Any) -> Path:
    """A bundle with a tenth of the width; `changed` are settings."""
    torch.manual_seed(0)
    head: GestureHead | ActionHead
    if task == "gesture":
        head = GestureHead(GestureConfig(n_classes=len(LABELS), width=0.1))
    else:
        head = ActionHead(
            ActionConfig(
                n_classes=len(LABELS),
                width=0.1,
                skeleton_width=0.25,
                n_joints=N_JOINTS,
                n_skeleton_frames=16,
            )
        )
    name = f"{task}-mmtm"
    settings = head_settings(task, **changed)
    spec = BundleSpec(name, task, task, asdict(head.config), settings, {"terms": "none"})
    save_bundle(folder / name, spec, head)
    return folder / name
