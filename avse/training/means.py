"""The mean of the weights of several runs: it keeps most of what each has learned."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avse.errors import ConfigError
from avse.training.fusion import ADDED, BLOCKS, PHASE, load_lips, without_phase
from avse.training.run_folder import code_version
from models.avse_net import AvseNet
from models.lip_sync import LipSync
from models.registry import build, open_bundle
from models.sound_net import SoundNet
from models.weights import BundleSpec, save_bundle

TOWERS = ("visual.", "lip_head.", "agreement.")
"""Frozen parts of an enhancer: those of one run, as its fusion learned on them."""
SETTINGS = ("mask_power", "mirrors_lips", "spares_db")
HEARING = ("mask_power", "spares_db")
"""Those of them that a network that hears only has, too."""
PHASE_SETTINGS = ("phase_dilations", "n_phase_bins", "n_phase_channels")
CLOSED = ("hint.", "evidence.", "transfers.3.excite.")
"""Added parts that begin at zero, beside the last scale of each added block."""
LAST_SCALE = (".norm2.weight", ".norm2.bias")


@dataclass(frozen=True, slots=True)
class MeanOptions:
    """What a mean of enhancers has that is not simply the mean; nothing of it suits a `lip-sync`.

    Of it a network that hears only knows `mask_power` and `spares_db`.

    Attributes:
        mask_power: As in `AvseConfig`; None keeps the first one's.
        mirrors_lips: The same.
        spares_db: The same.
        phase_from: An enhancer whose phase refiner the mean gets. None gives it the mean of theirs
            where all have one of the same shape, and keeps the first one's where not. What it
            learned on should lie near the mean, for it knows the features behind the mask.
        lips_from: A `lip-sync` whose towers and heads the mean gets; None keeps the first one's.
            What they learned should lie near it, for the fusion knows their features.
        only: Parts by name, such as `decoder`, of which the mean is taken: all else is the first
            one's. Empty takes it of every part but the towers.
    """

    mask_power: float | None = None
    mirrors_lips: bool | None = None
    spares_db: tuple[float, float] | None = None
    phase_from: Path | None = None
    lips_from: Path | None = None
    only: tuple[str, ...] = ()

    @property
    def given(self) -> list[str]:
        """Names of what was asked for."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return [name for name, value in values.items() if value is not None and value != ()]


AS_IT_COMES = MeanOptions()


def mean_bundle(
    folders: Sequence[Path], out: Path, options: MeanOptions = AS_IT_COMES
) -> BundleSpec:
    """Write the equal mean of the weights of several enhancers, or several `lip-sync`, as a bundle.

    Args:
        folders: Bundles; the first gives shape, settings, card and an enhancer's towers of the
            lips. What an older network lacks of that shape counts there as it begins, without
            effect.
        out: Folder of the new bundle.
        options: What is not simply the mean.

    Raises:
        ModelError: A bundle cannot be opened.
        ConfigError: A network has what the first has not, or lacks what cannot be added, options
            of an enhancer were given for another network, there is no phase refiner to take, a part
            is not there, or what the lips are to come from is no `lip-sync` of this shape.
    """
    opened = [open_bundle(folder) for folder in folders]
    spec, net = opened[0]
    is_enhancer = isinstance(net, AvseNet)
    known = HEARING if isinstance(net, SoundNet) else ()
    if strange := [name for name in options.given if not is_enhancer and name not in known]:
        raise ConfigError(f"{', '.join(strange)}: expected an enhancer, found {spec.name}")
    frozen = (*(TOWERS if is_enhancer else ()), *_left_out(net, options.only))
    phase = _phase_for(opened, options.phase_from, frozen)
    states = [without_phase(module.state_dict()) for _, module in opened]
    _check_same(folders, states)
    settings = {name: getattr(options, name) for name in SETTINGS if name in options.given}
    shape = spec.model_config | settings | phase.settings
    mean = build(spec.model, shape)
    mean.load_state_dict({n: _mean(n, states, frozen) for n in states[0]} | phase.weights)
    card = spec.card | {"command": "avse train mean", "commit": code_version(), "scores": {}}
    card["mean_of"] = [f"{s.name}@{s.sha256[:12]}" for s, _ in opened]
    card |= phase.card | ({"mean_parts": list(options.only)} if options.only else {})
    if options.lips_from is not None:
        assert isinstance(mean, AvseNet)
        card["lips_from"] = _take_lips(mean, options.lips_from)
    return save_bundle(out, replace(spec, card=card, model_config=shape), mean)


