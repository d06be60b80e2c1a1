"""Every error that FER-Edge raises on purpose, with the exit code of the command that it ends.

::

    FerEdgeError                        5   internal error, if raised itself
    ├── CheckFailedError                1   a check said no: gate, compare, doctor, verify
    ├── InputError (ValueError)         2   unusable input: file, image, video, dataset, argument
    │   ├── ConfigError                 2   settings: TOML file, flag or environment variable
    │   └── MissingExtraError           2   optional dependency not installed
    ├── SourceLostError (OSError)       3   camera, stream or server of updates cannot be opened, or was lost
    ├── PeersLostError (OSError)        3   other processes of a distributed training lost
    ├── DeviceError                         another machine reported an error; the code of its command
    ├── ModelError (ValueError)         4   model bundle or model file refused
    └── OutputError (OSError)           6   output not writable, or disk full

The builtin in parentheses is a second base class. A message is one line: what happened, where, and what to do.
"""

from __future__ import annotations

import sys
from pathlib import Path


class FerEdgeError(Exception):
    """Base class of all errors that FER-Edge raises on purpose.

    >>> try:
    ...     raise SourceLostError("camera 0: no frames for 5 s")
    ... except FerEdgeError as error:
    ...     print(f"{error} (exit code {error.exit_code})")
    camera 0: no frames for 5 s (exit code 3)
    """

    exit_code = 5


class CheckFailedError(FerEdgeError):
    """A check ran, and its result is negative."""

    exit_code = 1


class InputError(FerEdgeError, ValueError):
    """Something that the user passed cannot be used: a file, an image, an argument.

    >>> from fer_edge import to_gray
    >>> try:
    ...     to_gray(None)
    ... except InputError as error:
    ...     print(error)
    an image must be uint8, grey [H, W] or BGR [H, W, 3], not NoneType
    """

    exit_code = 2


class ConfigError(InputError):
    """A setting is unknown, has the wrong type or is out of range; the message contains its key path."""


class MissingExtraError(InputError):
    """An optional dependency is not installed; the message contains the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: {install_command(extra)}")


def install_command(extra: str) -> str:
    """Return the command that installs the packages of ``extra`` into this environment.

    It installs FER-Edge again from where it came, so that an editable installation stays editable. If that is gone, as
    on a card, it names the packages.
    """
    import json
    import re
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    own_pip = Path(sys.prefix, "bin", "pip")  # a card's environment has none, but can use the system's
    in_environment = sys.prefix != sys.base_prefix and own_pip.exists()
    pip = f"{own_pip} install" if in_environment else f"{sys.executable} -m pip install"
    try:
        installed = distribution("fer-edge")
    except PackageNotFoundError:
        return f"{pip} -e '.[{extra}]' in the folder of FER-Edge"
    # https://packaging.python.org/en/latest/specifications/direct-url/
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    path = unquote(urlsplit(origin.get("url", "")).path)
    if path and Path(path).exists():
        return f"{pip}{' -e' if origin.get('dir_info', {}).get('editable') else ''} '{path}[{extra}]'"
    requirement = re.compile(rf"""([^;]*?)\s*;\s*extra == ["']{re.escape(extra)}["']""")
    found = [match.group(1) for text in installed.requires or () if (match := requirement.fullmatch(text))]
    return f"{pip} " + " ".join(f"'{package}'" for package in found)


class SourceLostError(FerEdgeError, OSError):
    """A camera or stream cannot be opened, or was lost.

    >>> from fer_edge import open_source
    >>> try:
    ...     open_source("/dev/video99")
    ... except SourceLostError as error:
    ...     print(error.exit_code)
    3
    """

    exit_code = 3


class PeersLostError(FerEdgeError, OSError):
    """The other processes of a distributed training cannot be reached, or have ended."""

    exit_code = 3


class DeviceError(FerEdgeError):
    """A command on another machine ended with an error; ``exit_code`` is its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ModelError(FerEdgeError, ValueError):
    """A model bundle, its manifest or a model file is refused.

    >>> from fer_edge import load_bundle
    >>> try:
    ...     load_bundle().variant("int4")
    ... except ModelError as error:
    ...     print("int4" in str(error), error.exit_code)
    True 4
    """

    exit_code = 4


class OutputError(FerEdgeError, OSError):
    """An output cannot be written: permission denied, missing folder, full disk.

    >>> from pathlib import Path
    >>> from fer_edge import AnnotatedVideo
    >>> try:
    ...     AnnotatedVideo(Path("/nonexistent/out.webm"), fps=15)
    ... except OutputError as error:
    ...     print(error.exit_code)
    6
    """

    exit_code = 6


def reason_of(error: BaseException) -> str:
    """Return the reason for ``error`` on one line, without the errno and path that ``str`` of an OSError contains."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(text.split())
