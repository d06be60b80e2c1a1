"""What a check is: it is given a case, and finds something."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fer_edge.settings.runtime import RuntimeSettings


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as it could."""
    BAD = "bad"
    """Something that is configured, or needed, does not work."""
    SKIPPED = "skipped"
    """It does not matter with these settings, or on this machine."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is examined: the settings, the file they came from, and the machine.

    ``root`` is the folder that holds the machine's /proc, /dev and /run. ``patience_s`` is how long a check may wait
    for another machine to answer.
    """

    settings: RuntimeSettings = field(default_factory=RuntimeSettings)
    config: Path | None = None
    root: Path = Path("/")
    patience_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, and what to do about it (``mend``), a command where there is one. Holds no secret."""

    verdict: Verdict
    seen: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. ``apart``: in another process, since it loads native code that may crash or hang."""

    name: str
    look: Callable[[Case], Finding]
    apart: bool = False


def fine(seen: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, seen)


def doubtful(seen: str, mend: str | None = None) -> Finding:
    """It works, but."""
    return Finding(Verdict.WARN, seen, mend)


def broken(seen: str, mend: str | None = None) -> Finding:
    """It does not work."""
    return Finding(Verdict.BAD, seen, mend)


def skipped(why: str) -> Finding:
    """It does not matter here."""
    return Finding(Verdict.SKIPPED, why)


def may(path: Path, mode: int) -> bool:
    """Whether this process may use ``path`` so: ``os.R_OK | os.W_OK``."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def user_name() -> str:
    """Who asks, in a form that a command takes."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):  # no POSIX system, or a number that no user has
        return "$USER"


def as_owner(path: Path) -> str:
    """What to do about ``path``, which may not be used: another user, such as the service's, may be allowed to."""
    for place in (path, *path.parents):
        try:
            owner = place.owner()
        except (OSError, KeyError):  # not to be looked at, or of a number that no user has
            continue
        if owner not in ("root", user_name()):
            return f"ask as its owner: sudo -u {owner} fer-edge doctor"
        break
    return f"ask as the service's user, or name a place that {user_name()} may use"
