"""Where a training computes, and in which precision; decided once."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from avse.device import resolve_device
from avse.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Compute:
    """A device and the precision of its convolutions.

    Attributes:
        device: Where networks and batches live.
        is_bf16: Whether networks run in bfloat16; weights, losses and STFTs stay float32.
    """

    device: torch.device
    is_bf16: bool

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which networks run forward."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_bf16)


CPU = Compute(torch.device("cpu"), is_bf16=False)


def resolve_compute(device: str = "auto", precision: Precision = "auto") -> Compute:
    """The device of that name; `auto` takes bfloat16 where the hardware multiplies in it.

    Without such units bfloat16 is emulated, and slower than float32.

    Raises:
        ConfigError: The precision is unknown.
        DeviceNotFound: The machine has no such device.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"precision: expected auto, fp32 or bf16, found {precision!r}")
    where = resolve_device(device)
    has_units = _has_bf16_units(where) if precision == "auto" else precision == "bf16"
    return Compute(where, has_units)


def _has_bf16_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
