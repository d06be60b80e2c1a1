"""Fixtures of the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes.plugins import install_plugins


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an installed package whose commands fail, two of them when they are loaded."""
    folder = tmp_path_factory.mktemp("plugins")
    install_plugins(folder)
    return folder
