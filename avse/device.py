"""Where the networks run, decided once."""

import os

import torch

from avse.errors import DeviceNotFound


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes the first GPU, otherwise the CPU.

    Everything runs in float32: it is the fast path of CPUs without bf16 units, and on GPUs the
    convolutions take the TF32 units by themselves.

    Raises:
        DeviceNotFound: The name is unknown or the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceNotFound(f"device: expected auto, cpu or cuda[:N], found {name!r}") from error
    if device.type == "cpu":
        return device
    n_gpus = torch.cuda.device_count()
    if device.type != "cuda" or (device.index or 0) >= n_gpus:
        raise DeviceNotFound(f"device: expected cpu or one of {n_gpus} GPUs, found {name!r}")
    return torch.device("cuda", device.index or 0)


def default_batch_windows(device: torch.device) -> int:
    """Windows per forward pass: a CPU gains nothing from many, and they cost memory."""
    return 8 if device.type == "cuda" else 1


def n_cores() -> int:
    """Cores this program may use."""
    return len(os.sched_getaffinity(0))
