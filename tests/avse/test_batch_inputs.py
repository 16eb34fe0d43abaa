"""Words on the command line to clips."""

import json
import os
from pathlib import Path, PurePosixPath

import pytest

from avse.batch.errors import InvalidBatch
from avse.batch.inputs import Wish, find_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in/b/2.mp4", "in/a/1.MOV", "in/a/notes.txt", "in/.hidden/3.mp4", "in/.4.mp4",
                 "in/out/5.wav", "in/c.wav"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def places(sources: list[str], out_dir: Path, lines: list[str] | None = None) -> list[str]:
    return [str(each.place) for each in find_inputs(sources, out_dir, lines or []).listed]


def test_a_folder_gives_its_media_sorted_without_hidden_files_and_outputs(folder: Path) -> None:
    assert places([str(folder / "in")], folder / "in/out") == ["c.wav", "a/1.MOV", "b/2.mp4"]


def test_a_folder_is_not_its_own_output(folder: Path) -> None:
    with pytest.raises(InvalidBatch, match="another folder than the output"):
        find_inputs([str(folder / "in")], folder / "in")


def test_a_pattern_counts_from_its_first_plain_folder(folder: Path) -> None:
    assert places([str(folder / "in/**/*.mp4")], folder / "out") == ["b/2.mp4"]
    with pytest.raises(InvalidBatch, match="expected files of such a name"):
        find_inputs([str(folder / "in/*.avi")], folder / "out")


def test_files_keep_their_places_below_their_common_folder(folder: Path) -> None:
    files = [str(folder / "in/a/1.MOV"), str(folder / "in/b/2.mp4")]
    assert places(files, folder / "out") == ["a/1.MOV", "b/2.mp4"]
    assert places(files[:1], folder / "out") == ["1.MOV"]
    assert places([*files, files[0]], folder / "out") == ["a/1.MOV", "b/2.mp4"]


def test_what_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidBatch, match=r"gone\.mp4: expected a file"):
        find_inputs(["gone.mp4"], folder)


def test_a_csv_manifest_gives_each_clip_its_options(folder: Path) -> None:
    table = folder / "in/list.csv"
    table.write_text("input,face,strength,mode,output,speaker\na/1.MOV,2,0.5,,x/y.flac,ar\n"
                     "../in/b/2.mp4,,,av,,\n")  # fmt: skip
    found = find_inputs([str(table)], folder / "out")
    first, second = found.listed
    assert first.path == folder / "in/a/1.MOV"
    assert first.wish == Wish("2", None, 0.5, "x/y.flac")
    assert second.path == folder / "in/b/2.mp4"
    assert second.place == PurePosixPath("in/b/2.mp4")
    assert second.wish == Wish(mode="av")
    assert found.notes == (f"{table}: not used: speaker",)


def test_a_jsonl_manifest_does_the_same(folder: Path) -> None:
    manifest = folder / "list.jsonl"
    rows = [{"path": "in/a/1.MOV", "face": 2}, {"input": "in/gone.mp4", "strength": 1}]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    first, second = find_inputs([str(manifest)], folder / "out").listed
    assert first.wish == Wish(face="2")
    assert second.path == folder / "in/gone.mp4"  # a list may name what is gone: it fails alone
    assert second.wish == Wish(strength=1.0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "clip\nx.mp4\n", "line 2: expected an input"),
        ("a.csv", "input,strength\nx.mp4,loud\n", "line 2: strength: expected a number"),
        ("a.jsonl", "x.mp4\n", "line 1: expected a JSON object"),
        ("a.jsonl", '{"input": ["x"]}\n', "line 1: expected an input"),
        ("a.jsonl", '{"input": "x", "face": [1]}\n', "line 1: face: expected a word"),
        ("a.jsonl", "{broken\n", "line 1: expected a JSON object"),
        ("a.csv", b"input\n\xff\xfe\n", "expected a readable manifest"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_line(tmp_path, name, text, words) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidBatch, match=words):
        find_inputs([str(path)], tmp_path / "out")


def test_standard_input_lists_paths(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["a/1.mp4\n", "\n", "/data/../data/b.mp4\n", '{"input": "c.mp4", "face": "all"}\n']
    found = find_inputs(["-"], tmp_path / "out", lines).listed
    assert [each.path for each in found] == [
        tmp_path / "a/1.mp4", Path("/data/b.mp4"), tmp_path / "c.mp4",
    ]  # fmt: skip
    assert [str(each.place) for each in found] == ["a/1.mp4", "data/b.mp4", "c.mp4"]
    assert found[2].wish.face == "all"


def test_names_that_are_not_utf8_are_taken(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.wav")
    (tmp_path / name).touch()
    assert places([str(tmp_path)], tmp_path / "out") == [name]
