"""What the tests of the batch share: a network that halves every sound, and short clips."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from avse.batch.run import BatchOptions
from avse.batch.work import Work, settings_hash
from avse.bundle import Bundle, ChunkSettings, EnhancementSettings
from avse.types import EnhancedClip, EnhanceOptions, EnhanceReport
from models.agreement import Heard
from models.weights import BundleSpec
from preprocessing.media_write import write_audio
from preprocessing.types import PreparedClip, SourceInfo, Waveform


class HalfNet(nn.Module):
    """A mask of one value for everything."""

    sees = False

    def __init__(self, value: float = 0.5) -> None:
        super().__init__()
        self.value = value

    def encode_visual(self, crops: Tensor) -> list[Tensor]:
        return []

    def hear(self, mel: Tensor, spectrum: Tensor, visual: list[Tensor], seen: Tensor) -> Heard:
        return Heard.surely(torch.full_like(spectrum.abs(), self.value))


def half_bundle(value: float = 0.5, sha256: str = "0" * 64) -> Bundle:
    spec = BundleSpec("half", "enhancement", "avse_net", {}, {}, {}, sha256=sha256)
    return Bundle(spec, HalfNet(value), EnhancementSettings(chunk=ChunkSettings(64, 48)))  # type: ignore[arg-type]


def noise(seed: int, duration_s: float = 0.3) -> Waveform:
    rng = np.random.default_rng(seed)
    samples = rng.normal(scale=0.1, size=int(16_000 * duration_s)).astype(np.float32)
    return Waveform(samples, 16_000)


def make_clips(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, noise(seed))
    return paths


def half_options(out_dir: Path, *sources: Path | str, **more) -> BatchOptions:
    more = {"bundle": half_bundle(), "device": "cpu", "n_workers": 1} | more
    return BatchOptions(tuple(map(str, sources)), out_dir, **more)


def work(source: Path, output: str = "a.wav", **options) -> Work:
    chosen = EnhanceOptions(keep_mask=False, **options)
    suffix = Path(output).suffix
    return Work(source, output, chosen, settings_hash("half@0", "embedded", suffix, chosen))


def prepared(path: Path, duration_s: float = 0.3) -> PreparedClip:
    source = SourceInfo(path, "wav", 16_000, 1, 1, False, 0.0)
    return PreparedClip(noise(0, duration_s), (), {}, source)


def result(track_id: int | None = None) -> EnhancedClip:
    report = EnhanceReport("half@0", "cpu", track_id, 0, 0.3, 0.0, "audio_only", "no_video")
    return EnhancedClip(noise(1), None, report)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the batch's own corner left out."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and ".avse-batch" not in p.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
