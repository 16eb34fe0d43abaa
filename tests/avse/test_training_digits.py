import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avse.cli import run
from avse.errors import ConfigError
from avse.training.digits.config import METHODS, DigitsConfig, MetaConfig
from avse.training.digits.experiment import (
    Cell,
    CellResult,
    DigitsBench,
    estimate,
    run_cells,
    table_cells,
)
from avse.training.digits.fitting import Fitting, accuracy
from avse.training.digits.networks import Frozen
from avse.training.digits.protocol import DigitTask, ProtocolConfig, draw_task
from avse.training.digits.recordings import SPOKEN, WRITTEN, log_mel_picture, read_digits
from avse.training.digits.table import gain, put_between, table_markdown, write_table
from avse.training.digits.towers import SoundTower
from avse.training.manifest import ManifestError

SPEAKERS = ("ann", "bob", "eve")
PROTOCOL = ProtocolConfig(
    speakers=("ann", "bob"),
    test_indices=(0, 2),
    train_indices=(2, 6),
    n_images_per_class=8,
    n_test_images=4,
)
QUICK = DigitsConfig(
    protocol=PROTOCOL, n_steps=2, n_sound_steps=2, n_autoencoder_steps=2, batch_size=6,
    n_complete=4, meta=MetaConfig(),
)  # fmt: skip
QUICK_FLAGS = [
    f"--set={name}"
    for name in (
        "protocol.speakers=['ann','bob']",
        "protocol.test_indices=[0,2]",
        "protocol.train_indices=[2,6]",
        "protocol.n_images_per_class=8",
        "protocol.n_test_images=4",
        "n_steps=1",
        "n_sound_steps=1",
        "n_autoencoder_steps=1",
    )
]


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits nobody wrote: class d is a bright row in the picture and a tone in the sound."""
    folder = tmp_path_factory.mktemp("digits") / "avdigits"
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(10), 12)
    np.savez(
        folder / WRITTEN,
        train_images=_written(labels, rng),
        train_labels=labels,
        test_images=_written(labels[:50], rng),
        test_labels=labels[:50],
    )
    takes = [(d, s, i) for s in SPEAKERS for d in range(10) for i in range(6)]
    sounds = [_tone(d, rng) for d, _, _ in takes]
    np.savez(
        folder / SPOKEN,
        samples=np.concatenate(sounds),
        offsets=np.cumsum([0, *map(len, sounds)]),
        digit=np.array([d for d, _, _ in takes], np.uint8),
        speaker=np.array([s for _, s, _ in takes]),
        index=np.array([i for _, _, i in takes], np.uint8),
    )
    return folder.parent


@pytest.fixture(scope="module")
def task(digits_dir: Path) -> DigitTask:
    return draw_task(read_digits(digits_dir), 0.25, 0, PROTOCOL)


def _written(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    images = rng.integers(0, 40, (len(labels), 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[4 + 2 * label : 6 + 2 * label] = 255
    return images.astype(np.uint8)


def _tone(digit: int, rng: np.random.Generator) -> np.ndarray:
    n_samples = int(rng.integers(2000, 12000))
    tone = np.sin(2 * np.pi * (300 + 300 * digit) * np.arange(n_samples) / 8000)
    return (8000 * tone + rng.normal(0, 200, n_samples)).astype(np.int16)


def test_sound_pictures_are_standard_whatever_the_length_and_level() -> None:
    tone = torch.sin(torch.arange(4000) * 2 * torch.pi * 1000 / 8000)
    for samples in (tone[:800], tone, tone.repeat(5), torch.zeros(100)):
        picture = log_mel_picture(samples)
        assert picture.shape == (32, 32)
        assert torch.isfinite(picture).all()
    torch.testing.assert_close(log_mel_picture(tone), log_mel_picture(0.1 * tone))
    assert log_mel_picture(tone).mean().item() == pytest.approx(0, abs=1e-5)


def test_the_loudest_second_of_a_long_recording_is_taken() -> None:
    loud = torch.sin(torch.arange(8192) * 0.5)
    quiet = 0.01 * torch.ones(9000)
    inside = log_mel_picture(torch.cat([quiet, loud, quiet]))
    torch.testing.assert_close(inside, log_mel_picture(loud), atol=0.05, rtol=0)


def test_reading_finds_both_layouts_and_says_what_is_missing(
    digits_dir: Path, tmp_path: Path
) -> None:
    corpus = read_digits(digits_dir)
    assert corpus.sounds.shape == (180, 1, 32, 32)
    assert len(read_digits(digits_dir / "avdigits").digits) == 180
    with pytest.raises(ManifestError, match="found no file"):
        read_digits(tmp_path)
    np.savez(tmp_path / SPOKEN, samples=np.zeros(3))
    (tmp_path / WRITTEN).write_bytes((digits_dir / "avdigits" / WRITTEN).read_bytes())
    with pytest.raises(ManifestError, match="offsets"):
        read_digits(tmp_path)


def test_pairs_are_of_one_class_and_nobody_is_on_both_sides(digits_dir: Path) -> None:
    corpus = read_digits(digits_dir)
    task = draw_task(corpus, 1.0, 3, PROTOCOL)
    rows = {row.tobytes(): i for i, row in enumerate(corpus.sounds)}
    for name, pairs in {"train": task.train, **task.tests}.items():
        takes = np.array([rows[sound.numpy().tobytes()] for sound in pairs.sounds])
        assert (corpus.digits[takes] == pairs.labels.numpy()).all()
        heard = set(corpus.speakers[takes])
        assert heard == ({"eve"} if name == "disjoint" else {"ann", "bob"})
        wanted = range(2, 6) if name == "train" else range(2)
        assert set(corpus.indices[takes]) <= set(wanted)
    images = {image.numpy().tobytes() for image in task.train.images}
    assert not images & {image.numpy().tobytes() for image in task.tests["original"].images}


def test_a_smaller_share_keeps_part_of_a_larger_one_evenly(digits_dir: Path) -> None:
    corpus = read_digits(digits_dir)
    small, large = (draw_task(corpus, share, 5, PROTOCOL).train for share in (0.25, 0.5))
    assert torch.equal(small.images, large.images)
    assert (large.has_sound | ~small.has_sound).all()
    assert torch.equal(small.sounds[small.has_sound], large.sounds[small.has_sound])
    assert not small.sounds[~small.has_sound].any()
    assert torch.bincount(small.labels[small.has_sound]).tolist() == [2] * 10


def test_validation_tests_images_of_training_writers(digits_dir: Path) -> None:
    corpus = read_digits(digits_dir)
    task = draw_task(corpus, 0.5, 0, replace(PROTOCOL, is_validation=True))
    assert len(task.tests["original"]) == 40
    known = {image.tobytes() for image in corpus.train_images}
    tested = (task.tests["original"].images * 255).round().to(torch.uint8)
    assert {image.numpy().tobytes() for image in tested} <= known


def test_what_cannot_be_drawn_is_refused(digits_dir: Path) -> None:
    corpus = read_digits(digits_dir)
    with pytest.raises(ConfigError, match="share"):
        draw_task(corpus, 0.0, 0, PROTOCOL)
    with pytest.raises(ConfigError, match="pairs"):
        draw_task(corpus, 0.5, 0, replace(PROTOCOL, n_images_per_class=9))
    with pytest.raises(ConfigError, match="disjoint"):
        draw_task(corpus, 0.5, 0, replace(PROTOCOL, speakers=SPEAKERS))
    with pytest.raises(ValueError, match="overlap"):
        replace(PROTOCOL, test_indices=(0, 3))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_classifies_with_and_without_sound(
    task: DigitTask, method: str
) -> None:
    config = replace(QUICK, meta=replace(QUICK.meta, n_inner_steps=2))
    net = Fitting(task.train, config, 0).fit(method)
    again = Fitting(task.train, config, 0).fit(method)
    pairs = task.tests["disjoint"]
    for sounds in (pairs.sounds, None):
        logits = net(pairs.images, sounds)
        assert logits.shape == (40, 10)
        assert torch.equal(logits, again(pairs.images, sounds))
    assert not net.training
    assert 0 <= accuracy(net, pairs, with_sound=True) <= 100


def test_smil_learns_the_class_and_uses_the_sound(task: DigitTask) -> None:
    config = replace(
        QUICK, n_steps=60, n_sound_steps=60, batch_size=40, n_complete=20, learning_rate=5e-3
    )
    net = Fitting(task.train, config, 0).fit("smil")
    assert accuracy(net, task.tests["original"], with_sound=False) > 60
    assert accuracy(net, task.tests["original"], with_sound=True) > 60
    images, sounds = task.tests["original"].images, task.tests["original"].sounds
    assert not torch.allclose(net(images, sounds), net(images, sounds.roll(1, 0)))


def test_the_sound_tower_is_trained_once_and_stays(task: DigitTask) -> None:
    fitting = Fitting(task.train, QUICK, 0)
    before = {k: v.clone() for k, v in fitting.sound().sound.state_dict().items()}
    for method in ("zeros", "autoencoder", "msaf", "smil"):
        fitting.fit(method)
    for key, value in fitting.sound().sound.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_frozen_stays_in_evaluation() -> None:
    frozen = Frozen(SoundTower())
    assert not frozen.train().module.training
    assert not any(p.requires_grad for p in frozen.parameters())


def test_an_unknown_method_is_refused(task: DigitTask) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        Fitting(task.train, QUICK, 0).fit("magic")  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_stops_the_training(task: DigitTask) -> None:
    config = replace(QUICK, n_sound_steps=40, learning_rate=1e30)
    with pytest.raises(ConfigError, match="no finite loss"):
        Fitting(task.train, config, 0).fit("sound")


def test_cells_are_run_once_and_settings_do_not_mix(digits_dir: Path, tmp_path: Path) -> None:
    cells = list(table_cells([0.25], [0, 1], ["image", "zeros"]))
    assert [cell.name for cell in cells] == [
        "image-100-0",
        "zeros-25-0",
        "image-100-1",
        "zeros-25-1",
    ]
    results = run_cells(DigitsBench(digits_dir, tmp_path, QUICK), cells)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*-*.json")}
    again = run_cells(DigitsBench(digits_dir / "gone", tmp_path, QUICK), cells)
    assert again == results
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    with pytest.raises(FileExistsError, match="other settings"):
        DigitsBench(digits_dir, tmp_path, replace(QUICK, n_steps=3))


def made_up(method: str, seed: int, percent: float, share: float = 0.1) -> CellResult:
    tests = {"without sound": percent, "original": percent + 1, "disjoint": percent - 5}
    return CellResult(Cell(method, share, seed), tests, 10, 1.0, "abc")  # type: ignore[arg-type]


def test_interval_is_students_and_a_paired_gain_is_exact() -> None:
    value = estimate([1.0, 2.0, 3.0])
    assert value.mean == 2.0
    assert value.high - value.mean == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert np.isnan(estimate([]).mean)
    assert np.isnan(estimate([1.0]).low)
    results = [made_up("zeros", s, 80 + s) for s in range(3)]
    results += [made_up("smil", s, 82 + s) for s in range(3)]
    gained = gain(results, ("smil", 0.1), ("zeros", 0.1), "original")
    assert (gained.mean, gained.low, gained.high) == (2.0, 2.0, 2.0)
    assert gained.is_clear


def test_the_table_goes_into_its_place(tmp_path: Path) -> None:
    results = [made_up("image", 0, 90, 1.0), made_up("image", 1, 91, 1.0)]
    results += [made_up(m, s, 80 + s) for m in ("smil", "zeros") for s in range(2)]
    text = table_markdown(results)
    assert "| 0 % | image only | 90.5 (" in text
    assert text.index("joint, zeros") < text.index("SMIL")
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- table: digits -->\nstale\n<!-- end -->\nafter\n")
    paths = write_table(tmp_path, results, QUICK, document)
    assert all(path.is_file() for path in paths)
    page = document.read_text()
    assert page.startswith("before\n")
    assert page.endswith("<!-- end -->\nafter\n")
    assert "stale" not in page
    assert len(json.loads((tmp_path / "digits.json").read_text())["trainings"]) == 6
    with pytest.raises(ConfigError, match="expected <!-- table: other"):
        put_between(document, "other", "")


def test_the_commands_train_and_tabulate(
    digits_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(digits_dir), "--out", str(tmp_path), *QUICK_FLAGS]
    assert run(["train", "digits", *common, "--method", "zeros", "--share", "0.25"]) == 0
    assert "zeros-25-0" in capsys.readouterr().out
    chosen = ["--method", "zeros", "--method", "smil", "--share", "0.25", "--seeds", "1"]
    assert run(["tables", "digits", *common, *chosen]) == 0
    assert "SMIL" in capsys.readouterr().out
    assert (tmp_path / "digits.md").is_file()
    assert run(["tables", "digits", *common, "--finished", "--seeds", "3"]) == 0
    assert "autoencoder" not in (tmp_path / "digits.md").read_text()
    assert run(["train", "digits", *common, "--method", "magic"]) == 2
