"""Fixed mixtures of people not in training, judged by ear's measures and not only by loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pystoi import stoi
from torch import Tensor

from avse.training.cache import CachedClip
from avse.training.features import LipFeatures
from avse.training.lips import Window, crops_of
from avse.training.losses import negative_si_sdr
from avse.training.sounds import Samples, excerpt, level
from models.avse_net import AvseNet
from preprocessing.spectral import istft, log_mel, stft
from preprocessing.timeline import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME


@dataclass(frozen=True, slots=True)
class ValidationItem:
    """One mixture with its lips.

    Attributes:
        group: Corpus and condition, e.g. `newsar.two_0db`.
        noisy: `[L]`.
        clean: `[L]`.
        features: `[V, D]`.
        is_visible: `[V]`.
        crops: `[V, 112, 112]` uint8, for a tower that is itself in training.
    """

    group: str
    noisy: Samples
    clean: Samples
    features: NDArray[np.float32]
    is_visible: NDArray[np.bool_]
    crops: NDArray[np.uint8]


ValidationSet = Sequence[ValidationItem]


def validation_set(
    clips: Sequence[CachedClip], lips: LipFeatures, n_clips: int, seed: int
) -> list[ValidationItem]:
    """Two talkers at 0 dB, and clean speech, of people of these clips."""
    rng = np.random.default_rng(seed)
    items = []
    for index in rng.permutation(len(clips))[:n_clips]:
        clip = clips[index]
        features = lips.of(int(index)).astype(np.float32)
        n_samples = len(features) * SAMPLES_PER_VIDEO_FRAME
        clean = clip.samples[:n_samples]
        others = [c for c in clips if c.entry.speaker != clip.entry.speaker]
        rest = excerpt(others[int(rng.integers(len(others)))].samples, n_samples, rng)
        noisy = clean + rest * (level(clean) / max(level(rest), 1e-5))
        shown = lips.visible(int(index))
        crops = crops_of(Window(clip, 0), len(features))
        for name, mixture in (("two_0db", noisy), ("clean", clean)):
            pair = _levelled(mixture, clean)
            items.append(
                ValidationItem(f"{clip.entry.corpus}.{name}", *pair, features, shown, crops)
            )
    return items


def _levelled(noisy: Samples, clean: Samples) -> tuple[Samples, Samples]:
    scale = 0.05 / level(noisy)
    return (noisy * scale).astype(np.float32), (clean * scale).astype(np.float32)


def validate(
    net: AvseNet, items: ValidationSet, *, from_pictures: bool = False
) -> dict[str, float]:
    """Mean STOI before and after, and SI-SDR gain, by group; lips from cache or from pictures."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for item in items:
        enhanced = enhance_item(net, item, from_pictures=from_pictures)
        rows.setdefault(item.group, []).append(_figures(item, enhanced))
    figures = {}
    for group, values in rows.items():
        before, after, gain = np.mean(values, axis=0)
        figures[f"{group}.stoi_in"] = round(float(before), 4)
        figures[f"{group}.stoi"] = round(float(after), 4)
        figures[f"{group}.si_sdr_gain"] = round(float(gain), 3)
    return figures


@torch.no_grad()
def enhance_item(net: AvseNet, item: ValidationItem, *, from_pictures: bool = False) -> Samples:
    """The enhanced sound `[L]` of one item."""
    net.eval()
    device = next(net.parameters()).device
    noisy = torch.from_numpy(item.noisy)[None].to(device)
    spectrum = stft(noisy)
    visual = _visual(net, item, device, from_pictures)
    shown = torch.from_numpy(item.is_visible)[None].to(device)
    mask = net.hear(log_mel(spectrum.abs()), spectrum, visual, shown).mask
    enhanced: Samples = istft(mask * spectrum, noisy.shape[1])[0].cpu().numpy()
    return enhanced


def _visual(
    net: AvseNet, item: ValidationItem, device: torch.device, from_pictures: bool
) -> list[Tensor]:
    if not net.sees:
        return []
    if from_pictures:
        return net.encode_visual(torch.from_numpy(item.crops)[None].to(device))
    features = torch.from_numpy(item.features)[None].to(device)
    return list(torch.split(features, list(net.visual.feature_channels), 2))


def _figures(item: ValidationItem, enhanced: Samples) -> tuple[float, float, float]:
    clean = torch.from_numpy(item.clean)[None]
    before = -negative_si_sdr(torch.from_numpy(item.noisy)[None], clean).item()
    after = -negative_si_sdr(torch.from_numpy(enhanced)[None], clean).item()
    return (
        float(stoi(item.clean, item.noisy, SAMPLE_RATE_HZ)),
        float(stoi(item.clean, enhanced, SAMPLE_RATE_HZ)),
        after - before,
    )
