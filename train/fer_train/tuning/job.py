"""``Job``: the input of a worker process, sent by the command that started it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_train.tuning.storage import StudyLocation


@dataclass(frozen=True, slots=True)
class Job:
    """The command's arguments, and ``worker``, the name under which the study lists this worker's trials."""

    out: str
    search: dict[str, Any]
    data: str | None
    skip_bad: bool
    rows_sha256: str
    worker: str
    url: str | None = None
    study_name: str = "fer-edge"

    def location(self) -> StudyLocation:
        """Return where the study is."""
        return StudyLocation(Path(self.out), self.url, self.study_name)
