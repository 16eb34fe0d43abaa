"""The mean of the weights of several runs: it keeps most of what each has learned."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from avse.errors import ConfigError
from avse.training.fusion import ADDED, BLOCKS
from avse.training.run_folder import code_version
from models.avse_net import AvseNet
from models.registry import open_bundle
from models.weights import BundleSpec, save_bundle

TOWERS = ("visual.", "lip_head.", "agreement.")
"""Frozen parts of an enhancer: those of one run, as its fusion learned on them."""
CLOSED = ("hint.", "evidence.", "transfers.3.excite.")
"""Added parts that begin at zero, beside the last scale of each added block."""
LAST_SCALE = (".norm2.weight", ".norm2.bias")


def mean_bundle(
    folders: Sequence[Path],
    out: Path,
    mask_power: float | None = None,
    mirrors_lips: bool | None = None,
) -> BundleSpec:
    """Write the equal mean of the weights of several enhancers, or several `lip-sync`, as a bundle.

    Args:
        folders: Bundles; the first gives shape, settings, card and an enhancer's towers of the
            lips. What an older network lacks of that shape counts there as it begins, without
            effect.
        out: Folder of the new bundle.
        mask_power: As in `AvseConfig`; None keeps the first one's.
        mirrors_lips: The same.

    Raises:
        ModelError: A bundle cannot be opened.
        ConfigError: A network has what the first has not, or lacks what cannot be added, or
            settings of an enhancer were given for another network.
    """
    opened = [open_bundle(folder) for folder in folders]
    spec, net = opened[0]
    settings = {"mask_power": mask_power, "mirrors_lips": mirrors_lips}
    given = {name: value for name, value in settings.items() if value is not None}
    is_enhancer = isinstance(net, AvseNet)
    if given and not is_enhancer:
        raise ConfigError(f"{', '.join(given)}: expected an enhancer, found {spec.name}")
    frozen = TOWERS if is_enhancer else ()
    states = [module.state_dict() for _, module in opened]
    for folder, state in zip(folders, states, strict=True):
        addable = {name for name in states[0] if name.startswith(ADDED)}
        strange = sorted(set(states[0]) ^ (set(state) | addable))
        if strange:
            found = f"{len(strange)} weights only in one, {strange[0]} among them"
            raise ConfigError(f"{folder}: expected the network of {folders[0]}, found {found}")
    net.load_state_dict({name: _mean(name, states, frozen) for name in states[0]})
    card = spec.card | {"command": "avse train mean", "commit": code_version(), "scores": {}}
    card["mean_of"] = [f"{s.name}@{s.sha256[:12]}" for s, _ in opened]
    shape = spec.model_config | given
    return save_bundle(out, replace(spec, card=card, model_config=shape), net)


def _mean(name: str, states: Sequence[dict[str, Tensor]], frozen: tuple[str, ...]) -> Tensor:
    first = states[0][name]
    if name.startswith(frozen) or not first.is_floating_point():
        return first
    values = [state[name].double() for state in states if name in state]
    is_last_scale = name.startswith(BLOCKS) and name.endswith(LAST_SCALE)
    if name.startswith(CLOSED) or is_last_scale:
        values += [torch.zeros_like(values[0])] * (len(states) - len(values))
    return (sum(values[1:], values[0]) / len(values)).to(first.dtype)
