"""Arrays in files: what comes back, and what a hostile writer cannot do."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avse.types import EnhancedClip, EnhanceReport, Mask
from server.array_file import ArrayFileInvalid, read_arrays, write_arrays
from server.enhanced_file import read_enhanced, write_enhanced
from server.prepared_file import read_prepared, write_prepared
from tests.server.worker_parts import prepared


def test_a_prepared_clip_comes_back_whole(tmp_path: Path) -> None:
    clip = prepared()
    write_prepared(tmp_path / "a", clip)
    back = read_prepared(tmp_path / "a", tmp_path / "input")
    np.testing.assert_array_equal(back.audio.samples, clip.audio.samples)
    assert (back.audio.start_s, back.n_video_frames, back.n_damaged) == (0.5, 10, 1)
    assert back.source == replace(clip.source, path=tmp_path / "input")
    assert back.stage_s == clip.stage_s
    (track,), (own,) = back.tracks, clip.tracks
    for name in ("frame_indices", "times_s", "boxes_xyxy", "scores"):
        np.testing.assert_array_equal(getattr(track, name), getattr(own, name))
    for name in ("crops", "is_visible", "landmarks_px", "is_turned", "is_obscured"):
        np.testing.assert_array_equal(getattr(back.mouths[2], name), getattr(clip.mouths[2], name))
    assert isinstance(back.mouths[2].crops, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_enhanced_clip_comes_back_with_and_without_mask(tmp_path: Path) -> None:
    report = EnhanceReport("b@0", "cpu", 2, 1, 1.0, 1.0, "av", None, warnings=("w",))
    sound, mask = prepared().audio, Mask(np.ones((321, 4), np.float16))
    for given in (mask, None):
        write_enhanced(tmp_path / "e", EnhancedClip(sound, given, report))
        back = read_enhanced(tmp_path / "e")
        assert (back.mask is None) == (given is None)
        assert back.report.path == "av"
        assert back.report.warnings == ["w"]
        assert back.waveform.start_s == sound.start_s


def test_empty_arrays_and_unknown_types(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a", {"x": np.zeros((0, 3), np.float32)}, {"n": 1})
    arrays, header = read_arrays(tmp_path / "a")
    assert arrays["x"].shape == (0, 3)
    assert header == {"n": 1}
    with pytest.raises(ValueError, match="complex"):
        write_arrays(tmp_path / "b", {"x": np.zeros(1, np.complex64)}, {})


def forged(path: Path, described: object, n_data: int = 64, magic: bytes = b"AVSEARR1") -> Path:
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    path.write_bytes(struct.pack("<8sI", magic, len(text)) + text + bytes(n_data))
    return path


PLACE = {"type": "float32", "shape": [4], "offset": 0}


@pytest.mark.parametrize(
    "described",
    [
        b"not json",
        b"[" * 100_000,
        {"arrays": {}},
        {"header": {}, "arrays": {"x": {**PLACE, "type": "object"}}},
        {"header": {}, "arrays": {"x": {**PLACE, "shape": [10**9]}}},
        {"header": {}, "arrays": {"x": {**PLACE, "shape": [-1]}}},
        {"header": {}, "arrays": {"x": {**PLACE, "offset": -8}}},
        {"header": {}, "arrays": {"x": {"type": "float32"}}},
        {"header": {"start_s": float("nan")}, "arrays": {}},
    ],
)
def test_forged_headers_are_refused(tmp_path: Path, described: object) -> None:
    with pytest.raises(ArrayFileInvalid):
        read_arrays(forged(tmp_path / "a", described))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(ArrayFileInvalid):
        read_arrays(tmp_path / "short")
    with pytest.raises(ArrayFileInvalid):
        read_arrays(forged(tmp_path / "a", {"header": {}, "arrays": {}}, magic=b"SOMETHIN"))
    write_prepared(tmp_path / "cut", prepared())
    content = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArrayFileInvalid):
        read_prepared(tmp_path / "cut", tmp_path / "input")


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    clip = prepared()
    write_prepared(tmp_path / "a", replace(clip, audio=prepared(20).audio))
    with pytest.raises(ArrayFileInvalid, match="expected 20 crops"):
        read_prepared(tmp_path / "a", tmp_path / "input")
    clip.audio.samples[3] = np.nan
    write_prepared(tmp_path / "b", clip)
    with pytest.raises(ArrayFileInvalid, match="finite"):
        read_prepared(tmp_path / "b", tmp_path / "input")
    write_arrays(tmp_path / "c", {}, {})
    with pytest.raises(ArrayFileInvalid, match="not a prepared clip"):
        read_prepared(tmp_path / "c", tmp_path / "input")
