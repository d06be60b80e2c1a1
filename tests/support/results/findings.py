"""Contexts for the checks of ``fer-edge doctor``, and assertions on their findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_edge.doctor.checks import Context, Finding, Verdict
from fer_edge.settings.runtime import RuntimeSettings, load_settings


def settings_of(folder: Path, toml: str) -> RuntimeSettings:
    """Return the settings in ``toml``."""
    path = folder / "doctor.toml"
    path.write_text(toml)
    return load_settings(path, environment={})


def context_of(folder: Path, toml: str = "", **changes: Any) -> Context:
    """Return a context with the settings in ``toml``, whose /proc, /dev and /run are in ``folder``."""
    return Context(settings_of(folder, toml), root=folder, **changes)


def assert_found(finding: Finding, verdict: Verdict, *parts: str) -> None:
    """Assert that ``finding`` has the verdict and contains ``parts``."""
    assert finding.verdict is verdict, finding
    for part in parts:
        assert part in f"{finding.seen} -> {finding.fix}"


def secret_file(folder: Path, name: str, secret: str) -> Path:
    """Create a file with ``secret``, readable by its owner only."""
    path = folder / name
    path.write_text(f"{secret}\n")
    path.chmod(0o600)
    return path
