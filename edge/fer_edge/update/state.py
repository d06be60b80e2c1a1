"""The persistent state of updates: the version in use, and the stage of a new one."""

from __future__ import annotations

from typing import Literal

import msgspec

from fer_edge.system.version import __version__
from fer_edge.update.format import FORMAT, Version

Stage = Literal["verified", "checked", "shadow"]
"""How far a candidate has come: signature and files are verified, the self-check has passed, or it is compared with the
version in use."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a version is not taken; ``program`` is the version of FER-Edge that cannot read it, None if none may."""

    reason: str
    program: str | None = None


class Comparison(msgspec.Struct, frozen=True):
    """Results of the candidate and the version in use for the same crops.

    Attributes:
        crops: Number of crops.
        agreed: Number of crops with the same most probable emotion.
        old_ms: Median time of a classification by the version in use, milliseconds.
        new_ms: Median time of one by the candidate.
    """

    crops: int = 0
    agreed: int = 0
    old_ms: float = 0.0
    new_ms: float = 0.0


class State(msgspec.Struct, frozen=True):
    """The state of updates.

    Attributes:
        candidate: The version that is being taken, not in use yet; None if there is none.
        stage: How far it has come.
        probation: The version in use, while it is on probation; then None.
        previous: The version to return to from the one in use; None for the model of the settings.
        refused: Versions that are not taken.
        offered: The newest version for this device at the last check.
        checked_at: Time of the last successful check, seconds since the epoch.
        problem: Why the last check or step failed; None if it succeeded.
        compared: Times of both models in the self-check, then the results of the shadow.
        switched_at: When the version in use became that, seconds since the epoch.
        running: Boot id of the system while a program is running with a version on probation.
    """

    format: Literal[1] = FORMAT
    candidate: Version | None = None
    stage: Stage = "verified"
    probation: Version | None = None
    previous: Version | None = None
    refused: dict[Version, Refusal] = msgspec.field(default_factory=dict)
    offered: Version | None = None
    checked_at: float | None = None
    problem: str | None = None
    compared: Comparison | None = None
    switched_at: float | None = None
    running: str | None = None

    @property
    def phase(self) -> str:
        """The stage of the candidate; without one ``probation`` or ``settled``."""
        if self.candidate is not None:
            return self.stage
        return "settled" if self.probation is None else "probation"

    def refusal(self, version: str) -> Refusal | None:
        """Return why ``version`` is not taken, None if it may be."""
        found = self.refused.get(version)
        return found if found is not None and found.program in (None, __version__) else None