def _left_out(net: nn.Module, only: Sequence[str]) -> tuple[str, ...]:
    """What the weights begin with that are to stay the first one's.

    Raises:
        ConfigError: A part is not there, or is one of the towers, which stay in any case.
    """
    parts = [name for name, _ in net.named_children() if f"{name}." not in TOWERS]
    for part in only:
        if part not in parts:
            raise ConfigError(f"{part}: expected a part of the enhancer, {', '.join(parts)}")
    return tuple(f"{part}." for part in parts if only and part not in only)


def _take_lips(mean: AvseNet, folder: Path) -> str:
    """Put the towers of a `lip-sync` into the network; its name and sha256 come back.

    Raises:
        ConfigError: It is something else, or of another shape.
    """
    spec, lip_sync = open_bundle(folder)
    if not isinstance(lip_sync, LipSync):
        raise ConfigError(f"{folder}: expected a lip-sync, found {spec.name}")
    try:
        load_lips(mean, lip_sync)
    except RuntimeError as error:
        raise ConfigError(f"{folder}: expected the towers of the enhancer, found {error}") from None
    return f"{spec.name}@{spec.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class _Phase:
    """What one enhancer's phase refiner brings along; nothing where it has none."""

    weights: dict[str, Tensor]
    settings: dict[str, Any]
    card: dict[str, Any]


def _phase(spec: BundleSpec, net: nn.Module) -> _Phase:
    weights = {k: v for k, v in net.state_dict().items() if k.startswith(PHASE)}
    settings = {k: spec.model_config[k] for k in PHASE_SETTINGS if k in spec.model_config}
    own = {"phase_from": f"{spec.name}@{spec.sha256[:12]}"}
    card = own | {k: spec.card[k] for k in ("phase_from", "phase") if k in spec.card}
    return _Phase(weights, settings, card if weights else {})


def _phase_for(
    opened: Sequence[tuple[BundleSpec, nn.Module]], folder: Path | None, frozen: tuple[str, ...]
) -> _Phase:
    """That of the bundle in `folder`, or the mean of all; the first one's if their shapes differ.

    Raises:
        ModelError: The bundle in `folder` cannot be opened.
        ConfigError: It has none.
    """
    if folder is not None:
        named = _phase(*open_bundle(folder))
        if not named.weights:
            raise ConfigError(f"{folder}: expected an enhancer with a phase refiner, found none")
        return named
    phases = [_phase(spec, net) for spec, net in opened]
    first, states = phases[0], [phase.weights for phase in phases]
    if any(phase.settings != first.settings for phase in phases):
        return first
    return replace(first, weights={n: _mean(n, states, frozen) for n in first.weights})


def _check_same(folders: Sequence[Path], states: Sequence[dict[str, Tensor]]) -> None:
    """Every network is the first one's, but for what can be added to it.

    Raises:
        ConfigError: One is not.
    """
    addable = {name for name in states[0] if name.startswith(ADDED)}
    for folder, state in zip(folders, states, strict=True):
        strange = sorted(set(states[0]) ^ (set(state) | addable))
        if strange:
            found = f"{len(strange)} weights only in one, {strange[0]} among them"
            raise ConfigError(f"{folder}: expected the network of {folders[0]}, found {found}")


def _mean(name: str, states: Sequence[dict[str, Tensor]], frozen: tuple[str, ...]) -> Tensor:
    first = states[0][name]
    if name.startswith(frozen) or not first.is_floating_point():
        return first
    values = [state[name].double() for state in states if name in state]
    is_last_scale = name.startswith(BLOCKS) and name.endswith(LAST_SCALE)
    if name.startswith(CLOSED) or is_last_scale:
        values += [torch.zeros_like(values[0])] * (len(states) - len(values))
    return (sum(values[1:], values[0]) / len(values)).to(first.dtype)
