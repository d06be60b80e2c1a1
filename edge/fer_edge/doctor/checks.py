"""A check is a function from a context to a finding."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from fer_edge.settings.runtime import RuntimeSettings


class Verdict(StrEnum):
    """Result of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, but should be improved."""
    BAD = "bad"
    """Something that is configured or required does not work."""
    SKIPPED = "skipped"
    """Not relevant with these settings or on this device."""


@dataclass(frozen=True, slots=True)
class Context:
    """Input of the checks.

    Attributes:
        settings: The settings to check.
        config: The file that they were read from, if any.
        root: The folder that contains the device's /proc, /dev and /run.
        timeout_s: How long a check waits for the answer of another machine, seconds.
    """

    settings: RuntimeSettings = field(default_factory=RuntimeSettings)
    config: Path | None = None
    root: Path = Path("/")
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check: what was ``seen``, and how to ``fix`` it, if possible as a command. Contains no secrets."""

    verdict: Verdict
    seen: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A named check. ``isolated`` checks run in a subprocess because they load native code that may crash or hang."""

    name: str
    run: Callable[[Context], Finding]
    isolated: bool = False


ok = partial(Finding, Verdict.OK)
warn = partial(Finding, Verdict.WARN)
bad = partial(Finding, Verdict.BAD)
skipped = partial(Finding, Verdict.SKIPPED)
"""Findings by verdict: each takes what was seen and, optionally, the fix."""


def has_access(path: Path, mode: int) -> bool:
    """Return whether this process has access to ``path``; ``mode`` as in ``os.access``."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def read_text(path: Path) -> str:
    """Return the content of a text file, or an empty string if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def package_version(name: str) -> str | None:
    """Return the version of a Python package, or None if it is not installed or has no metadata."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def memory_mib(root: Path) -> dict[str, int]:
    """Return the values of /proc/meminfo in MiB."""
    pairs = re.findall(r"^(\w+):\s+(\d+) kB$", read_text(root / "proc/meminfo"), flags=re.MULTILINE)
    return {name: int(kib) // 1024 for name, kib in pairs}


def user_name() -> str:
    """Return the name of the current user, or ``$USER``, for use in a command."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):  # not a POSIX system, or a user id without a name
        return "$USER"


def access_advice(path: Path) -> str:
    """Return advice for a ``path`` without access: run doctor as its owner, such as the service's user."""
    for place in (path, *path.parents):
        try:
            owner = place.owner()
        except (OSError, KeyError):  # no permission, or a user id without a name
            continue
        if owner not in ("root", user_name()):
            return f"run it as the owner: sudo -u {owner} fer-edge doctor"
        break
    return f"run it as the service's user, or choose a path that {user_name()} has access to"
