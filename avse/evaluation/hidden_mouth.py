"""Ways to treat a hidden mouth, judged side by side on the same mixtures."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pystoi import stoi
from torch import Tensor, nn

from avse.evaluation.significance import mean_of, paired
from avse.training.cache import CachedClip
from avse.training.features import LipFeatures
from avse.training.losses import negative_si_sdr
from avse.training.sounds import excerpt, level
from models.avse_net import AvseNet
from models.mouth_prior import MouthPrior
from preprocessing.spectral import istft, log_mel, stft
from preprocessing.timeline import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME
from preprocessing.types import Progress, no_progress

Sight = Callable[[Tensor, list[Tensor], Tensor], tuple[list[Tensor], Tensor]]
"""(log-mel, lip features, visible) -> what the enhancer is shown instead."""


@dataclass(frozen=True, slots=True)
class HiddenItem:
    """One mixture to judge on.

    Attributes:
        group: Condition.
        noisy: `[L]`.
        clean: `[L]`.
        features: `[V, D]` the real lips.
        is_visible: `[V]` what is left of them.
    """

    group: str
    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    features: NDArray[np.float32]
    is_visible: NDArray[np.bool_]


def hidden_items(
    clips: Sequence[CachedClip],
    lips: LipFeatures,
    noises: Sequence[NDArray[np.int16]],
    n_clips: int,
    seed: int,
) -> list[HiddenItem]:
    """Clips in noise and beside another voice at 0 dB, the mouth hidden for a half or throughout.

    With two voices and no mouth at all nothing says who is meant; that is left out.
    """
    rng = np.random.default_rng((seed, 5))
    items = []
    for index in rng.permutation(len(clips))[:n_clips]:
        clip, features = clips[index], lips.of(int(index)).astype(np.float32)
        n_frames = len(features)
        clean = clip.samples[: n_frames * SAMPLES_PER_VIDEO_FRAME]
        others = [c for c in clips if c.entry.speaker != clip.entry.speaker]
        voice = excerpt(others[int(rng.integers(len(others)))].samples, len(clean), rng)
        noise = excerpt(noises[int(rng.integers(len(noises)))], len(clean), rng)
        shown = lips.visible(int(index))
        half = shown & (np.arange(n_frames) < n_frames // 2)
        for group, rest, visible in (
            ("noise, hidden throughout", noise, np.zeros_like(shown)),
            ("noise, hidden for the second half", noise, half),
            ("two voices, hidden for the second half", voice, half),
            ("clean, hidden throughout", np.zeros_like(clean), np.zeros_like(shown)),
        ):
            mixture = clean + rest * (level(clean) / max(level(rest), 1e-5) if rest.any() else 0)
            scale = 0.05 / level(mixture)
            pair = ((mixture * scale).astype(np.float32), (clean * scale).astype(np.float32))
            items.append(HiddenItem(group, *pair, features, visible))
    return items


def compare(
    ways: dict[str, tuple[AvseNet, Sight]],
    items: Sequence[HiddenItem],
    baseline: str,
    progress: Progress = no_progress,
) -> dict[str, dict[str, dict[str, float]]]:
    """STOI and SI-SDR gain by condition and way, with the paired difference from the baseline."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for n_done, item in enumerate(items, 1):
        for name, (net, sight) in ways.items():
            rows.setdefault((item.group, name), []).append(_figures(item, net, sight))
        progress("hidden mouths", n_done, len(items))
    table: dict[str, dict[str, dict[str, float]]] = {}
    for (group, name), values in rows.items():
        base = rows[group, baseline]
        figures: dict[str, float] = {"n": len(values)}
        for column, measure in enumerate(("stoi", "si_sdr_gain")):
            ours = [value[column] for value in values]
            gain = paired(ours, [value[column] for value in base])
            figures |= {
                measure: round(mean_of(ours).mean, 4),
                f"{measure}_over_baseline": round(gain.delta.mean, 4),
                f"{measure}_low": round(gain.delta.low, 4),
                f"{measure}_high": round(gain.delta.high, 4),
            }
        table.setdefault(group, {})[name] = figures
    return table


def ways_to_see(
    net: AvseNet, tuned: AvseNet, prior: MouthPrior
) -> dict[str, tuple[AvseNet, Sight]]:
    """What is compared, by name."""
    zeros = copy.deepcopy(net)
    for vector in zeros.hidden:
        nn.init.zeros_(vector)
    still = copy.deepcopy(prior)
    still.weigh.priors.zero_()
    return {
        "zeros": (zeros, as_it_is),
        "learned embedding": (net, as_it_is),
        "embedding, trained on": (tuned, as_it_is),
        "mean mouth": (net, filled_by(still)),
        "SMIL prior": (net, filled_by(prior)),
        "mouth shown": (net, all_shown),
    }


def as_it_is(
    loudness: Tensor, visual: list[Tensor], is_visible: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The enhancer's own way: its embedding stands for a hidden mouth."""
    return visual, is_visible


def all_shown(
    loudness: Tensor, visual: list[Tensor], is_visible: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The real lips throughout: what hiding them costs."""
    return visual, torch.ones_like(is_visible)


def filled_by(prior: MouthPrior) -> Sight:
    """Hidden frames are filled in, and then count as visible."""

    def sight(
        loudness: Tensor, visual: list[Tensor], is_visible: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        return prior.fill(loudness, visual, is_visible), torch.ones_like(is_visible)

    return sight


def by_depth(net: AvseNet, features: Tensor) -> list[Tensor]:
    """Lip features `[B, V, D]` as the enhancer takes them, one tensor a depth."""
    return list(torch.split(features, list(net.visual.feature_channels), 2))


@torch.no_grad()
def _figures(item: HiddenItem, net: AvseNet, sight: Sight) -> tuple[float, float]:
    """STOI of the result, and SI-SDR gained, dB."""
    noisy, clean = torch.from_numpy(item.noisy)[None], torch.from_numpy(item.clean)[None]
    spectrum = stft(noisy)
    loudness = log_mel(spectrum.abs())
    visual = by_depth(net, torch.from_numpy(item.features)[None])
    shown, visible = sight(loudness, visual, torch.from_numpy(item.is_visible)[None])
    mask = net.eval().hear(loudness, spectrum, shown, visible).mask
    enhanced = istft(mask * spectrum, noisy.shape[1])
    before, after = negative_si_sdr(noisy, clean).item(), negative_si_sdr(enhanced, clean).item()
    is_clean = bool(torch.equal(noisy, clean))
    gain = -after if is_clean else before - after
    return float(stoi(item.clean, enhanced[0].numpy(), SAMPLE_RATE_HZ)), gain
