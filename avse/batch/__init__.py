"""Many clips at once: found, planned, enhanced in a pipeline, taken up again where it stopped."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avse.batch.run import BatchOptions, BatchResult, run_batch
    from avse.batch.tally import Tally

__all__ = ["BatchOptions", "BatchResult", "Tally", "run_batch"]

_HOMES = {
    "BatchOptions": "run",
    "BatchResult": "run",
    "Tally": "tally",
    "run_batch": "run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'avse.batch' has no attribute {name!r}")
    return getattr(import_module(f"avse.batch.{_HOMES[name]}"), name)
