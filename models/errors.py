"""Errors about models and weights: each names what was expected and what was found."""


class ModelError(Exception):
    """A model that cannot be used as asked."""

    code = "model_error"


class BundleNotFound(ModelError):
    """No bundle of that name at any place that was searched."""

    code = "model_not_found"


class BundleInvalid(ModelError):
    """The bundle's description is not readable or of another format."""

    code = "bundle_invalid"


class ChecksumMismatch(ModelError):
    """The weights are not the ones the description names."""

    code = "checksum_mismatch"


class StateMismatch(ModelError):
    """The weights do not fit the module, key by key and shape by shape."""

    code = "state_mismatch"
