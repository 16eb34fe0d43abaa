"""DNSMOS P.835: what listeners would say, guessed from the output alone (extra `dnsmos`)."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "speechmos"
DNSMOS = ("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak")
_RATE_HZ = 16_000


def is_installed() -> bool:
    """Whether the package, with its networks in it, is there."""
    return find_spec(PACKAGE) is not None and find_spec("onnxruntime") is not None


def dnsmos(estimate: NDArray[np.floating[Any]], rate_hz: int) -> dict[str, float]:
    """Overall, signal and background, 1 to 5, by names from `DNSMOS`.

    A sound beyond full scale is turned down as a whole, as it would be when it is written.

    Args:
        estimate: `[L]`, not silent, finite.
        rate_hz: 16000.

    Raises:
        ValueError: Another rate.
    """
    if rate_hz != _RATE_HZ:
        raise ValueError(f"DNSMOS: expected {_RATE_HZ} Hz, found {rate_hz}")
    peak = max(1.0, float(np.max(np.abs(estimate))))
    package = import_module(f"{PACKAGE}.dnsmos")
    found = package.run((estimate / peak).astype(np.float32), sr=rate_hz)
    return {name: float(found[f"{name.removeprefix('dnsmos_')}_mos"]) for name in DNSMOS}
