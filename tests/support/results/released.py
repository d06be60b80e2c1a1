"""The accuracy of the released fer-edge-s on the real PublicTest, by the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.data.caches import users_cache
from support.environments.fresh_install import CHECKOUT

RELEASED = CHECKOUT / "models" / "fer-edge-s"
_VARIANTS = "float32,int8"
"""Those with published numbers; int16x8 would take minutes."""


@dataclass(frozen=True, slots=True)
class ReleasedAccuracy:
    """What ``bench accuracy`` wrote, in ``folder``."""

    folder: Path

    @property
    def stdout(self) -> str:
        """The table that it printed."""
        return (self.folder / "stdout").read_text(encoding="utf-8")

    def of(self, variant: str) -> dict[str, Any]:
        """Return the accuracy of ``variant`` on PublicTest."""
        results = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))["results"]
        (found,) = next(row for row in results if row["variant"] == variant)["accuracy"]
        return dict(found)


def measure_released(folder: Path) -> None:
    """Measure float32 and int8 in ``folder``, which must not exist."""
    folder.mkdir()
    command = [sys.executable, "-m", "fer_edge"]
    bundle = folder / "bundle"
    part = [*command, "convert", RELEASED, "--variants", _VARIANTS, "--out", bundle]
    subprocess.run(part, check=True, capture_output=True, timeout=120)
    with users_cache():
        measured = subprocess.run(
            [*command, "bench", "accuracy", "--bundle", bundle, "--json", folder / "report.json"],
            check=True, capture_output=True, encoding="utf-8", timeout=600,
        )  # fmt: skip
    assert measured.stderr == ""
    (folder / "stdout").write_text(measured.stdout, encoding="utf-8")
