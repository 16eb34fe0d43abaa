import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import avse
from avse.cli import run
from avse.commands.models import count_parameters
from avse.demo import DemoResult
from avse.evaluation.metrics import Scores
from avse.types import EnhancedClip, EnhanceReport, Mask
from models.errors import BundleNotFound
from preprocessing.errors import NoAudioStream
from preprocessing.media_write import write_audio
from preprocessing.types import FaceTrack, MouthTrack, Waveform

SOUND = Waveform(0.1 * np.sin(np.arange(16_000) / 5).astype(np.float32), 16_000)


class FakeEnhancer:
    """Gives every clip back, once for each of `track_ids`, and remembers how it was called."""

    track_ids: tuple[int, ...] = (1,)
    error: BaseException | None = None
    calls: list[tuple] = []  # noqa: RUF012

    def __init__(self, bundle, device="auto") -> None:
        self.label = f"{bundle}@0"

    def enhance_file(self, path, out=None, options=None, progress=None):
        FakeEnhancer.calls.append((path, out, options))
        if FakeEnhancer.error is not None:
            raise FakeEnhancer.error
        results = [self._result(track_id, options) for track_id in FakeEnhancer.track_ids]
        if out is not None:
            out.write_bytes(b"sound")
        return results if options.face == "all" else results[0]

    def _result(self, track_id, options):
        report = EnhanceReport(
            self.label, "cpu", track_id, 2, 1.0, 0.5, "mixed", "face_lost",
            warnings=("the picture was mended",), stage_s={"decode": 0.1, "network": 0.2},
            real_time_factor=9.0,
        )  # fmt: skip
        mask = Mask(np.ones((321, 100), np.float32)) if options.keep_mask else None
        crops = np.zeros((25, 122, 122), np.uint8)
        mouth = MouthTrack(crops, np.ones(25, bool), 0.0, np.zeros((25, 20, 2), np.float32))
        return EnhancedClip(SOUND, mask, report, mouth)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.setattr("avse.benchmark.Enhancer", FakeEnhancer)
    monkeypatch.setattr("avse.enhancer.Enhancer", FakeEnhancer)
    monkeypatch.setattr(FakeEnhancer, "calls", [])
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "talk.wav", SOUND)
    return FakeEnhancer


