"""Errors about how the product was asked to run."""

from models.errors import ModelError


class ConfigError(Exception):
    """A setting that does not exist or has the wrong type; names the key and where it stands."""

    code = "invalid_request"


class DeviceNotFound(ModelError):
    """The device that was asked for is not on this machine."""

    code = "device_not_found"
