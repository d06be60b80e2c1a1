"""This machine's access to package indexes for use in another root: pip's settings, proxies and certificates."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """``environment`` contains the settings as variables; ``paths`` are the files and folders that they name."""

    environment: dict[str, str]
    paths: tuple[Path, ...]


def download_settings() -> DownloadSettings:
    """Return the settings in pip's configuration files and in the environment."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    names = [*_CERTIFICATES, *_PROXIES, *(name.upper() for name in _PROXIES)]
    environment = {**as_variables(listed), **{name: os.environ[name] for name in names if name in os.environ}}
    return DownloadSettings(environment, tuple(sorted(_outermost(_named_paths(environment.values())))))


def as_variables(listed: str) -> dict[str, str]:
    """Convert the output of ``pip config list`` to environment variables, which take precedence over the files."""
    variables = {}
    found: list[tuple[str, str]] = re.findall(r"^(\S+?)=(.*)$", listed, flags=re.MULTILINE)
    # The environment takes precedence over the files, also if it is listed before them.
    for key, value in sorted(found, key=lambda pair: pair[0].startswith(":env:")):
        option = key.rpartition(".")[2]
        variables[f"PIP_{option.upper().replace('-', '_')}"] = " ".join(str(ast.literal_eval(value)).split())
    return variables


def _named_paths(values: Iterable[str]) -> set[Path]:
    paths = set()
    for word in (word for value in values for word in value.split()):
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():
            # The pages of a local index usually lead to files in a folder next to it.
            shown = path.parent if word.startswith("file://") and len(path.parts) > 2 else path
            paths.add(shown)
    return paths


def _outermost(paths: set[Path]) -> list[Path]:
    return [path for path in paths if not any(other in path.parents for other in paths)]
