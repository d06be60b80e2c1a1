"""The packages of the extra ``explore``, imported where they are used and named clearly where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from fer_edge.errors import MissingExtraError

_DISTRIBUTIONS = {"PIL": "pillow"}


def require(module: str) -> Any:
    """Import ``module``; raises MissingExtraError, which says what to install, when its package is absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise MissingExtraError(_DISTRIBUTIONS.get(missing, missing), "explore") from error
