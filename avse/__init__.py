"""Audio-visual speech enhancement: a clip of a talking face in, that person's clean voice out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avse.bundle import load_bundle
    from avse.enhancer import Enhancer
    from avse.types import EnhancedClip, EnhanceOptions, EnhanceReport

__version__ = "0.1.0"

__all__ = [
    "EnhanceOptions",
    "EnhanceReport",
    "EnhancedClip",
    "Enhancer",
    "__version__",
    "load_bundle",
]

_HOMES = {
    "EnhanceOptions": "avse.types",
    "EnhanceReport": "avse.types",
    "EnhancedClip": "avse.types",
    "Enhancer": "avse.enhancer",
    "load_bundle": "avse.bundle",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import avse` loads no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'avse' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
