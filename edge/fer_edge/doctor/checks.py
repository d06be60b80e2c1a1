"""What a check is: it is given a case, and finds something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fer_edge.config import RuntimeSettings


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
