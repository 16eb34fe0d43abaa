"""What can go wrong in an evaluation; a bad pair is recorded with the error's words."""


class EvaluationError(Exception):
    """A pair, mixture or system that cannot be evaluated as asked."""

    code = "invalid_evaluation"


class LengthsDiffer(EvaluationError):
    """Reference and estimate do not have the same number of samples or the same rate."""

    code = "lengths_differ"


class NoLips(EvaluationError):
    """The mouth crops that a control asks for do not exist."""

    code = "no_lips"


class SystemFailed(EvaluationError):
    """An enhancer gave no usable output."""

    code = "system_failed"


class InvalidOptions(EvaluationError):
    """What was asked for is unknown or contradicts itself."""

    code = "invalid_options"
