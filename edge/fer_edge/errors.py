"""Every error FER-Edge raises on purpose, each with the exit code its command ends with.

    FerEdgeError                    5   a defect of ours when raised bare
    ├── CheckFailedError            1   a check said no: gate, compare, doctor, verify
    ├── InputError      ValueError  2   bad usage or input: a file, an image, a video, a CSV
    │   ├── ConfigError             2   a TOML file, a flag or an environment variable
    │   └── MissingExtraError       2   an optional dependency is not installed
    ├── SourceLostError OSError     3   a camera or stream that is gone, or never was there
    ├── PeersLostError  OSError     3   the other processes of a training, gone or never there
    ├── ModelError      ValueError  4   a bundle or model file that is refused
    └── OutputError     OSError     6   an output that cannot be written, or a full disk

Messages are one line: what happened, where, and what to do about it.
"""

from __future__ import annotations


class FerEdgeError(Exception):
    """Base of all; catch this to catch everything FER-Edge raises on purpose."""

    exit_code = 5


class CheckFailedError(FerEdgeError):
    """The command worked, and its answer is no."""

    exit_code = 1


class InputError(FerEdgeError, ValueError):
    """Something the user gave cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration value is unknown, mistyped or out of range; the message holds its key path."""


class MissingExtraError(InputError):
    """An optional dependency is missing; the message says what to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'fer-edge[{extra}]'")


class SourceLostError(FerEdgeError, OSError):
    """A camera or stream cannot be opened, or stopped for good."""

    exit_code = 3


class PeersLostError(FerEdgeError, OSError):
    """The other processes that a training runs in cannot be reached, or ended."""

    exit_code = 3


class ModelError(FerEdgeError, ValueError):
    """A bundle, manifest or model file is refused."""

    exit_code = 4


class OutputError(FerEdgeError, OSError):
    """An output cannot be written: no permission, no such folder, disk full."""

    exit_code = 6


def reason_of(error: BaseException) -> str:
    """Why, on one line and without the errno and the path that ``str`` of an OSError repeats."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(text.split())
