"""Import the packages of the extra ``explore`` where they are used; report a missing one by name."""

from __future__ import annotations

import importlib
from typing import Any

from fer_edge.errors import MissingExtraError

_DISTRIBUTIONS = {"PIL": "pillow"}


def require(module: str) -> Any:
    """Import ``module``. Raises MissingExtraError, which says what to install, if its package is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise MissingExtraError(_DISTRIBUTIONS.get(missing, missing), "explore") from error
