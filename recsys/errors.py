"""Errors that a user can cause, each with a message of one line that says what to do.

RecsysError
├── ConfigError         a configuration or experiments file cannot be used
├── DataError           a dataset cannot be used
├── BundleError         a bundle is damaged, or was made by another version
├── RegistryError       a registry has no such bundle, or nothing to go back to
└── StateError          a state directory cannot be used
"""


class RecsysError(Exception):
    """Base of all errors that a user can cause; ``str()`` is one line for that user."""


class ConfigError(RecsysError):
    """A configuration or experiments file cannot be used."""


class DataError(RecsysError):
    """A dataset cannot be used."""


class BundleError(RecsysError):
    """A bundle is damaged, or was made by another version."""


class RegistryError(RecsysError):
    """A registry has no such bundle, or nothing to go back to."""


class StateError(RecsysError):
    """A state directory cannot be used."""