def test_version_and_bare_call(capsys) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"avse {avse.__version__}\n"
    assert run([]) == 0
    assert "enhance" in capsys.readouterr().out
    assert run(["train"]) == 0
    assert "mouth" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    ["enhance", "faces", "evaluate", "demo", "models", "benchmark", "serve", "train avse"],
)
def test_every_command_has_help(command, capsys) -> None:
    assert run([*command.split(), "--help"]) == 0
    assert "Usage: avse" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("bogus", "No such command"),
        ("enhance", "Missing argument"),
        ("enhance talk.wav --strength 2", "--strength"),
        ("enhance talk.wav --mode loud", "--mode"),
        ("enhance talk.wav --rate 8000", "--rate"),
        ("enhance talk.wav --face nobody", "face: expected auto"),
        ("enhance talk.wav -o out.txt", "expected a name that ends in .wav"),
        ("enhance talk.wav -o nowhere/out.wav", "expected a folder at nowhere"),
        ("enhance talk.wav -o talk.wav", "expected another file than the input"),
        ("enhance talk.wav --report r.txt", "expected a name that ends in .json"),
        ("enhance talk.wav -o dir.wav", "expected a file, found a folder"),
        ("faces talk.wav -o sheet.jpg", "expected a name that ends in .png"),
        ("train avse --data nowhere", "--data"),
        ("train avse --data . --system none", "--system: expected one of"),
        ("train avse --data . --set nothing=1", "unknown key nothing"),
        ("evaluate", "expected either a data folder"),
        ("benchmark talk.wav --runs 0", "--runs"),
    ],
)
def test_wrong_usage_is_one_line_and_2(fake, capsys, arguments, words) -> None:
    Path("dir.wav").mkdir()
    assert run(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("avse: ")
    assert words in captured.err
    assert fake.calls == []


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (NoAudioStream("talk.mp4", "a sound stream", "none"), 3, "talk.mp4: expected a sound"),
        (BundleNotFound("bundle 'x': expected it"), 3, "bundle 'x'"),
        (PermissionError(13, "Permission denied", "out.wav"), 3, "out.wav: Permission denied"),
        (MemoryError(), 3, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by zero"), 1, "a fault of avse: ZeroDivisionError: by zero"),
    ],
)
def test_failures_are_one_line_and_a_code(
    fake, capsys, monkeypatch, error, exit_code, words
) -> None:
    monkeypatch.setattr(fake, "error", error)
    assert run(["enhance", "talk.wav"]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


@pytest.mark.parametrize("command", ["enhance", "faces", "benchmark"])
def test_a_missing_clip_is_3(capsys, tmp_path, command) -> None:
    names_bundle = command != "faces" and not _has_default_bundle()
    assert run([command, str(tmp_path / "none.mp4")]) == 3
    assert ("avse-mmtm" if names_bundle else "none.mp4") in capsys.readouterr().err


def _has_default_bundle() -> bool:
    root = Path(avse.__file__).parents[1]
    return (root / "models" / "bundles" / "avse-mmtm" / "bundle.json").is_file()


def test_enhance_writes_sound_report_and_plot(fake, capsys) -> None:
    arguments = "enhance talk.wav -o out.flac --face 2 --mode av --strength 0.5 --rate input"
    assert run([*arguments.split(), "--report", "r.json", "--plot", "p.png"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("out.flac\tlips where seen (face_lost), mouth seen 0.5 of 1.0 s")
    assert captured.err == "avse: the picture was mended\n"
    (path, out, options) = fake.calls[0]
    assert (path, out) == (Path("talk.wav"), Path("out.flac"))
    assert (options.face, options.mode, options.strength) == ("2", "av", 0.5)
    assert (options.output_rate, options.keep_mask) == ("input", True)
    assert json.loads(Path("r.json").read_text())["target_track_id"] == 1
    assert Path("p.png").read_bytes()[:4] == b"\x89PNG"
    assert not list(Path.cwd().glob(".*"))


def test_enhance_without_names_writes_a_wav_here(fake) -> None:
    assert run(["enhance", "talk.wav"]) == 0
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["talk.enhanced.wav", "talk.wav"]
    assert fake.calls[0][2].keep_mask is False


def test_all_faces_give_one_report_each(fake, capsys, monkeypatch) -> None:
    monkeypatch.setattr(fake, "track_ids", (1, 3))
    assert run(["enhance", "talk.wav", "-o", "out.wav", "--face", "all", "--report", "r.json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    ids = [json.loads(Path(f"r.{n}.json").read_text())["target_track_id"] for n in (1, 3)]
    assert ids == [1, 3]


def two_tracks(path, config=None, progress=None, **more):
    indices = np.arange(10)
    boxes = np.tile(np.float32([10, 20, 60, 90]), (10, 1))
    scores = np.where(indices % 2 == 0, 0.8, 0.0).astype(np.float32)

    class Found:
        tracks = tuple(FaceTrack(i, indices, indices / 25, boxes, scores) for i in (1, 2))

    return Found()


def test_faces_as_json_and_as_table(fake, capsys, monkeypatch) -> None:
    monkeypatch.setattr("preprocessing.pipeline.prepare_faces_only", two_tracks)
    assert run(["faces", "talk.wav", "--json"]) == 0
    tracks = json.loads(capsys.readouterr().out)["tracks"]
    assert [track["id"] for track in tracks] == [1, 2]
    assert tracks[0]["box_xyxy"] == [10.0, 20.0, 60.0, 90.0]
    assert tracks[0]["score"] == 0.8
    drawn = []
    monkeypatch.setattr("preprocessing.media.open_frames", lambda path: path)
    monkeypatch.setattr("avse.contact_sheet.write_contact_sheet", lambda *call: drawn.append(call))
    assert run(["faces", "talk.wav"]) == 0
    assert "70 px" in capsys.readouterr().out
    assert drawn[0][2] == Path("talk.faces.png")


def test_faces_can_say_who_speaks(fake, capsys, monkeypatch) -> None:
    class Speaker:
        def __init__(self, device) -> None: ...

        def choose(self, prepared, face):
            assert face == "all"
            return [
                SimpleNamespace(track_id=1, score=0.25),
                SimpleNamespace(track_id=2, score=None),
            ]

    monkeypatch.setattr("preprocessing.pipeline.prepare", two_tracks)
    monkeypatch.setattr("avse.speaker_choice.LipSyncSpeaker", Speaker)
    assert run(["faces", "talk.wav", "--json", "--speaking"]) == 0
    tracks = json.loads(capsys.readouterr().out)["tracks"]
    assert [track["speaking_score"] for track in tracks] == [0.25, None]


def test_sound_without_picture_has_no_face(fake, capsys) -> None:
    assert run(["faces", "talk.wav"]) == 0
    assert capsys.readouterr().out == "no face\n"


def test_models_lists_every_packaged_bundle(capsys) -> None:
    assert run(["models", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert {"face-detector", "mouth-landmarks"} <= set(cards)
    assert all(card["card"]["terms"] for card in cards.values())
    assert run(["models"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in cards)


def test_parameters_are_counted_from_the_header(tmp_path) -> None:
    header = json.dumps(
        {
            "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
            "b": {"dtype": "F16", "shape": [], "data_offsets": [12, 14]},
            "__metadata__": {"format": "pt"},
        }
    ).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(14))
    assert count_parameters(path) == 7


def test_benchmark_reports_stages_and_memory(fake, capsys) -> None:
    assert run(["benchmark", "talk.wav", "--runs", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["stage_s"] == {"decode": 0.1, "network": 0.2}
    assert figures["n_runs"] == 2
    assert figures["peak_rss_mb"] > 10
    assert run(["benchmark", "talk.wav", "--runs", "1", "--threads", "1"]) == 0
    assert "x real time" in capsys.readouterr().out
    assert len(fake.calls) == 3


def test_demo_prints_scores_and_says_what_the_clip_is(fake, capsys, monkeypatch) -> None:
    def fake_run(folder, config, bundle, device, progress):
        options = SimpleNamespace(keep_mask=False, face="auto")
        enhanced = FakeEnhancer("b").enhance_file(None, None, options)
        before = Scores({"pesq_wb": None, "stoi": 0.7, "si_sdr_db": 1.0}, {"pesq_wb": "no pesq"})
        after = Scores({"pesq_wb": None, "stoi": 0.6, "si_sdr_db": 4.0}, {"pesq_wb": "no pesq"})
        return DemoResult(enhanced, before, after, (folder / "noisy.mp4",))

    monkeypatch.setattr("avse.demo.run_demo", fake_run)
    assert run(["demo", "-o", "here"]) == 0
    printed = capsys.readouterr().out
    assert all(words in printed for words in ("not available", "no pesq", "-0.10", "+3.00"))
    assert "synthetic" in printed
    scores = json.loads(Path("here/scores.json").read_text())
    assert scores["after"]["values"]["si_sdr_db"] == 4.0


def test_serve_without_a_server_is_usage(capsys, monkeypatch) -> None:
    monkeypatch.setattr("avse.commands.serve.find_spec", lambda name: None)
    assert run(["serve"]) == 2
    assert "./setup.sh server" in capsys.readouterr().err


def test_module_and_script_are_the_same() -> None:
    command = [sys.executable, "-m", "avse", "--version"]
    root = Path(avse.__file__).parents[1]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"avse {avse.__version__}"
