"""One assumption, and the result of its check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fer_edge.errors import InputError
from image_assumptions.stock_image import StockImage


@dataclass(frozen=True, slots=True)
class Assumption:
    """A property of an image that FER-Edge relies on.

    ``used_by`` is our file that relies on it, ``source`` the document or code that states it. ``check`` returns
    None if it holds, else what was found.
    """

    name: str
    sentence: str
    used_by: str
    source: str
    check: Callable[[StockImage], str | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Result for an ``assumption``; ``found`` describes what was found if it does not hold."""

    assumption: Assumption
    found: str | None

    @property
    def holds(self) -> bool:
        """Whether the assumption holds."""
        return self.found is None

    def as_record(self) -> dict[str, object]:
        """Return it as a JSON object."""
        return {
            "name": self.assumption.name,
            "assumption": self.assumption.sentence,
            "holds": self.holds,
            "found": self.found,
            "used_by": self.assumption.used_by,
            "source": self.assumption.source,
        }


def examine(image: StockImage, assumptions: Iterable[Assumption]) -> list[Finding]:
    """Check all ``assumptions``; a file that cannot be read counts against the assumption that needs it."""
    findings = []
    for assumption in assumptions:
        try:
            found = assumption.check(image)
        except InputError as error:
            found = str(error)
        findings.append(Finding(assumption, found))
    return findings


def listing(findings: Iterable[Finding]) -> str:
    """Return a block of text for each: yes or NO, the sentence, what was found, the file that uses it, its source."""
    lines = []
    for finding in findings:
        assumption = finding.assumption
        lines.append(f"{'yes' if finding.holds else 'NO ':3} {assumption.name}: {assumption.sentence}")
        if finding.found is not None:
            lines.append(f"        found: {finding.found}")
        lines.append(f"        used by {assumption.used_by}; source: {assumption.source}")
    return "\n".join(lines)


def none_of(missing: Iterable[str]) -> str | None:
    """Return a text that lists ``missing``; None if nothing is missing."""
    names = ", ".join(missing)
    return f"not there: {names}" if names else None
