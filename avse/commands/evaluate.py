"""`avse evaluate`: placeholder."""


def evaluate() -> None:
    """Evaluate."""
