"""Lip features of voices that have no face: predicted from the sound, kept on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FacelessLips:
    """Predicted lip features for voices without faces.

    Attributes:
        predicted: One `[V, D]` float16 for each such voice, by position in the pool.
        residuals: What to add, standardised `[V, D]`.
        std: `[D]`, scale of the residuals.
    """

    predicted: dict[int, NDArray[np.float16]]
    residuals: tuple[NDArray[np.float32], ...]
    std: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Keep everything in one `.npz`."""
        arrays: dict[str, NDArray[Any]] = {"std": self.std}
        arrays |= {f"predicted{i}": values for i, values in self.predicted.items()}
        arrays |= {f"residual{i}": values for i, values in enumerate(self.residuals)}
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "FacelessLips":
        """Read what `save` kept."""
        with np.load(path) as arrays:
            names = list(arrays)
            predicted = {
                int(n.removeprefix("predicted")): arrays[n] for n in names if n.startswith("pre")
            }
            residuals = tuple(arrays[n] for n in names if n.startswith("residual"))
            return cls(predicted, residuals, arrays["std"])
