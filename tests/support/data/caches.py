"""Keep the tests out of the user's cache folder: decoded test data does not belong there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VARIABLE = "XDG_CACHE_HOME"
_USERS = os.environ.get(VARIABLE)  # before any test: conftest.py imports this module first


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Use ``folder`` as the cache folder of this process and its children."""
    with pytest.MonkeyPatch.context() as patch:
        # matplotlib takes seconds to build its list of fonts, and the user may have one already.
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR") or str(_users_folder() / "matplotlib"))
        patch.setenv(VARIABLE, str(folder))
        yield


@contextmanager
def users_cache() -> Iterator[None]:
    """Use the user's own cache, for the real FER2013, which may be in it: decoding takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        if _USERS is None:
            patch.delenv(VARIABLE, raising=False)
        else:
            patch.setenv(VARIABLE, _USERS)
        yield


def _users_folder() -> Path:
    return Path(_USERS) if _USERS and Path(_USERS).is_absolute() else Path.home() / ".cache"
