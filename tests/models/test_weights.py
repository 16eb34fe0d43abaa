"""What a bundle keeps of a module's numbers."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.errors import BundleInvalid
from models.weights import BundleSpec, load_weights, save_bundle

SPEC = BundleSpec("small", "test", "none", {}, {}, {})


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_running_variance_beyond_fp16_survives(tmp_path: Path) -> None:
    module = small_net()
    running = module[1].running_var
    assert isinstance(running, torch.Tensor)
    running.fill_(250_000.0)
    kept = load_weights(tmp_path, save_bundle(tmp_path, SPEC, module))
    torch.testing.assert_close(kept["1.running_var"], running)


def test_kernels_are_halved_and_come_back_as_float32(tmp_path: Path) -> None:
    module = small_net()
    kept = load_weights(tmp_path, save_bundle(tmp_path, SPEC, module))
    weight = module.state_dict()["0.weight"]
    assert kept["0.weight"].dtype == torch.float32
    torch.testing.assert_close(kept["0.weight"], weight.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_what_fp16_cannot_hold_is_refused_and_nothing_is_written(
    tmp_path: Path, value: float
) -> None:
    module = small_net()
    module.state_dict()["0.weight"].fill_(value)
    with pytest.raises(BundleInvalid, match=r"0\.weight"):
        save_bundle(tmp_path / "bundle", SPEC, module)
    assert not (tmp_path / "bundle").exists()
