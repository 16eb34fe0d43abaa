"""PESQ, STOI and SI-SDR of enhancers on pairs and on mixtures that can be made again."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avse.evaluation.evaluate import (
        EvaluateOptions,
        Evaluation,
        results_table,
        run_evaluation,
    )
    from avse.evaluation.metrics import Scores, score, si_sdr_db
    from avse.evaluation.mixtures import MixtureSpec, plan_mixtures
    from avse.evaluation.systems import CommandSystem, System

__all__ = [
    "CommandSystem",
    "EvaluateOptions",
    "Evaluation",
    "MixtureSpec",
    "Scores",
    "System",
    "plan_mixtures",
    "results_table",
    "run_evaluation",
    "score",
    "si_sdr_db",
]

_HOMES = {
    "CommandSystem": "systems",
    "EvaluateOptions": "evaluate",
    "Evaluation": "evaluate",
    "MixtureSpec": "mixtures",
    "Scores": "metrics",
    "System": "systems",
    "plan_mixtures": "mixtures",
    "results_table": "evaluate",
    "run_evaluation": "evaluate",
    "score": "metrics",
    "si_sdr_db": "metrics",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: scoring needs neither torch nor matplotlib."""
    if name not in _HOMES:
        raise AttributeError(f"module 'avse.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"avse.evaluation.{_HOMES[name]}"), name)
